"""The one way to Sentry: every call carries its account's token, and none goes without deadline, limits and checks."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import httpx

from service.errors import BadInput, UpstreamInvalid, UpstreamTimeout
from service.sentry.account import Account, Applicant
from service.sentry.bodies import BodyDecoder
from service.sentry.calls import Call, CallObservation, OpenResponse, Response
from service.sentry.egress import EgressPolicy
from service.sentry.exchange import Exchange
from service.sentry.fairness import ByteBudget, current, spend
from service.sentry.headers import select_request_headers
from service.sentry.limits import RateLimitState
from service.sentry.links import PageLinks
from service.sentry.methods import METHODS
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath, Query, build_url
from service.sentry.refusals import explain_status
from service.tasks import Coalescer

_STREAM_SECONDS = 3600.0
_TOKEN_ENDPOINT = "oauth/token/"  # noqa: S105 - no password
_Key = tuple[str, str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """Sentry's answer while it arrives. ``body`` yields decoded bytes, and raises where the answer is cut off."""

    status: int
    headers: Mapping[str, str]
    links: PageLinks
    body: AsyncIterator[bytes]


class SentryClient:
    """Calls Sentry for accounts, on one event loop.

    ``deadline`` is the seconds that a call may take with all its waiting and ``attempts``; ``max_bytes`` bounds a
    decoded answer, unless it is streamed. ``tenant_calls`` is how many calls and streams of one tenant may be under way
    at one Sentry; more wait. ``observe`` is told of every call and must not block. Beside the errors that
    each method names, all raise :class:`EgressRefused`, :class:`UpstreamTimeout`, :class:`UpstreamUnavailable`,
    :class:`UpstreamInvalid`, :class:`UpstreamTooLarge`, :class:`RateLimited` where Sentry was not even asked, and what
    the account's ``tokens`` raise.
    """

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
        tenant_calls: int = 50,
    ) -> None:
        self._transport = transport
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._exchange = Exchange(
            transport,
            policy=policy,
            deadline=deadline,
            attempts=attempts,
            max_bytes=max_bytes,
            observe=observe,
            tenant_calls=tenant_calls,
        )
        self._user_agent = user_agent
        self._read_headers = self._build_headers({"accept": "application/json"})
        self._reads: Coalescer[_Key, Response] = Coalescer()

    async def get(self, account: Account, path: ApiPath, query: Query = (), *, control: bool = False) -> Response:
        """Read from Sentry. Identical reads of one connection at the same time are one call.

        Every status of 400 or more raises: :class:`UpstreamUnauthorized`, :class:`MissingScope`,
        :class:`UpstreamNotFound`, :class:`RateLimited` or another :class:`UpstreamError`; so does a redirect.
        """
        response = await self._read(account, account.control if control else account.api, path, query)
        if response.status >= 400:
            raise _explain(response, "GET")
        if response.status >= 300:
            raise UpstreamInvalid(
                "Sentry answered with a redirect, which is not followed.",
                cure="Link again with the address that Sentry's own interface shows.",
                upstream_status=response.status,
            )
        return response

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
        """Pass a call through. Sentry's answers below 500 come back as they are; a write is sent once.

        ``headers`` are a caller's: what is not on the allow-list is dropped. A ``GET`` without any shares its call with
        identical ones, as :meth:`get` does. Raises :class:`OutcomeUnknown` for a write whose answer was lost.
        """
        origin = account.control if control else account.api
        if method == "GET" and body is None and not headers:
            response = await self._read(account, origin, path, query)
        else:
            call = self._build_call(account, origin, method, path, query, body, content_type, headers)
            response = await self._exchange.fetch(call)
        if response.status >= 500:
            raise _explain(response, method)
        return response

    @asynccontextmanager
    async def stream(
        self,
        account: Account,
        method: str,
        path: ApiPath,
        query: Query = (),
        *,
        body: AsyncIterable[bytes] | bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Pass a call through, like :meth:`send`, without holding either body; one that iterates is sent once.

        The deadline ends with the headers; then it holds for each piece of the body, and an hour for all of them.
        """
        call = self._build_call(account, account.api, method, path, query, body, content_type, headers)
        opened = await self._exchange.open(call)
        if opened.status >= 500 and isinstance(opened, Response):
            raise _explain(opened, call.method)
        pieces = _yield_once(opened.body) if isinstance(opened, Response) else self._yield_decoded(opened)
        try:
            yield StreamedResponse(
                status=opened.status,
                headers=opened.headers,
                links=opened.links,
                body=pieces,
            )
        finally:
            await pieces.aclose()
            if isinstance(opened, OpenResponse):
                await opened.stream.aclose()

    async def post_grant(
        self,
        origin: Origin,
        path: ApiPath | None,
        *,
        tenant_id: str,
        client_id: str,
        body: bytes,
        content_type: str,
        assertion: str | None = None,
        ca: str | None = None,
    ) -> Response:
        """Ask for a token, at ``oauth/token/`` or at an installation's ``path``. Any status comes back as it is.

        What proves the client is in ``body`` or is the ``assertion``; no account's token is sent. It is sent once, and
        again only after what says that it was not looked at (a 429), or where nothing left. Neither the request nor the
        answer may be logged or quoted. Raises :class:`OutcomeUnknown` where the answer was lost.
        """
        if path is None:
            template, url = _TOKEN_ENDPOINT, f"{origin.url}/{_TOKEN_ENDPOINT}"
        else:
            template, url = path.template, build_url(origin, path)
        chosen = {"accept": "application/json", "content-type": content_type}
        if assertion is not None:
            chosen["authorization"] = f"Bearer {assertion}"
        applicant = Applicant(tenant_id, f"client:{client_id}", ca)
        call = Call(applicant, origin, "POST", template, url, self._build_headers(chosen), body)
        unbound = current.set(None)  # a grant that was sent must not be lost because its caller has read too much
        try:
            return await self._exchange.fetch(call)
        finally:
            current.reset(unbound)

    def clock_skew(self, origin: Origin) -> float | None:
        """Seconds that the server's clock is ahead of ours, by its latest answer; None before there was any.

        Good to a second, which is all that a ``Date`` tells, and to how long answers take.
        """
        return self._exchange.clock_skew(origin)

    def rate_limit(self, account: Account) -> RateLimitState | None:
        """What Sentry last said of the credential's limits, to any of its calls."""
        return self._exchange.rate_limit(account)

    def begin_request(self) -> None:
        """Bound what the present task and those it starts read in all: five of the largest answers."""
        current.set(ByteBudget(5 * self._max_bytes))

    async def aclose(self) -> None:
        """Break off the reads under way and close all connections."""
        await self._reads.aclose()
        await self._transport.aclose()

    async def _read(self, account: Account, origin: Origin, path: ApiPath, query: Query) -> Response:
        url, template = _spell(origin, path, tuple(query))
        key = (account.tenant_id, account.connection_id, account.fingerprint, account.ca, url)
        call = Call(account, origin, "GET", template, url, self._read_headers)
        has_started = False

        def start() -> Awaitable[Response]:
            nonlocal has_started
            has_started = True
            return self._exchange.fetch(call)

        response = await self._reads.run(key, start)
        if not has_started:  # who did has counted the bytes as they came
            spend(len(response.body))
        return response

    def _build_call(
        self,
        account: Account,
        origin: Origin,
        method: str,
        path: ApiPath,
        query: Query,
        body: AsyncIterable[bytes] | bytes | None,
        content_type: str | None,
        headers: Mapping[str, str] | None,
    ) -> Call:
        if method not in METHODS:
            raise BadInput("This HTTP method cannot be passed through.", cure="Use GET, POST, PUT, PATCH or DELETE.")
        chosen = {"accept": "application/json"}
        if method in {"POST", "PUT", "PATCH"}:
            chosen["content-type"] = "application/json"
        chosen |= select_request_headers(
            {**(headers or {}), **({"content-type": content_type} if content_type is not None else {})}
        )
        if body is None or isinstance(body, bytes):
            chosen.pop("content-length", None)  # ours to count
        url = build_url(origin, path, query)
        return Call(account, origin, method, path.template, url, self._build_headers(chosen), body)

    def _build_headers(self, chosen: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
        named = {"Accept-Encoding": "gzip", "User-Agent": self._user_agent, **chosen}
        return tuple((name.title().encode("ascii"), value.encode("ascii")) for name, value in named.items())

    async def _yield_decoded(self, opened: OpenResponse) -> AsyncGenerator[bytes]:
        decoder = BodyDecoder(opened.coding, max_bytes=None)
        ends = time.monotonic() + _STREAM_SECONDS
        stream = aiter(opened.stream)
        while True:
            try:
                async with asyncio.timeout(min(self._deadline, ends - time.monotonic())):
                    data = await anext(stream, None)
            except TimeoutError:
                raise UpstreamTimeout("Sentry's answer stopped half-way.") from None
            except httpx.TransportError:
                raise UpstreamInvalid("Sentry's answer was cut off.") from None
            if data is None:
                break
            for piece in decoder.feed(data):
                yield piece
        decoder.finish()


@lru_cache(maxsize=1024)  # most reads are asked for again
def _spell(origin: Origin, path: ApiPath, query: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    return build_url(origin, path, query), path.template


async def _yield_once(body: bytes) -> AsyncGenerator[bytes]:
    yield body


def _explain(response: Response, method: str) -> Exception:
    return explain_status(response.status, response.headers, response.body, method=method, now=time.time())
