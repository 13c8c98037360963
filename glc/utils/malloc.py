"""Settings of the memory allocator."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation instead of returning it to the system.

    Training on a CPU frees and allocates the same large activations in every step. By default glibc maps
    each of them again and the kernel zeroes its pages, which can cost as much time as the computation.

    Returns:
        Whether it took effect; False if the C library is not glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
