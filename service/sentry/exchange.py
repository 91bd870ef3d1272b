"""One call and its repetitions: the only place that sends anything to Sentry, and the only one that sends it again."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import httpx
from cachetools import LRUCache
from msgspec.structs import replace

from service.deadlines import Deadlines
from service.errors import (
    EgressRefused,
    RateLimited,
    ServiceError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from service.sentry.account import Account, Token, TokenSource
from service.sentry.bodies import BodyDecoder
from service.sentry.breaker import Breaker
from service.sentry.calls import Call, CallObservation, OpenResponse, Response
from service.sentry.dialling import CertificateRefused
from service.sentry.egress import EgressPolicy
from service.sentry.fairness import Shares, TurnStream, spend
from service.sentry.gate import Gate
from service.sentry.headers import select_response_headers
from service.sentry.limits import RateLimitState, parse_rate_limit
from service.sentry.links import parse_link
from service.sentry.origin import Origin
from service.sentry.refusals import explain_failure, explain_lost_write, is_cured_by_token, is_gateway_failure
from service.sentry.retry import Failure, RetryBudget, costs_budget, plan_retry, read_skew

_KEPT = 10_000  # origins, breakers and buckets remembered at most
_STATE_SECONDS = 900.0
_REMOVED = "[removed]"
_AUTHORIZATIONS = re.compile(
    r"/api/0/sentry-app-installations/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/authorizations/"
)
_NO_HEADERS: Mapping[str, str] = {}
_NO_BODY = httpx.ByteStream(b"")
_parse_url = lru_cache(maxsize=1024)(httpx.URL)  # an eighth of a call's CPU, and most are asked for again


A = TypeVar("A", bound=Response | OpenResponse)


class _NoAnswer(Exception):
    """An attempt ended without a whole answer; ``status`` is known where the headers came."""

    def __init__(self, failure: Failure, status: int | None = None) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.status = status


@dataclass(slots=True, weakref_slot=True)
class _Site:
    """What is known of one Sentry: its ``skew`` is the seconds that its clock is ahead of ours."""

    budget: RetryBudget = field(default_factory=RetryBudget)
    skew: float | None = None


@dataclass(slots=True, weakref_slot=True)
class _Seen:
    """What a Sentry said last of a credential's limits, and when on our clock."""

    state: RateLimitState | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Way:
    """What calls have in common that go by one credential to one endpoint; others share parts of it."""

    site: _Site
    breaker: Breaker
    gate: Gate
    share: asyncio.Semaphore
    seen: _Seen


@dataclass(slots=True)
class _Course:
    """How far a call has come on its way; ``whole`` is the most bytes of an answer that are wanted in one piece."""

    ends: float
    way: _Way
    whole: int
    attempts: int = 0
    is_sending: bool = False
    dialling: list[bool] = field(default_factory=lambda: [False])


class Exchange:
    """Sends calls within their deadline, at Sentry's pace, and again where that is safe and may help."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        policy: EgressPolicy,
        deadline: float,
        attempts: int,
        max_bytes: int,
        observe: Callable[[CallObservation], None] | None,
        tenant_calls: int = 50,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._deadlines = Deadlines(deadline)
        self._attempts = attempts
        self._max_bytes = max_bytes
        self._observe = observe
        self._shares = Shares(tenant_calls)
        # By origin, tenant, credential, method and endpoint. What ways share lives for as long as one of them does.
        self._ways: LRUCache[tuple[str, str, str, str, str], _Way] = LRUCache(_KEPT)
        self._gates: WeakValueDictionary[tuple[str, str, str, str], Gate] = WeakValueDictionary()
        self._breakers: WeakValueDictionary[tuple[str, str], Breaker] = WeakValueDictionary()
        self._seen: WeakValueDictionary[tuple[str, str], _Seen] = WeakValueDictionary()
        self._sites: WeakValueDictionary[str, _Site] = WeakValueDictionary()

    def rate_limit(self, account: Account) -> RateLimitState | None:
        """What Sentry said last, and no longer than a quarter of an hour ago, of the credential's limits."""
        seen = self._seen.get((account.api.url, account.fingerprint))
        return seen.state if seen is not None and time.monotonic() - seen.at <= _STATE_SECONDS else None

    def clock_skew(self, origin: Origin) -> float | None:
        """Seconds that Sentry's clock was ahead of ours when it answered last; None where it has not told the time."""
        site = self._sites.get(origin.url)
        return None if site is None else site.skew

    async def fetch(self, call: Call) -> Response:
        """Perform the call and read the whole answer, of whatever status; raise where there is none."""
        return await self._perform(call, self._read, whole=self._max_bytes)

    async def open(self, call: Call) -> Response | OpenResponse:
        """Perform the call until the headers are there; an answer that may be repeated is read whole."""
        return await self._perform(call, self._read_refusal, whole=0)

    async def _perform(self, call: Call, receive: Callable[[OpenResponse], Awaitable[A]], *, whole: int) -> A:
        loop = asyncio.get_running_loop()
        started = loop.time()
        course = _Course(started + self._deadlines.seconds, self._way(call), whole)
        outcome = "CANCELLED"
        try:
            with self._deadlines.limit():
                answer = await self._repeat(call, receive, course)
            outcome = str(answer.status)
            return answer
        except TimeoutError:
            error = _explain_timeout(call, course, loop.time())
            outcome = error.code
            raise error from None
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            if course.is_sending:  # the caller went away
                course.way.breaker.abandon()
            if self._observe is not None:
                seconds = loop.time() - started
                self._observe(
                    CallObservation(call.origin.host, call.template, call.method, outcome, seconds, course.attempts)
                )

    def _way(self, call: Call) -> _Way:
        url, account = call.origin.url, call.account
        key = (url, account.tenant_id, account.fingerprint, call.method, call.template)
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = self._find_way(call)
        return way

    def _find_way(self, call: Call) -> _Way:
        url, account = call.origin.url, call.account
        site = self._sites.get(url)
        if site is None:
            self._policy.check_origin(call.origin)
            site = _Site()
        return _Way(
            site=self._sites.setdefault(url, site),
            breaker=self._breakers.setdefault((url, account.tenant_id), Breaker()),
            gate=self._gates.setdefault((url, account.fingerprint, call.method, call.template), Gate()),
            share=self._shares.of(call.origin, account.tenant_id),
            seen=self._seen.setdefault((url, account.fingerprint), _Seen()),
        )

    async def _repeat(self, call: Call, receive: Callable[[OpenResponse], Awaitable[A]], course: _Course) -> A:
        course.way.site.budget.earn()
        tokens = call.account.tokens
        token = None if tokens is None else await tokens.token()
        is_renewed = False
        while True:
            course.attempts += 1
            try:
                answer = await self._attempt(call, token, receive, course)
            except _NoAnswer as problem:
                wait = self._plan(call, problem.failure, _NO_HEADERS, course)
                if wait is None:
                    raise explain_failure(problem.failure, method=call.method, status=problem.status) from None
            else:
                if answer.status == 401 and tokens is not None and token is not None:
                    may_help = not is_renewed and _may_be_renewed(call, answer)
                    renewed = await _renew(tokens, token) if may_help else None
                    if renewed is None:
                        await tokens.doubt(token)
                        return answer
                    is_renewed = True
                    token = renewed
                    continue
                wait = self._plan(call, answer.status, answer.headers, course) if answer.status >= 400 else None
                if wait is None:
                    return answer
            await asyncio.sleep(wait)

    def _plan(self, call: Call, outcome: int | Failure, headers: Mapping[str, str], course: _Course) -> float | None:
        """Seconds to wait before the next attempt; None where it is not allowed, too late or over the budget."""
        if not call.can_be_repeated:
            return None
        wait = plan_retry(
            outcome,
            headers,
            method=call.method,
            attempt=course.attempts,
            attempts=self._attempts,
            now=time.time(),
        )
        if wait is None or asyncio.get_running_loop().time() + wait >= course.ends:
            return None
        return wait if not costs_budget(outcome, headers) or course.way.site.budget.spend() else None

    async def _attempt(
        self, call: Call, token: Token | None, receive: Callable[[OpenResponse], Awaitable[A]], course: _Course
    ) -> A:
        loop = asyncio.get_running_loop()
        gate = course.way.gate
        wait = gate.wait()
        if wait is not None and loop.time() + wait >= course.ends:
            raise RateLimited("Sentry's rate limit is used up for longer than this call may wait.", retry_after=wait)
        serial = await gate.enter()
        try:
            await course.way.share.acquire()
        except asyncio.CancelledError:
            gate.abandon()
            raise
        keeps_turn = False
        try:
            answer = await self._attempt_in_turn(call, token, receive, course, serial)
            keeps_turn = isinstance(answer, OpenResponse)
        finally:
            if not keeps_turn:
                course.way.share.release()
        if isinstance(answer, OpenResponse):
            return cast("A", replace(answer, stream=TurnStream(answer.stream, course.way.share)))
        return answer

    async def _attempt_in_turn(
        self,
        call: Call,
        token: Token | None,
        receive: Callable[[OpenResponse], Awaitable[A]],
        course: _Course,
        serial: int,
    ) -> A:
        loop = asyncio.get_running_loop()
        gate, breaker = course.way.gate, course.way.breaker
        pause = breaker.admit(loop.time())
        if pause > 0.0:
            gate.abandon()
            raise UpstreamUnavailable("Sentry has failed many times in a row and is left alone.", retry_after=pause)
        course.is_sending = True
        opened: OpenResponse | None = None
        try:
            opened = await self._send(call, token, course)
            answer = await receive(opened)
            if token is not None and isinstance(answer, Response) and answer.status >= 300:
                answer = cast("A", _without_token(answer, token))
        except _NoAnswer as problem:
            course.is_sending = False
            if problem.failure is Failure.DISTRUSTED:  # says more of the account than of Sentry
                breaker.abandon()
            else:
                breaker.fail(loop.time())
            raise
        finally:
            if opened is None:
                gate.abandon()
            else:
                gate.leave(serial, opened.rate_limit, opened.headers, refused=opened.status == 429)
        course.is_sending = False
        if is_gateway_failure(answer.status):
            breaker.fail(loop.time())
        else:
            breaker.succeed()
        return answer

    async def _send(self, call: Call, token: Token | None, course: _Course) -> OpenResponse:
        """Send once. The last look at where to: nothing below decides about it."""
        if not (_is_api(call) if token is not None else _is_grant(call)):
            raise EgressRefused("The request leaves the connection's own API.")
        try:
            response = await self._transport.handle_async_request(_build_request(call, token, course))
        except CertificateRefused:
            raise _NoAnswer(Failure.DISTRUSTED) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise _NoAnswer(Failure.UNSENT) from None
        except httpx.RemoteProtocolError:
            raise _NoAnswer(Failure.GARBLED) from None
        except httpx.TransportError:
            raise _NoAnswer(Failure.LOST) from None
        stream: Any = response.stream
        if response.status_code < 200:
            await stream.aclose()
            raise _NoAnswer(Failure.GARBLED)
        headers, coding = select_response_headers(response.headers.raw)
        if token is not None and token.value in "\n".join(headers.values()):
            headers = {name: value.replace(token.value, _REMOVED) for name, value in headers.items()}
        skew = read_skew(headers, time.time())
        if skew is not None:
            course.way.site.skew = skew
        state = parse_rate_limit(headers)
        if state is not None:
            course.way.seen.state, course.way.seen.at = state, time.monotonic()
        return OpenResponse(
            status=response.status_code,
            headers=headers,
            links=parse_link(headers.get("link")),
            rate_limit=state,
            coding=coding,
            stream=stream,
        )

    async def _read(self, opened: OpenResponse) -> Response:
        """Read the body to its end, and not further than the cap."""
        pieces: list[bytes] = []
        is_whole = False
        try:
            decoder = BodyDecoder(opened.coding, max_bytes=self._max_bytes)
            async for data in opened.stream:
                for piece in decoder.feed(data):
                    spend(len(piece))
                    pieces.append(piece)
            decoder.finish()
            is_whole = True
        except (httpx.RemoteProtocolError, UpstreamInvalid):
            raise _NoAnswer(Failure.GARBLED, opened.status) from None
        except httpx.TransportError:
            raise _NoAnswer(Failure.LOST, opened.status) from None
        finally:
            if not is_whole:
                pieces.clear()  # the error's traceback holds this frame until the collector comes by
            await opened.stream.aclose()
        return Response(
            status=opened.status,
            headers=opened.headers,
            body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            links=opened.links,
            rate_limit=opened.rate_limit,
        )

    async def _read_refusal(self, opened: OpenResponse) -> Response | OpenResponse:
        """Leave the body to the caller, unless it may be followed by another answer, or quote what was sent."""
        return await self._read(opened) if opened.status >= 300 else opened


def _build_request(call: Call, token: Token | None, course: _Course) -> httpx.Request:
    headers = [(b"Host", call.origin.authority.encode("ascii"))]
    if token is not None:
        headers.append((b"Authorization", _bearer(token)))
    headers += call.headers
    # Given a stream, httpx does not go through the headers again to find what it lacks; an empty body lacks nothing.
    body: Any = {"stream": _NO_BODY} if call.is_safe and call.body is None else {"content": call.body}
    extensions = {"ca": call.account.ca, "dialling": course.dialling, "whole": course.whole}
    return httpx.Request(call.method, _parse_url(call.url), headers=headers, extensions=extensions, **body)


def _is_api(call: Call) -> bool:
    return call.url.startswith(f"{call.origin.url}/api/0/")


def _is_grant(call: Call) -> bool:
    """Whether it is to one of the two endpoints that give tokens: nothing else may be sent without one."""
    base = call.origin.url
    if call.method != "POST" or not call.url.startswith(base):
        return False
    return call.url[len(base) :] == "/oauth/token/" or _AUTHORIZATIONS.fullmatch(call.url, len(base)) is not None


def _may_be_renewed(call: Call, answer: Response | OpenResponse) -> bool:
    return call.can_be_repeated and isinstance(answer, Response) and is_cured_by_token(answer.body)


def _without_token(answer: Response, token: Token) -> Response:
    """A refusal that does not quote the token, as a server that echoes requests would; whoever reads it has none."""
    secret = token.value.encode("ascii")
    return answer if secret not in answer.body else replace(answer, body=answer.body.replace(secret, _REMOVED.encode()))


async def _renew(tokens: TokenSource, rejected: Token) -> Token | None:
    """Another token, or None where there is none to be had and the 401 stands."""
    try:
        return await tokens.fresh_token(rejected)
    except UpstreamUnauthorized:
        return None


def _bearer(token: Token) -> bytes:
    value = token.value
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise UpstreamUnauthorized("The stored token holds characters that no token has.")
    return b"Bearer " + value.encode("ascii")


def _explain_timeout(call: Call, course: _Course, now: float) -> UpstreamError:
    if course.is_sending:
        course.is_sending = False
        course.way.breaker.fail(now)
        if not call.is_safe and not course.dialling[0]:
            return explain_lost_write(None, None)
    elif (wait := course.way.gate.wait()) is not None and wait > 0.0:
        return RateLimited("Sentry's rate limit was used up for longer than this call may wait.", retry_after=wait)
    return UpstreamTimeout("Sentry did not answer in time.")
