"""When a delivery is tried again. Pure.

The waits are those that Standard Webhooks suggests
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#retry-schedule).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from service.sentry.retry import read_retry_after

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""From each failed attempt to the next one; the first attempt is made at once."""

FAILING_FOR = timedelta(days=5)
"""How long nothing but failures disables an endpoint."""

_SPREAD = 0.1
_ASKED = frozenset({429, 503})


def plan_attempt(attempts: int, asked: float | None, draw: float) -> timedelta | None:
    """How long to wait after so many failed attempts; None to give up.

    ``asked`` are the seconds that the receiver asked for, if it did: they lengthen a wait, and never shorten one.
    ``draw`` is random between 0 and 1, and spreads a wait by a tenth to either side: what failed together need not come
    back together.
    """
    if not 0 < attempts <= len(WAITS):
        return None
    wait = WAITS[attempts - 1] * (1 - _SPREAD + 2 * _SPREAD * draw)
    return max(wait, timedelta(seconds=asked or 0.0))


def read_asked(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a 429 or 503 asks to wait, an hour at most, whatever it says. ``headers`` by lower-case name."""
    return read_retry_after(headers, now) if status in _ASKED else None


def has_failed_too_long(failing_since: datetime | None, clock: datetime) -> bool:
    """Whether nothing but failures since then is reason to disable an endpoint."""
    return failing_since is not None and clock - failing_since >= FAILING_FOR
