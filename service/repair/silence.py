"""Whether a connection's webhooks have stopped. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

MISSED_IN_A_ROW = 3
"""Looks that found what no webhook told of, with no webhook between them, until that is taken for silence."""

SHORTEST = timedelta(hours=24)
"""A silence that is not noticed by its length."""

REMEMBERED = 100
"""Webhooks that a connection's usual pace is read from."""

_ENOUGH = 5
_USUAL = 20
_LONGEST = 2


@dataclass(frozen=True, slots=True)
class Voice:
    """How a connection used to speak: the moments of its last webhooks, in order, and whether any was of an issue."""

    moments: Sequence[datetime]
    has_told_of_issues: bool

    @property
    def usual(self) -> timedelta | None:
        """The mean time between two webhooks; None for a single one."""
        count = len(self.moments) - 1
        return (self.moments[-1] - self.moments[0]) / count if count > 0 else None

    @property
    def patience(self) -> timedelta | None:
        """How long a silence is nothing unusual: no weekend is. None where too little is known."""
        if self.usual is None or len(self.moments) < _ENOUGH:
            return None
        longest = max(later - earlier for earlier, later in pairwise(self.moments))
        return max(SHORTEST, _USUAL * self.usual, _LONGEST * longest)


def is_silent(voice: Voice, *, missed: int, listening_since: datetime, now: datetime) -> bool:
    """Whether the webhooks have stopped: by what they did not tell, or by how long none came while somebody listened.

    One that never told of issues cannot be blamed for not doing so: an app may be subscribed to other things.
    """
    if not voice.moments:
        return False
    if missed >= MISSED_IN_A_ROW and voice.has_told_of_issues:
        return True
    silence = now - max(voice.moments[-1], listening_since)
    return voice.patience is not None and silence > voice.patience
