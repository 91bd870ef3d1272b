"""A call to Sentry and its answers, as values: structs, since each call makes one of each."""

from collections.abc import AsyncIterable, Mapping

import httpx
import msgspec

from service.sentry.account import Account, Applicant
from service.sentry.limits import RateLimitState
from service.sentry.links import PageLinks
from service.sentry.methods import SAFE_METHODS
from service.sentry.origin import Origin


class Call(msgspec.Struct, frozen=True):
    """A request for an account: where to, and what to send beside the token. ``url`` and ``headers`` are checked.

    An applicant has no token: what it proves itself by is in ``headers`` or ``body``, which no one may quote.
    """

    account: Account | Applicant
    origin: Origin
    method: str
    template: str
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | AsyncIterable[bytes] | None = None

    def __repr__(self) -> str:
        return f"Call({self.method} {self.origin} {self.template})"

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method in SAFE_METHODS

    @property
    def can_be_repeated(self) -> bool:
        """Whether the body can be sent once more."""
        return self.body is None or isinstance(self.body, bytes)


class Response(msgspec.Struct, frozen=True):
    """Sentry's whole answer. ``headers`` has lower-case names, and only those of the allow-list."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    links: PageLinks
    rate_limit: RateLimitState | None

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


class OpenResponse(msgspec.Struct, frozen=True):
    """Sentry's answer whose body is still to be read, in a content coding, out of ``stream``, which must be closed."""

    status: int
    headers: Mapping[str, str]
    links: PageLinks
    rate_limit: RateLimitState | None
    coding: str
    stream: httpx.AsyncByteStream


class CallObservation(msgspec.Struct, frozen=True):
    """One call, for metrics. ``outcome`` is the HTTP status or an error's code; ``seconds`` include all waiting."""

    host: str
    template: str
    method: str
    outcome: str
    seconds: float
    attempts: int
