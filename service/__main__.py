"""``python -m service`` is the command line."""

import gc
import os
import sys


def main() -> None:
    """Run the command line."""
    gc.disable()  # most of what modules make stays: looking for garbage among it takes a sixth of the imports' time
    # There is no plugin, and to look for one Pydantic reads the metadata of all packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # structlog and httpx import these in case that a traceback or a command of theirs is to be coloured.
    hidden = {"rich", "pygments"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is Python's word for one that is not there
    from service.cli import main as run  # noqa: PLC0415 - not before that

    for name in hidden:
        del sys.modules[name]
    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
