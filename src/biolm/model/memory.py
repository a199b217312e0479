"""The C library's allocator, told to keep the large blocks that every step asks for again."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_MAX = -4  # malloc.h


def keep_large_blocks() -> bool:
    """Under glibc, serve large blocks from the heap and never give it back; returns whether that was done.

    By default glibc maps each activation anew and unmaps it, and the kernel zeroes its pages every time.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # musl has no such switch
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
