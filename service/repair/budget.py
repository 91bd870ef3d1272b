"""Room in Sentry's rate limit: repairs leave at least half of it to those who wait for an answer. Pure."""

from datetime import datetime

from service.sentry.limits import RateLimitState


def find_pause(state: RateLimitState | None, now: datetime) -> float:
    """Seconds to wait until there is room; 0.0 where there is, or where nothing is known. ``now`` is Sentry's clock.

    A state whose window is over says nothing of the next one.
    """
    if state is None or state.reset_at is None or state.reset_at <= now:
        return 0.0
    is_free = _has_half(state.remaining, state.limit) and _has_half(state.concurrent_remaining, state.concurrent_limit)
    return 0.0 if is_free else (state.reset_at - now).total_seconds()


def _has_half(remaining: int | None, limit: int | None) -> bool:
    return remaining is None or limit is None or 2 * remaining >= limit
