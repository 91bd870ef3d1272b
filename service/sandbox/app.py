"""The stand-in Sentry as an ASGI app: the road that every call takes.

Path → endpoint; token → who; limiter; scopes; organization and role; handler. A fault that matches may strike instead.
Pages for people and ``/oauth/token/`` leave that road early: nothing limits them.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.sandbox import consent, control, installing, oauth, web
from service.sandbox.announcer import Announcer
from service.sandbox.asgi import RecordedRequest, break_off, date_answers, resolve_dots, respond, serve_lifespan
from service.sandbox.authentication import authenticate
from service.sandbox.call import Call
from service.sandbox.deliveries import Delivery
from service.sandbox.dispatch import answer, find_endpoint
from service.sandbox.faults import Faults, Wire
from service.sandbox.happenings import Happenings
from service.sandbox.limits import Limiter, too_many
from service.sandbox.responses import Answer
from service.sandbox.seed import build_world
from service.sandbox.upheavals import Upheavals
from service.sandbox.webhooks import Webhooks
from service.sandbox.world import DEMO_APP, DEMO_INTERNAL_APP, DEMO_OAUTH_CLIENT, Manner, Token

_TOKEN_PATH = "/oauth/token/"  # noqa: S105 (a path)
_KEPT_REQUESTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """How the sandbox behaves.

    ``manner``: as a self-hosted 23.7, or as the newest server. ``rate_limit``: calls per ``rate_window`` seconds (None:
    neither limits nor headers); ``endpoint_limits`` gives issues and events limits of their own. ``region_url``: where
    organizations say they live, by default here. ``control``: serve the private endpoint that switches faults from
    another process. ``webhook_retry_wait``: seconds between the attempts of a webhook that is retried.
    """

    manner: Manner = "latest"
    rate_limit: int | None = 40
    rate_window: int = 1
    concurrency: int = 25
    endpoint_limits: bool = True
    region_url: str | None = None
    control: bool = False
    webhook_retry_wait: float = 300.0
    clock: Callable[[], float] = time


class Sandbox(Upheavals, Happenings):
    """The ASGI app, with what tests and the demo hold it by.

    ``requests`` are the calls that arrived, the oldest first, in a bounded list; ``faults`` the ways to misbehave;
    ``limiter`` the rate limiter; ``webhooks`` what is sent to apps, and the ways to lose it; ``manner`` may be changed
    at any time, and ``skew``, the seconds by which its clock is ahead. ``url`` is where it is served.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.url = "http://sandbox"
        self.requests: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self.faults: Faults = Faults()
        self.world = build_world()
        self.limiter = self._build_limiter()
        self.manner: Manner = config.manner
        self.skew = 0.0
        self.webhooks: Webhooks = Webhooks(self.clock, config.webhook_retry_wait)
        self._pages = web.Pages(
            {
                "/auth/login/": web.login,
                "/auth/logout/": web.logout,
                "/oauth/authorize/": consent.authorize,
                "/sentry-apps/[^/]+/external-install/": installing.external_install,
            }
        )

    @property
    def deliveries(self) -> list[Delivery]:
        """The webhooks that were sent, the oldest first; those that were dropped are ``webhooks.missed``."""
        return list(self.webhooks.deliveries)

    def clock(self) -> float:
        """Seconds since 1970, as this server believes."""
        return self.config.clock() + self.skew

    def _build_limiter(self) -> Limiter:
        config = self.config
        return Limiter(
            self.clock,
            limit=config.rate_limit,
            window=config.rate_window,
            concurrent=config.concurrency,
            by_endpoint=config.endpoint_limits,
        )

    def reset(self) -> None:
        """Back to how it was at the start: world, requests, faults, webhooks, limits, manner, clock."""
        self.faults.clear()
        self.requests.clear()
        self.webhooks.clear()
        self.webhooks.retry_wait = self.config.webhook_retry_wait
        self._pages.clear()
        self.limiter = self._build_limiter()
        self.manner = self.config.manner
        self.skew = 0.0
        if not self.world.is_pristine:
            self.world = build_world()

    def register_redirects(
        self, *, oauth: Sequence[str], install: str, webhook: str | None, internal_webhook: str | None = None
    ) -> None:
        """Says where the demo's clients live.

        The OAuth application's redirect URIs, the app's redirect and webhook, and the internal integration's webhook.
        """
        client = self.world.find_oauth_application(DEMO_OAUTH_CLIENT.client_id)
        app = self.world.find_app(DEMO_APP.slug)
        internal = self.world.find_app(DEMO_INTERNAL_APP.slug)
        if client is None or app is None or internal is None:
            raise KeyError("the demo's clients are gone")
        client.redirect_uris, app.redirect_url, app.webhook_url = list(oauth), install, webhook
        internal.webhook_url = internal_webhook
        self.world.changed()

    def count(self, method: str = "", path: str = "") -> int:
        """How many calls arrived with this method (any, where empty) and a path in which the pattern is found."""
        return sum(1 for r in list(self.requests) if method in {"", r.method} and re.search(path, r.path))

    def blank_call(self) -> Call:
        """A call of nobody's, for what happens without one."""
        return Call(
            world=self.world,
            manner=self.manner,
            base=self.url,
            region=self.config.region_url or self.url,
            path="",
            method="",
            query=(),
            body=b"",
            names={},
            now=datetime.fromtimestamp(self.clock(), UTC),
            announcer=Announcer(self.world, self.manner, self.url, self.webhooks),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call (ASGI)."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the sandbox speaks http only, not {scope['type']}")
        request = Request(scope, receive)
        send = date_answers(send, self.clock)
        body = await request.body()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.config.control and path.startswith(control.ROOT):
            await respond(send, request.method, control.answer(self, request.method, path, body), {})
            return
        raw = scope["raw_path"].decode("latin-1").removeprefix(scope.get("root_path", ""))
        query = tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        target = raw + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        self.requests.append(RecordedRequest(request.method, path, target, query, headers, body, self.clock()))
        base = f"{scope['scheme']}://{headers.get('host', 'sandbox')}{scope.get('root_path', '')}"
        call = self.blank_call()
        call.base, call.region, call.path = base, self.config.region_url or base, resolve_dots(raw)
        call.method, call.query, call.body, call.headers = request.method, query, body, headers
        if call.path.startswith("/api/"):
            await self._serve(call, (scope.get("client") or ("",))[0], scope, send)
        elif call.path == _TOKEN_PATH:
            await self._answer_or_play(lambda: oauth.answer_token(call), call, scope, send)
        elif page := self._pages.find(call.path):
            await self._answer_or_play(lambda: self._pages.answer(page, call), call, scope, send)
        else:
            await self._serve(call, (scope.get("client") or ("",))[0], scope, send)

    async def _serve(self, call: Call, address: str, scope: Scope, send: Send) -> None:
        endpoint, call = find_endpoint(call)
        token, problem = (None, None) if endpoint and endpoint.authenticates else authenticate(call)
        limiter = self.limiter
        own_limit = endpoint.own_limit.get(call.method) if endpoint else None
        turn = limiter.enter(_bucket(token, address), call.method, endpoint.template if endpoint else "", own_limit)
        headers = limiter.headers(turn) if turn else {}
        try:
            if turn and turn.refusal:
                await respond(send, call.method, too_many(turn.refusal), headers)
                return
            if endpoint:
                headers["allow"] = endpoint.allow
            await self._answer_or_play(lambda: answer(call, endpoint, token, problem), call, scope, send, headers)
        finally:
            limiter.leave(turn)

    async def _answer_or_play(
        self,
        carry_out: Callable[[], Answer],
        call: Call,
        scope: Scope,
        send: Send,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Carries a call out and answers, unless a fault is on: that decides whether it is, and what is answered."""
        # A page is broken only by a fault that means it: people can sign in while the API misbehaves.
        is_page = headers is None and call.path != _TOKEN_PATH
        fault = self.faults.take(call.method, call.path, needs_path=is_page)
        if fault is None:
            await respond(send, call.method, carry_out(), headers or {})
            return
        abort = scope.get("extensions", {}).get("sandbox.abort", {}).get("call", break_off)

        async def answer_with(given: Answer) -> None:
            await respond(send, call.method, given, {})

        await fault.play(Wire(send, answer_with, abort, carry_out() if fault.commits else None))


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
