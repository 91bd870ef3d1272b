"""What the C library does with memory that is free again."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 8 * 2**20


def keep_freed_memory() -> bool:
    """Have glibc keep up to 8 MiB that is free again, and use them for large blocks too; False where it is not glibc.

    By itself it asks the kernel for each block above 128 KiB, until one as large is given back. The event loop's read
    buffers are larger, but cut to what has come, so that never happens: for each read the kernel zeroes pages one by
    one, which takes longer than to read an answer of 300 KB, check it and send it on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
