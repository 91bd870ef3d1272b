"""``python -m service`` is the command line."""

import gc
import sys


def main() -> None:
    """Run the command line."""
    gc.disable()  # most of what modules make stays: looking for garbage among it takes a sixth of the imports' time
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
