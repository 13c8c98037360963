"""Evaluate a model, from a checkout: ``python tools/test.py CONFIG [CHECKPOINT]``. Installed, it is ``glc-test``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from glc.cli.test import main

if __name__ == '__main__':
    main()
