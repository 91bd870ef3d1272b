"""When a call is tried again, and after how long. Pure rules; the one place where calls are repeated obeys them."""

import enum
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from tenacity import RetryCallState, Retrying, wait_random_exponential

from service.sentry.methods import SAFE_METHODS

_BACKOFF = wait_random_exponential(multiplier=0.1, max=5)
_LONGEST_WAIT = 3600.0
_TRUSTED_SKEW = 2.0


class Failure(enum.Enum):
    """How an attempt ended without an answer."""

    UNSENT = "unsent"
    """No byte of the request left: repeating it is safe."""
    DISTRUSTED = "distrusted"
    """No byte left either, since the server's certificate could not be verified: repeating it changes nothing."""
    LOST = "lost"
    """Sent, and the connection broke before the whole answer came."""
    GARBLED = "garbled"
    """Sent, and the answer is not HTTP, or not whole."""


def plan_retry(
    outcome: int | Failure, headers: Mapping[str, str], *, method: str, attempt: int, attempts: int, now: float
) -> float | None:
    """Seconds to wait before trying again, or None to leave it at that.

    ``outcome`` is the answer's status or why there is none, ``attempt`` counts from 1, ``now`` is the epoch. A 429 was
    not carried out, so any method may be repeated; so may what never left. All else only where it changes nothing.
    """
    if attempt >= attempts:
        return None
    if outcome == 429:
        told = told_wait(headers, now)
        return _backoff(attempt) if told is None else told
    if outcome is Failure.DISTRUSTED:
        return None
    if outcome is Failure.UNSENT:
        return _backoff(attempt)
    if method in SAFE_METHODS and (isinstance(outcome, Failure) or outcome >= 500):
        return max(_backoff(attempt), read_retry_after(headers, now) or 0.0)
    return None


def costs_budget(outcome: int | Failure, headers: Mapping[str, str]) -> bool:
    """Whether trying again adds load that nothing else bounds. A 429 that tells its terms has the limiter for that."""
    return outcome != 429 or not ("retry-after" in headers or "x-sentry-rate-limit-limit" in headers)


def told_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a 429 asks to wait: ``Retry-After``, else the end of Sentry's window; None where it does not say.

    A refusal that leaves calls in the window is about calls at the same time: the window's end means nothing to it.
    """
    wait = read_retry_after(headers, now)
    if wait is None and headers.get("x-sentry-rate-limit-remaining") in {"0", None}:
        wait = read_reset(headers, now)
    return wait


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """``Retry-After`` in seconds, from either of its forms (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _LONGEST_WAIT)
    moment = _parse_date(text)
    return None if moment is None else min(max(moment - server_time(headers, now), 0.0), _LONGEST_WAIT)


def read_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until Sentry's window ends, from ``X-Sentry-Rate-Limit-Reset`` (epoch seconds)."""
    text = headers.get("x-sentry-rate-limit-reset", "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(max(float(text[:15]) - server_time(headers, now), 0.0), _LONGEST_WAIT)


def server_time(headers: Mapping[str, str], now: float) -> float:
    """The epoch as the server has it: ours where the two agree, since its ``Date`` has whole seconds only."""
    moment = _parse_date(headers.get("date", ""))
    return now if moment is None or abs(moment - now) <= _TRUSTED_SKEW else moment


def read_skew(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server's clock is ahead of ours; None where it does not tell the time."""
    moment = _parse_date(headers.get("date", ""))
    return None if moment is None else moment + 0.5 - now  # the middle of the second that `Date` names


@lru_cache(maxsize=64)  # the same for a second's answers
def _parse_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _backoff(attempt: int) -> float:
    return draw_wait(_BACKOFF, attempt)


def draw_wait(backoff: wait_random_exponential, attempt: int) -> float:
    """Seconds to wait after so many attempts, with full jitter: anything between nothing and a doubling bound."""
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return backoff(state)


class RetryBudget:
    """Bounds how much load repeating adds: a tenth of the calls, after a small reserve. For one origin."""

    __slots__ = ("_left",)

    _RESERVE = 10.0
    _SHARE = 0.1

    def __init__(self) -> None:
        self._left = self._RESERVE

    def earn(self) -> None:
        """A call began."""
        self._left = min(self._left + self._SHARE, self._RESERVE)

    def spend(self) -> bool:
        """Take one repetition; False where there is none left."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
