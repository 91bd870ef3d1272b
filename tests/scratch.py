"""Puts what the tests write in memory where there is room: each has a database of its own, made and thrown away.

On a disk a PostgreSQL database costs four times the CPU, and everything waits. What is kept when a process is killed is
the same in memory; what a machine's end would lose is no test's subject. ``TMPDIR`` set by hand is left alone.
"""

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30  # bytes that must be free; a run takes a tenth


def pytest_configure() -> None:
    """Before any folder is made; the test processes, and all that they start, inherit it."""
    is_usable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)
    if "TMPDIR" not in os.environ and is_usable and shutil.disk_usage(_MEMORY).free >= _ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
