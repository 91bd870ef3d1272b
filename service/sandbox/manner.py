"""Which Sentry it behaves as: apart from all else, for the command line."""

from typing import Literal

Manner = Literal["23.7", "latest"]
