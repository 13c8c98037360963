"""Settings for all tests."""

import os

# The tests are small: a second thread costs more than it brings, most of all beside other processes. The libraries
# read this when they are first imported, which is after this file.
os.environ.setdefault('OMP_NUM_THREADS', '1')
