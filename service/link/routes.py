"""The link page's routes: invitations, steps, callbacks, the session's status, and the page's files."""

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from urllib.parse import quote, urlsplit

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from service.connections.accounts import AccountSource
from service.connections.clients import Clients
from service.connections.keyring import Keyring
from service.connections.linking import Linker
from service.connections.vault import Vault
from service.db import Database
from service.errors import BadInput, RequestTooLarge, ServiceError, StorageUnavailable
from service.link.assets import Assets
from service.link.attempts import Attempts, CallbackRefused, Claim
from service.link.browser import (
    HELD_COOKIE,
    Form,
    Mode,
    OriginNotAllowed,
    bind,
    hold,
    is_own_form,
    read_cookie_view,
    read_form,
    read_secrets,
    read_view,
)
from service.link.flow import LinkFlow
from service.link.holding import HELD_FOR
from service.link.installing import InstallWay
from service.link.oauth import OAuthWay
from service.link.pace import Pace
from service.link.pages import Pages
from service.link.problems import LinkProblem, SessionEnded, StepRefused, find_problem
from service.link.records import find_status
from service.link.rendering import Renderer
from service.link.rules import is_loopback
from service.link.step_pages import StepPages
from service.link.steps import Steps, Turn
from service.link.visits import Visit, Visits
from service.link.words import Words
from service.sentry.client import SentryClient

_Endpoint = Callable[[Request], Awaitable[Response]]

_log = structlog.get_logger(__name__)


class LinkRoutes:
    """The endpoints. Each takes what the request brings, and leaves the rest to the flow and the pages."""

    def __init__(
        self,
        visits: Visits,
        attempts: Attempts,
        steps: Steps,
        oauth: OAuthWay,
        install: InstallWay,
        pages: Pages,
        *,
        public_url: str,
        begin_request: Callable[[], None],
    ) -> None:
        """``begin_request`` bounds what is read of Sentry until the answer: see :meth:`SentryClient.begin_request`."""
        self._begin_request = begin_request
        self._pace = Pace()
        self._visits = visits
        self._attempts = attempts
        self._steps = steps
        self._oauth = oauth
        self._install = install
        self._pages = pages
        self._public_url = public_url
        self._base = urlsplit(public_url).path.rstrip("/")

    def routes(self) -> list[Route]:
        """In the order that they are matched."""
        return [
            self._route("/link/start/{token}/status", self.status, "GET"),
            self._route("/link/start/{token}", self.invitation, "GET"),
            self._route("/link/start", self.start, "POST"),
            self._route("/link/oauth/{client_id}/callback", self.oauth_callback, "GET"),
            self._route("/link/install/callback", self.install_callback, "GET"),
            self._route("/link/install/{client_id}/callback", self.install_callback, "GET"),
            self._route("/link/{session_id}", self.step, "GET"),
            self._route("/link/{session_id}/{action}", self.act, "POST"),
        ]

    async def invitation(self, request: Request) -> Response:
        """Who asks. Reading it changes nothing, whoever does: a mail scanner, a prefetch, a person."""
        token = request.path_params["token"]
        visit = await self._visits.find(token)
        if visit is None:
            return self._pages.problem("missing", 404)
        try:
            view = read_view(visit.record, request.query_params.get("mode"), request.query_params.get("origin"))
        except OriginNotAllowed:
            return self._pages.problem("origin_not_allowed", 400, visit)
        if not visit.is_open:
            return self._pages.problem(find_status(visit.record), 410, visit, view)
        if view.mode is Mode.IFRAME:
            return self._pages.iframe(visit, view, token=token, status=await self._find_status(visit))
        secret = read_secrets(request.cookies).get(visit.record.id)
        is_here = await self._visits.find_bound(visit.record.id, secret) is not None
        return self._pages.start(visit, view, token=token, is_here=is_here)

    async def start(self, request: Request) -> Response:
        """Bind the session to this browser, and go on at an address that holds no token."""
        form = await self._read_own_form(request)
        token = form.get("token", "")
        visit = await self._visits.find(token)
        if visit is None:
            return self._pages.problem("missing", 404)
        try:
            view = read_view(visit.record, form.get("mode"), form.get("origin"))
        except OriginNotAllowed:
            return self._pages.problem("origin_not_allowed", 400, visit)
        self._keep_pace(visit)
        started = await self._visits.start(token, read_secrets(request.cookies))
        if started is None:
            return self._pages.problem(find_status(visit.record), 410, visit, view)
        record, secret = started
        answer = self._present(record.id)
        bind(answer, record, secret, view)
        return answer

    async def status(self, request: Request) -> Response:
        """How the session stands, for pages on its allowed origins."""
        visit = await self._visits.find(request.path_params["token"])
        headers = {"cache-control": "no-store", "vary": "origin", "x-content-type-options": "nosniff"}
        if visit is None:
            headers["access-control-allow-origin"] = "*"
            return JSONResponse({"status": "unknown", "problem": None, "connectionId": None}, 404, headers)
        if (origin := request.headers.get("origin")) in visit.record.allowed_origins and origin is not None:
            headers["access-control-allow-origin"] = origin
        answer = {
            "status": await self._find_status(visit),
            "problem": visit.record.problem,
            "connectionId": visit.record.connection_id,
        }
        return JSONResponse(answer, headers=headers)

    async def step(self, request: Request) -> Response:
        """The present step."""
        turn = await self._find_turn(request, Form([]))
        if turn is None:
            return self._pages.problem("other_browser", 403)
        return await self._steps.show(turn, way=request.query_params.get("way"))

    async def act(self, request: Request) -> Response:
        """What a form of a step asks for."""
        form = await self._read_own_form(request)
        turn = await self._find_turn(request, form)
        if turn is None:
            return self._pages.problem("other_browser", 403)
        if not turn.visit.is_open:
            return self._steps.after_end(turn.visit, turn.view)
        action = request.path_params["action"]
        if not self._steps.knows(action):
            return self._pages.problem("not_found", 404)
        return await self._steps.act(turn, action)

    async def oauth_callback(self, request: Request) -> Response:
        """Back from Sentry's consent page. What came is taken once, and leads to an address without it."""
        query, known = request.query_params, read_secrets(request.cookies)
        states, client_id = query.getlist("state"), request.path_params["client_id"]
        if len(states) != 1:
            return self._pages.problem("unknown_state", 400)
        try:
            claim = await self._oauth.claim(states[0], client_id, known)
        except CallbackRefused as refused:
            return self._pages.problem(refused.fault, 403 if refused.fault == "other_browser" else 400)

        async def finish(visit: Visit) -> None:
            await self._oauth.finish(visit, claim, state=states[0], code=query.get("code"), error=query.get("error"))

        return await self._finish(claim, finish)

    async def install_callback(self, request: Request) -> Response:
        """Back from an install, which Sentry answers without a state: what nobody here began is held, not linked."""
        query, client_id = request.query_params, request.path_params.get("client_id")
        if not query:
            return self._pages.held(is_usable=self._install.is_held(request.cookies.get(HELD_COOKIE)))
        brought = {"installation_id": query.get("installationId", ""), "code": query.get("code", "")}
        organization = query.get("orgSlug") or None
        claim = await self._install.claim(client_id, read_secrets(request.cookies))
        if claim is None:
            value = self._install.hold(client_id, organization=organization, **brought)
            # Shown at an address without the code, which whoever finds it in the history could take up elsewhere.
            own = "" if client_id is None else f"/{quote(client_id, safe='')}"
            answer = RedirectResponse(f"{self._base}/link/install{own}/callback", 303, headers=_REDIRECT_HEADERS)
            if value is not None:
                hold(answer, value, seconds=int(HELD_FOR.total_seconds()))
            return answer

        async def finish(visit: Visit) -> None:
            await self._install.finish(visit, claim.attempt.client_id, organization=organization, **brought)

        return await self._finish(claim, finish)

    async def _finish(self, claim: Claim, finish: Callable[[Visit], Awaitable[None]]) -> Response:
        """Take a callback up once; whatever comes of it is shown at the session's own address."""
        session_id = claim.attempt.session_id
        visit = await self._visits.find_bound(session_id, claim.secret)
        if visit is None:
            return self._pages.problem("other_browser", 403)
        if claim.is_first and visit.is_open:
            method = claim.attempt.method.value
            try:
                await finish(visit)
            except SessionEnded:
                pass
            except StepRefused as refused:
                await self._note(visit, refused.problem, method)
            except StorageUnavailable:
                raise
            except ServiceError as error:
                _log.warning("link_callback_failed", session=session_id, method=method, code=error.code)
                await self._note(visit, find_problem(error), method)
        return self._present(session_id)

    async def _note(self, visit: Visit, problem: LinkProblem, method: str) -> None:
        try:
            await self._visits.fail(visit.record, problem, method=method)
        except SessionEnded:
            return

    async def _find_turn(self, request: Request, form: Form) -> Turn | None:
        session_id = request.path_params["session_id"]
        visit = await self._visits.find_bound(session_id, read_secrets(request.cookies).get(session_id))
        if visit is None:
            return None
        self._keep_pace(visit)
        pending = self._visits.open(visit.record)
        return Turn(visit, read_cookie_view(visit.record, request.cookies), pending, dict(request.cookies), form)

    async def _find_status(self, visit: Visit) -> str:
        is_away = visit.is_open and await self._attempts.is_away(visit.record)
        return find_status(visit.record, is_away=is_away)

    def _keep_pace(self, visit: Visit) -> None:
        if (wait := self._pace.wait(visit.record.id)) > 0:
            raise _TooOften(wait)

    def _present(self, session_id: str) -> Response:
        return RedirectResponse(f"{self._base}/link/{session_id}", 303, headers=_REDIRECT_HEADERS)

    async def _read_own_form(self, request: Request) -> Form:
        if not is_own_form(request.headers, self._public_url):
            raise _CrossSite
        return await read_form(request)

    def _route(self, path: str, endpoint: _Endpoint, method: str) -> Route:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            self._begin_request()
            try:
                return await endpoint(request)
            except _CrossSite:
                return self._pages.problem("cross_site", 403)
            except _TooOften as error:
                answer = self._pages.problem("too_often", 429)
                answer.headers["retry-after"] = str(math.ceil(error.wait))
                return answer
            except ClientDisconnect:
                return Response(status_code=408)
            except (BadInput, RequestTooLarge) as error:
                return self._pages.problem("bad_request", error.status)
            except StorageUnavailable:
                return self._pages.problem("unavailable", 503)

        route = Route(path, guarded, methods=[method], include_in_schema=False)
        if path.endswith("/callback"):
            route.methods = {method}  # a HEAD, which Starlette adds, would use up what the GET is for
        return route


class _CrossSite(Exception):
    """A form that no page of ours sent."""


class _TooOften(Exception):
    """More than anybody clicks. ``wait`` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


_REDIRECT_HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


def create_link_routes(
    *,
    database: Database,
    keyring: Keyring,
    vault: Vault,
    linker: Linker,
    accounts: AccountSource,
    client: SentryClient,
    clients: Clients,
    public_url: str,
    private_ca: bool = False,
) -> Sequence[Route]:
    """The routes below ``/link``, for a service that people reach at ``public_url``."""
    public_url = public_url.rstrip("/")
    url = urlsplit(public_url)
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        _log.warning("link_page_needs_https", public_url=public_url)  # browsers keep its cookies nowhere else
    visits, attempts, assets = Visits(database, vault), Attempts(database, keyring), Assets()
    flow = LinkFlow(visits, linker)
    oauth = OAuthWay(attempts, flow, client, clients, public_url=public_url)
    install = InstallWay(attempts, flow, database, vault, client, accounts, clients, public_url=public_url)
    renderer = Renderer(Words.load(), public_url=public_url, version=assets.version)
    pages = Pages(renderer)
    steps = Steps(visits, flow, oauth, install, attempts, pages, StepPages(renderer, private_ca=private_ca), renderer)
    routes = LinkRoutes(
        visits, attempts, steps, oauth, install, pages, public_url=public_url, begin_request=client.begin_request
    )
    return [*assets.routes(), *routes.routes()]
