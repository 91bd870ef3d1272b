"""Sentry's rate limits, learned from the headers of its answers. No I/O, no clock of its own.

Sentry counts calls in fixed windows, and calls at the same time, in buckets that it does not name
(``X-Sentry-Rate-Limit-…``; self-hosted sends nothing and limits nothing). A :class:`Bucket` is our view of one.
"""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from service.sentry.retry import read_reset, told_wait

_UNKNOWN_PARALLEL = 2  # until a first answer has told the limits
_LATEST_RESET = 4102444800  # the year 2100
_LIMIT = "x-sentry-rate-limit-limit"
_REMAINING = "x-sentry-rate-limit-remaining"
_RESET = "x-sentry-rate-limit-reset"
_CONCURRENT_LIMIT = "x-sentry-rate-limit-concurrentlimit"
_CONCURRENT_REMAINING = "x-sentry-rate-limit-concurrentremaining"


class RateLimitState(msgspec.Struct, frozen=True):
    """What the headers said: calls in the window that ends at ``reset`` (epoch seconds), and calls at one time."""

    limit: int | None
    remaining: int | None
    reset: int | None
    concurrent_limit: int | None
    concurrent_remaining: int | None

    @property
    def reset_at(self) -> datetime | None:
        """When the window ends."""
        return None if self.reset is None else datetime.fromtimestamp(self.reset, UTC)


def parse_rate_limit(headers: Mapping[str, str]) -> RateLimitState | None:
    """Read the headers, by lower-case name; None where there are none. A value may be the text ``None``."""
    if _LIMIT not in headers and _CONCURRENT_LIMIT not in headers:
        return None
    reset = _number(headers, _RESET)
    return RateLimitState(
        limit=_number(headers, _LIMIT),
        remaining=_number(headers, _REMAINING),
        reset=None if reset is None or reset > _LATEST_RESET else reset,
        concurrent_limit=_number(headers, _CONCURRENT_LIMIT),
        concurrent_remaining=_number(headers, _CONCURRENT_REMAINING),
    )


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


class Bucket:
    """Lets so many calls go that Sentry refuses none, as far as this process can know.

    Every call that :meth:`claim` lets go ends in :meth:`settle`. ``now`` is seconds on any one clock that does not go
    back; ``epoch`` is the time of day.
    """

    __slots__ = (
        "_available",
        "_first",
        "_held_until",
        "_in_flight",
        "_is_known",
        "_is_new_window",
        "_last",
        "_limit",
        "_parallel",
        "_reset",
        "_window_ends",
    )

    def __init__(self) -> None:
        self._is_known = False
        self._limit: int | None = None
        self._available = 0
        self._window_ends = 0.0  # on our clock
        self._reset = 0  # on Sentry's: names the window
        self._is_new_window = False  # by our clock, and no answer out of it yet
        self._first = 0  # the serial number of the window's first call
        self._last = 0
        self._in_flight = 0
        self._parallel = math.inf
        self._held_until = 0.0

    def claim(self, now: float) -> float:
        """0.0 and the call may go; else seconds after which to ask again, infinite until a call settles."""
        if self._in_flight + 1 > (self._parallel if self._is_known else _UNKNOWN_PARALLEL):
            return math.inf
        if now < self._held_until:
            return self._held_until - now
        if self._limit is not None:
            if now >= self._window_ends:
                self._turn_over()
            if self._available <= 0:
                return self._window_ends - now
            self._available -= 1
        self._in_flight += 1
        self._last += 1
        return 0.0

    def wait(self, now: float) -> float:
        """What :meth:`claim` would say, without going."""
        if now < self._held_until:
            return self._held_until - now
        if self._limit is not None and self._available <= 0 and now < self._window_ends:
            return self._window_ends - now
        return 0.0

    @property
    def serial(self) -> int:
        """The number of the call that was let go last; :meth:`settle` asks for it back."""
        return self._last

    def settle(
        self,
        serial: int,
        state: RateLimitState | None,
        headers: Mapping[str, str],
        *,
        refused: bool,
        now: float,
        epoch: float,
    ) -> None:
        """Learn from the answer to call ``serial``: its headers, read into ``state``, and whether it was a 429."""
        self._in_flight -= 1
        self._is_known = True
        if state is None or state.limit is None or state.remaining is None or state.reset is None:
            self._limit = None
        else:
            # Clocks differ a little, and to be early costs a whole window's calls.
            ends = now + (read_reset(headers, epoch) or 0.0) + random.uniform(0.02, 0.05)  # noqa: S311 - jitter
            self._limit = max(state.limit, 1)
            self._learn_window(serial, state.remaining, state.reset, ends)
        self._learn_parallel(state, refused=refused)
        if refused and (wait := told_wait(headers, epoch)) is not None:
            self._held_until = max(self._held_until, now + wait)

    def abandon(self) -> None:
        """The call ended without an answer; it may have been counted all the same."""
        self._in_flight -= 1
        if self._is_new_window and self._in_flight == 0 and self._available <= 0:
            self._available = 1  # nobody is left who could tell when the window ends: let one find out

    def _turn_over(self) -> None:
        """By our clock a window has begun. What is in flight may be counted in it, and is taken off."""
        self._available = (self._limit or 0) - self._in_flight
        self._first = self._last + 1
        self._window_ends = math.inf  # until an answer tells
        self._is_new_window = True

    def _learn_window(self, serial: int, remaining: int, reset: int, ends: float) -> None:
        fresh = remaining - (self._last - serial)  # calls sent later are not counted in `remaining` yet
        if reset > self._reset and not self._is_new_window:  # Sentry's clock was first
            self._available = remaining - self._in_flight
            self._first = self._last + 1
        elif reset > self._reset or (reset == self._reset and not self._is_new_window):
            self._available = min(self._available, fresh)
        elif self._is_new_window and serial >= self._first:  # we were early: Sentry is in the old window still
            self._available = fresh
        else:
            if serial < self._first:  # counted in an older window after all: what was taken off is given back
                self._available += 1
            return
        self._reset = reset
        self._window_ends = ends
        self._is_new_window = False

    def _learn_parallel(self, state: RateLimitState | None, *, refused: bool) -> None:
        """Additive increase, multiplicative decrease: others may be using up the same allowance."""
        if state is None or not state.concurrent_limit:
            self._parallel = math.inf
        elif refused and state.remaining:
            self._parallel = max(1.0, min(self._parallel, state.concurrent_limit) / 2)
        else:
            self._parallel = min(self._parallel + 1 / self._parallel, state.concurrent_limit)
