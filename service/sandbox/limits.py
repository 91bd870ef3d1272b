"""Sentry's rate limiter: fixed windows and a cap on calls in flight, both told in headers on every answer."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from service.sandbox.responses import Answer

Bucket = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One call's place in its window."""

    bucket: Bucket
    limit: int
    remaining: int
    reset: int
    in_flight: int
    refusal: str | None


class Limiter:
    """Counts calls by bucket.

    ``limit`` calls per ``window`` seconds and ``concurrent`` in flight; ``limit=None`` is a self-hosted server's way:
    no limit, no headers. With ``by_endpoint``, endpoints with limits of their own (issues, events) have own buckets.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        limit: int | None,
        window: int = 1,
        concurrent: int = 25,
        by_endpoint: bool = True,
    ) -> None:
        self.clock = clock
        self.limit = limit
        self.window = window
        self.concurrent = concurrent
        self.by_endpoint = by_endpoint
        self.refused = 0
        self._counts: dict[Bucket, tuple[int, int]] = {}
        self._in_flight: dict[Bucket, int] = {}

    def enter(self, who: Bucket, method: str, template: str, own_limit: int | None) -> Turn | None:
        """Counts a call; None where nothing is limited. Every turn must be left again."""
        if self.limit is None:
            return None
        limit = self.limit
        if own_limit is not None and self.by_endpoint:
            limit, bucket = own_limit, (*who, method, template)
        else:
            bucket = (*who, method)
        number = int(self.clock()) // self.window
        seen, used = self._counts.get(bucket, (number, 0))
        used = used + 1 if seen == number else 1
        self._counts[bucket] = (number, used)
        self._in_flight[bucket] = self._in_flight.get(bucket, 0) + 1
        refusal = None
        if used > limit:
            refusal = (
                "You are attempting to use this endpoint too frequently. "
                f"Limit is {limit} requests in {self.window} seconds"
            )
        elif self._in_flight[bucket] > self.concurrent:
            refusal = (
                "You are attempting to go above the allowed concurrency for this endpoint. "
                f"Concurrency limit is {self.concurrent}"
            )
        self.refused += refusal is not None
        return Turn(bucket, limit, max(0, limit - used), (number + 1) * self.window, self._in_flight[bucket], refusal)

    def leave(self, turn: Turn | None) -> None:
        """Ends a call."""
        if turn:
            self._in_flight[turn.bucket] = self._in_flight.get(turn.bucket, 1) - 1

    def headers(self, turn: Turn) -> dict[str, str]:
        """The five headers; an answer that the window refused says "None" for concurrency, as Sentry does."""
        over_window = turn.refusal is not None and turn.remaining == 0
        left = "None" if over_window else str(max(0, self.concurrent - turn.in_flight))
        return {
            "x-sentry-rate-limit-remaining": str(turn.remaining),
            "x-sentry-rate-limit-limit": str(turn.limit),
            "x-sentry-rate-limit-reset": str(turn.reset),
            "x-sentry-rate-limit-concurrentremaining": left,
            "x-sentry-rate-limit-concurrentlimit": str(self.concurrent),
        }


def too_many(text: str) -> Answer:
    """429: a bare JSON string, labelled text/html, and no Retry-After."""
    return Answer(429, msgspec.json.encode(text), "text/html; charset=utf-8")
