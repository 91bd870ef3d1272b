import platform
import subprocess
import sys

import pytest

from service.cli import allocator

_COUNT = """
import resource, runpy, sys
if len(sys.argv) > 1:  # by itself: what the package imports would change the allocator's mind
    assert runpy.run_path(sys.argv[1])["keep_freed_memory"]()
def read(times):
    for _ in range(times):
        pieces = [bytearray(2**18) for _ in range(5)]
        for piece in pieces:
            del piece[60_000:]  # as a socket's buffer is cut to what has come
        del pieces, piece
read(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
read(100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(*arguments: str) -> int:
    """The pages that a process of its own asks the kernel for, while it reads 300 KB a hundred times."""
    command = [sys.executable, "-c", _COUNT, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_what_large_blocks_took_is_used_again_without_asking_the_kernel() -> None:
    assert count_faults(allocator.__file__) < count_faults() / 20
