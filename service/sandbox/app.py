"""The stand-in Sentry as an ASGI app: the road that every call takes.

Path → endpoint; token → who; limiter; scopes; organization and role; handler. A fault that matches may strike instead.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import time
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from service.sandbox import control
from service.sandbox.call import Call, Endpoint
from service.sandbox.endpoints import ENDPOINTS
from service.sandbox.faults import ConnectionAborted, Fault, Faults, Wire
from service.sandbox.limits import Limiter, too_many
from service.sandbox.responses import (
    Answer,
    Refused,
    forbidden,
    method_not_allowed,
    no_route,
    not_found,
    unauthorized,
)
from service.sandbox.seed import build_world
from service.sandbox.world import Manner, Token

_ROOT = "/api/0/"
_KEPT_REQUESTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """How the sandbox behaves.

    ``manner``: as a self-hosted 23.7, or as the newest server. ``rate_limit``: calls per ``rate_window`` seconds (None:
    neither limits nor headers); ``endpoint_limits`` gives issues and events limits of their own. ``region_url``: where
    organizations say they live, by default here. ``control``: serve the private endpoint that switches faults from
    another process.
    """

    manner: Manner = "latest"
    rate_limit: int | None = 40
    rate_window: int = 1
    concurrency: int = 25
    endpoint_limits: bool = True
    region_url: str | None = None
    control: bool = False
    clock: Callable[[], float] = time


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A call that arrived.

    ``path`` is decoded, ``target`` as sent with its query; ``headers`` have lower-case names; ``at`` is seconds on the
    sandbox's clock.
    """

    method: str
    path: str
    target: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    at: float


class Sandbox:
    """The ASGI app, with what tests and the demo hold it by.

    ``requests`` are the calls that arrived, the oldest first, in a bounded list; ``faults`` the ways to misbehave;
    ``limiter`` the rate limiter; ``manner`` may be changed at any time. ``url`` is where it is served.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.url = "http://sandbox"
        self.requests: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self.faults = Faults()
        self.world = build_world()
        self.limiter = self._build_limiter()
        self.manner: Manner = config.manner

    def _build_limiter(self) -> Limiter:
        config = self.config
        return Limiter(
            config.clock,
            limit=config.rate_limit,
            window=config.rate_window,
            concurrent=config.concurrency,
            by_endpoint=config.endpoint_limits,
        )

    def reset(self) -> None:
        """Back to how it was at the start: world, requests, faults, limits, manner."""
        self.faults.clear()
        self.requests.clear()
        self.limiter = self._build_limiter()
        self.manner = self.config.manner
        if not self.world.is_pristine:
            self.world = build_world()

    def count(self, method: str = "", path: str = "") -> int:
        """How many calls arrived with this method (any, where empty) and a path in which the pattern is found."""
        return sum(1 for r in list(self.requests) if method in {"", r.method} and re.search(path, r.path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call (ASGI)."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the sandbox speaks http only, not {scope['type']}")
        request = Request(scope, receive)
        body = await request.body()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.config.control and path.startswith(control.ROOT):
            await _respond(send, request.method, control.answer(self, request.method, path, body), {})
            return
        raw = scope["raw_path"].decode("latin-1").removeprefix(scope.get("root_path", ""))
        query = tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        target = raw + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        self.requests.append(RecordedRequest(request.method, path, target, query, headers, body, self.config.clock()))
        base = f"{scope['scheme']}://{headers.get('host', 'sandbox')}{scope.get('root_path', '')}"
        call = Call(
            world=self.world,
            manner=self.manner,
            base=base,
            region=self.config.region_url or base,
            path=_resolve_dots(raw),
            method=request.method,
            query=query,
            body=body,
            names={},
            now=datetime.fromtimestamp(self.config.clock(), UTC),
        )
        await self._serve(call, headers.get("authorization"), (scope.get("client") or ("",))[0], scope, send)

    async def _serve(self, call: Call, authorization: str | None, address: str, scope: Scope, send: Send) -> None:
        endpoint, call = self._find_endpoint(call)
        token, problem = self._authenticate(authorization, call)
        limiter = self.limiter
        own_limit = endpoint.own_limit.get(call.method) if endpoint else None
        turn = limiter.enter(_bucket(token, address), call.method, endpoint.template if endpoint else "", own_limit)
        headers = limiter.headers(turn) if turn else {}
        try:
            if turn and turn.refusal:
                await _respond(send, call.method, too_many(turn.refusal), headers)
                return
            if endpoint:
                headers["allow"] = endpoint.allow
            fault = self.faults.take(call.method, call.path)
            if fault is None:
                await _respond(send, call.method, self._answer(call, endpoint, token, problem), headers)
                return
            answer = self._answer(call, endpoint, token, problem) if fault.commits else None
            await self._play(fault, answer, call, scope, send)
        finally:
            limiter.leave(turn)

    async def _play(self, fault: Fault, answer: Answer | None, call: Call, scope: Scope, send: Send) -> None:
        abort = scope.get("extensions", {}).get("sandbox.abort", {}).get("call", _break_off)

        async def respond(given: Answer) -> None:
            await _respond(send, call.method, given, {})

        await fault.play(Wire(send, respond, abort, answer))

    def _find_endpoint(self, call: Call) -> tuple[Endpoint | None, Call]:
        # As real servers do, decode first and split then: %2F separates segments, too.
        path = unquote(call.path)
        if not path.startswith(_ROOT):
            return None, call
        below = path.removeprefix(_ROOT)
        for endpoint, pattern in _TABLE.get(below.count("/"), ()):
            if (found := pattern.match(below)) and (endpoint.since == "23.7" or self.manner == "latest"):
                return endpoint, replace(call, names=found.groupdict())
        return None, call

    def _authenticate(self, authorization: str | None, call: Call) -> tuple[Token | None, Refused | None]:
        kind, _, value = (authorization or "").partition(" ")
        if kind.lower() == "basic":
            return None, unauthorized("Invalid username/password.")
        if kind.lower() != "bearer":
            return None, None
        token = call.world.find_token(value.strip())
        if token is None:
            return None, unauthorized("Invalid org token" if value.startswith("sntrys_") else "Invalid token")
        if token.expires and token.expires <= call.now:
            return None, unauthorized("Token expired")
        return token, None

    def _answer(self, call: Call, endpoint: Endpoint | None, token: Token | None, problem: Refused | None) -> Answer:
        try:
            if endpoint is None:
                return _outside(call)
            if call.method == "OPTIONS":
                return Answer(200, b"", "text/html; charset=utf-8")
            if problem:
                raise problem
            call.token = token
            return self._handle(call, endpoint)
        except Refused as refused:
            return refused.answer

    def _handle(self, call: Call, endpoint: Endpoint) -> Answer:
        if endpoint.needs is not None:
            token = call.token
            if token is None:
                raise unauthorized()
            needed = endpoint.needs.get(call.method, frozenset())
            challenge = self.manner == "latest"
            if token.scopes.isdisjoint(needed):
                raise forbidden(needed, challenge=challenge)
            if "organization" in call.names:
                organization = call.world.find_organization(call.names["organization"], self.manner)
                if organization is None:
                    raise not_found()
                effective = token.scopes_in(organization)
                if effective is None or effective.isdisjoint(needed):
                    raise forbidden(needed, challenge=challenge)
                call.found, call.access = organization, effective
        handler = endpoint.handlers.get("GET" if call.method == "HEAD" else call.method)
        if handler is None:
            raise method_not_allowed(call.method)
        return handler(call)


_TABLE: dict[int, list[tuple[Endpoint, re.Pattern[str]]]] = {}
for _endpoint in ENDPOINTS:
    _TABLE.setdefault(_endpoint.template.count("/"), []).append((_endpoint, _endpoint.pattern()))


def create_sandbox(config: SandboxConfig | None = None) -> Sandbox:
    """A stand-in Sentry with a world of its own, as an ASGI app."""
    return Sandbox(config or SandboxConfig())


def _bucket(token: Token | None, address: str) -> tuple[str, str]:
    """Who shares a limit: all tokens of a person, all app tokens of an organization, else an address."""
    if token and token.kind == "user" and token.user:
        return "user", str(token.user.id)
    if token and token.kind == "app" and token.organization:
        return "organization", str(token.organization.id)
    return "address", address


def _outside(call: Call) -> Answer:
    """Paths that are no endpoint: two redirects, and 404."""
    if call.path == "/api/0":
        return Answer(301, b"", "text/html; charset=utf-8", {"location": _ROOT})
    if call.path == "/":
        return Answer(302, b"", "text/html; charset=utf-8", {"location": "/auth/login/"})
    raise no_route(call.path)


def _break_off() -> None:
    raise ConnectionAborted("the sandbox broke the connection, as it was told to")


def _resolve_dots(path: str) -> str:
    """The path without ``.`` and ``..``, as servers resolve what clients leave in: ``..`` reaches a neighbour."""
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            found = found[:-1] or [""]
        elif segment != ".":
            found.append(segment)
    return "/".join(found)


async def _respond(send: Send, method: str, answer: Answer, more: Mapping[str, str]) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode())]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**more, **answer.headers}.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
