"""Sentry's rate limits, learned from the headers of its answers; no I/O, no clock of its own."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What the ``X-Sentry-Rate-Limit-…`` headers said: calls in the window, and calls at the same time."""

    limit: int | None
    remaining: int | None
    reset_at: datetime | None
    concurrent_limit: int | None
    concurrent_remaining: int | None
