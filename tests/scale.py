"""How much a fuzz or fault test tries: a bounded sample in ``make test``, the full figure in ``make soak``."""

import os

SOAK = os.environ.get("SOAK") == "1"


def scaled(*, test: int, soak: int) -> int:
    """``test`` in ``make test``, ``soak`` in ``make soak``."""
    return soak if SOAK else test
