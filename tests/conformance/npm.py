"""npm packages that tests run, each folder with a lock file of its own."""

import fcntl
from pathlib import Path

from service.schema.graphiql.node import npm_ci_once


def install(folder: Path) -> None:
    """Install what the folder's ``package-lock.json`` names, once; test processes take turns."""
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        npm_ci_once(folder)
