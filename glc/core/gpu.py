"""What kernels for a GPU need."""

import os
import shutil
from functools import cache
from importlib.util import find_spec


@cache
def has_triton() -> bool:
    """Say whether kernels can be compiled: triton comes with torch for GPUs, a C compiler does not."""
    compiler = os.environ.get('CC') or shutil.which('gcc') or shutil.which('clang')
    return compiler is not None and find_spec('triton') is not None
