"""The one way to Sentry."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from service.sentry.egress import EgressPolicy
from service.sentry.limits import RateLimitState
from service.sentry.links import PageLinks
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token; ``version`` grows with every change of the stored credential."""

    value: str = field(repr=False)
    version: int


class TokenSource(Protocol):
    """Where the client gets an account's bearer token from."""

    async def token(self) -> Token:
        """The current token. Raises :class:`NeedsReauth` where there is none."""
        ...

    async def fresh_token(self, rejected: Token) -> Token:
        """Another token than the one Sentry answered 401 to.

        Raises :class:`NeedsReauth` or :class:`UpstreamUnauthorized` where there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """What the client needs to know of a linked account.

    ``control`` and ``api`` are the same when self-hosted. ``fingerprint`` tells credentials apart: equal ones share
    Sentry's rate limit.
    """

    tenant_id: str
    connection_id: str
    control: Origin
    api: Origin
    organization: str
    fingerprint: str
    tokens: TokenSource


@dataclass(frozen=True, slots=True)
class Response:
    """Sentry's whole answer. ``headers`` has lower-case names and only those of the allow-list."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    links: PageLinks
    rate_limit: RateLimitState | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """Sentry's answer while it arrives: ``body`` yields decoded bytes, and raises where it is cut off."""

    status: int
    headers: Mapping[str, str]
    links: PageLinks
    rate_limit: RateLimitState | None
    request_id: str | None
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class CallObservation:
    """One call, for metrics. ``outcome`` is the HTTP status or the error's code; ``seconds`` include all waiting."""

    host: str
    template: str
    method: str
    outcome: str
    seconds: float
    attempts: int


class SentryClient:
    """Calls Sentry for accounts."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        policy: EgressPolicy,
        deadline: float,
        attempts: int,
        max_bytes: int,
        user_agent: str,
        observe: Callable[[CallObservation], None] | None = None,
    ) -> None:
        raise NotImplementedError

    async def get(self, account: Account, path: ApiPath, query: Query = (), *, control: bool = False) -> Response:
        """Read from Sentry. Identical reads of one connection at the same time are one call."""
        raise NotImplementedError

    async def send(
        self,
        account: Account,
        method: str,
        path: ApiPath,
        query: Query = (),
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        control: bool = False,
    ) -> Response:
        """Pass a call through."""
        raise NotImplementedError

    def stream(
        self,
        account: Account,
        method: str,
        path: ApiPath,
        query: Query = (),
        *,
        body: AsyncIterable[bytes] | bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        control: bool = False,
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Pass a call through without holding its body."""
        raise NotImplementedError

    def rate_limit(self, account: Account) -> RateLimitState | None:
        """What Sentry last said of the account's limits."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close all connections."""
        raise NotImplementedError
