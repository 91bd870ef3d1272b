"""``python -m service.schema.graphiql.install``: fetch GraphiQL's files from npm, once.

GraphiQL 4 is the last whose package holds a bundle that runs in a browser as it is (5 has to be built). The bundle
contains all that it is made of but React, so ``package.json`` overrides those dependencies with a package that is there
anyway: 11 packages instead of 111.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from service.schema.graphiql.node import NodeMissing, npm_ci

_HERE = Path(__file__).parent
ASSETS = _HERE / "assets"
FILES = {
    "graphiql.css": "graphiql/graphiql.min.css",
    "graphiql.js": "graphiql/graphiql.min.js",
    "react-dom.js": "react-dom/umd/react-dom.production.min.js",
    "react.js": "react/umd/react.production.min.js",
}


def is_installed(assets: Path = ASSETS) -> bool:
    """Whether the files are there, as the lock file has them."""
    stamp = assets / "stamp"
    return stamp.is_file() and stamp.read_text() == _digest() and all((assets / name).is_file() for name in FILES)


def install(assets: Path = ASSETS) -> None:
    """Fetch the files unless they are there. Raises as :func:`npm_ci` does."""
    if is_installed(assets):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder)
        npm_ci(Path(folder))
        shutil.rmtree(assets, ignore_errors=True)
        assets.mkdir(parents=True)
        for name, source in FILES.items():
            shutil.copy(Path(folder) / "node_modules" / source, assets / name)
    (assets / "stamp").write_text(_digest())


def _digest() -> str:
    return hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()


def main(assets: Path = ASSETS) -> None:
    """Install, or say in a line why not."""
    try:
        install(assets)
    except NodeMissing as error:
        sys.exit(f"GraphiQL was not installed. {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"GraphiQL was not installed: npm failed with status {error.returncode}; see its message above.")


if __name__ == "__main__":
    main()
