"""``python -m service`` is the command line."""

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()  # most of what modules make stays: looking for garbage among it takes a sixth of the imports' time
    from service.cli import main as run  # noqa: PLC0415 - not before the collector is off

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
