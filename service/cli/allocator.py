"""What the C library does with memory that is free again."""

import ctypes

_KEPT_BYTES = 8 * 2**20
_OPTIONS = {-1: _KEPT_BYTES, -3: _KEPT_BYTES, -8: 1}
"""By malloc.h's number: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX."""


def keep_freed_memory() -> bool:
    """Have glibc keep up to 8 MiB that is free again, and use them for large blocks too; False where it is not glibc.

    By itself it asks the kernel for each block above 128 KiB, until one as large is given back. The event loop's read
    buffers are larger, but cut to what has come, so that never happens: for each read the kernel zeroes pages one by
    one, which takes longer than to read an answer of 300 KB, check it and send it on.

    Threads share it. Each connection to SQLite has one, and they would keep more than a MiB apart.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in _OPTIONS.items())
