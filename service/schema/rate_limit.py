"""The ``SentryRateLimit`` type."""

from datetime import datetime

import strawberry

from service.sentry.limits import RateLimitState


@strawberry.type(description="Sentry's rate limit, as its latest answer said. Self-hosted Sentrys usually have none.")
class SentryRateLimit:
    """Sentry's rate limit."""

    limit: int | None = strawberry.field(description="Calls in a window.")
    remaining: int | None = strawberry.field(description="Calls left in this window.")
    reset_at: datetime | None = strawberry.field(description="When the window ends.")
    concurrent_limit: int | None = strawberry.field(description="Calls at the same time.")
    concurrent_remaining: int | None = strawberry.field(description="Calls that may begin now beside those running.")


def build_rate_limit(state: RateLimitState | None) -> SentryRateLimit | None:
    """The graph's type of a rate-limit state."""
    return state  # type: ignore[return-value]  # its fields back the type
