"""What parts of a run find."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One figure and what it must be; ``reached`` is None where nothing was demanded."""

    what: str
    found: str
    must: str = ""
    reached: bool | None = None


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[int(len(values) * 0.99)]
