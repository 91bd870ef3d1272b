"""Passthrough calls: authorize, send, and give Sentry's answer back as JSON text that was checked but not changed."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from service.connections.accounts import AccountSource
from service.connections.models import ConnectionRecord
from service.errors import BadInput, Constrained, ProfileRefused, UpstreamInvalid, UpstreamNotJson
from service.proxy.bodies import NOTHING, Scanned, scan_answer
from service.proxy.idempotency import Idempotency, KeyedWrite, hash_request
from service.sentry.access import AccessFacts, Authorized, ProjectRef, authorize
from service.sentry.account import Account
from service.sentry.calls import Response
from service.sentry.client import SentryClient
from service.sentry.limits import RateLimitState
from service.sentry.methods import METHODS, SAFE_METHODS
from service.sentry.paths import ApiPath, Query
from service.sentry.payloads import decode
from service.sentry.profiles import allows
from service.tenants.caller import Caller, Role

LARGEST_PAGE = 100
_PAGED_BY_LIMIT = frozenset({"organizations/{}/issues/", "projects/{}/{}/issues/"})
_PAGE_PARAMETERS = frozenset({"cursor", "limit", "per_page"})


class ProxyRequest(msgspec.Struct, frozen=True):
    """A caller's call. ``body`` is JSON text; ``first`` is the page's size and ``page_cursor`` Sentry's cursor."""

    method: str
    path: str
    query: Query = ()
    body: bytes | None = None
    first: int | None = None
    page_cursor: str | None = None
    idempotency_key: str | None = None


class ProxyAnswer(msgspec.Struct, frozen=True):
    """Sentry's answer. ``result`` is JSON text, None where there is no body.

    A body that is text comes as a JSON string. ``result_count`` is the length of a list, or of the list in an
    object's ``data``; ``total_count`` is what Sentry says of the whole list (``X-Hits``, capped there).
    ``next_cursor`` is Sentry's own, None on the last page and for lists that come whole.
    """

    status_code: int
    result: bytes | None
    result_count: int | None
    total_count: int | None
    next_cursor: str | None
    has_previous: bool
    headers: Mapping[str, str]
    rate_limit: RateLimitState | None


class Prepared(msgspec.Struct, frozen=True):
    """An authorized call: everything that sending it needs."""

    connection: ConnectionRecord
    account: Account
    path: ApiPath
    query: tuple[tuple[str, str], ...]


class _Project(msgspec.Struct):
    id: str


class _Issue(msgspec.Struct):
    project: _Project


class ProxyEngine:
    """Carries out passthrough calls for callers. ``idempotency`` is to be closed and purged by whoever runs it."""

    def __init__(self, client: SentryClient, accounts: AccountSource, idempotency: Idempotency) -> None:
        self._client = client
        self._accounts = accounts
        self.idempotency = idempotency

    async def call(self, caller: Caller, connection_id: str, request: ProxyRequest) -> ProxyAnswer:
        """Carry out a call: one call to Sentry. Sentry's refusals (4xx) are answers.

        Raises :class:`Forbidden` (reading needs the role read, all else write), :class:`NotFound`,
        :class:`PathRefused`, :class:`ProfileRefused`, :class:`Constrained`, :class:`BadInput`, those of idempotency,
        and the client's errors.
        """
        prepared = await self.prepare(caller, connection_id, request.method, request.path, request.query)
        page = _page(prepared.path, request)
        paged = replace(prepared, query=(*prepared.query, *page)) if page else prepared
        content_type = None if request.body is None else "application/json"
        response = await self.send(
            caller, paged, request.method, request.body, content_type, idempotency_key=request.idempotency_key
        )
        scanned = _scan(request.method, response)
        links = response.links
        return ProxyAnswer(
            status_code=response.status,
            result=scanned.text if scanned.text != b"null" else None,
            result_count=scanned.items,
            total_count=_count(response.headers.get("x-hits")),
            next_cursor=links.next.cursor if links.next and links.next.results else None,
            has_previous=bool(links.previous and links.previous.results),
            headers={name: value for name, value in response.headers.items() if name != "link"},
            rate_limit=response.rate_limit,
        )

    async def prepare(
        self, caller: Caller, connection_id: str, method: str, path: str | ApiPath, query: Query
    ) -> Prepared:
        """Authorize a call by role, path, profile and projects.

        Under a project constraint an issue's project is fetched first: one more call.
        """
        if method not in METHODS:
            raise BadInput(f"The method must be one of {', '.join(sorted(METHODS))}.")
        caller.require(Role.READ if method in SAFE_METHODS else Role.WRITE)
        asked = ApiPath.parse(path) if isinstance(path, str) else path
        connection, account = await self._accounts.account(caller, connection_id)
        facts = build_facts(connection)
        authorized = authorize(asked, method, query, facts)
        if not allows(connection.profile, method, authorized.path):
            raise ProfileRefused(f"The connection's profile is `{connection.profile}`, which this call goes beyond.")
        await self._check(account, authorized, facts)
        return Prepared(connection, account, authorized.path, authorized.query)

    async def send(
        self,
        caller: Caller,
        prepared: Prepared,
        method: str,
        body: bytes | None,
        content_type: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Send an authorized call and read its whole answer; under an idempotency key, at most once."""

        async def send() -> Response:
            return await self._client.send(
                prepared.account,
                method,
                prepared.path,
                prepared.query,
                body=body,
                content_type=content_type,
                headers=headers,
            )

        if idempotency_key is None:
            return await send()
        if method in SAFE_METHODS:
            raise BadInput("An idempotency key is for writes.", cure="Leave it out: reading twice changes nothing.")
        parameters = [part for pair in prepared.query for part in pair]
        request_hash = hash_request(method, prepared.path.text, str(len(parameters)), *parameters, content_type, body)
        write = KeyedWrite(idempotency_key, request_hash, send)
        return await self.idempotency.send_once(caller, prepared.connection, write)

    async def _check(self, account: Account, authorized: Authorized, facts: AccessFacts) -> None:
        if authorized.check is None or facts.projects is None:
            return
        response = await self._client.get(account, authorized.check)
        if decode(response.body, _Issue).project.id not in {project.id for project in facts.projects}:
            raise Constrained("The issue belongs to a project that the connection is not limited to.")


def build_facts(connection: ConnectionRecord) -> AccessFacts:
    """What the passthrough rules need to know of a connection."""
    return AccessFacts(
        organization_id=connection.organization_id,
        organization_slug=connection.organization_slug,
        installation_id=connection.installation_id,
        projects=None
        if connection.projects is None
        else tuple(ProjectRef(project["id"], project["slug"]) for project in connection.projects),
    )


def _page(path: ApiPath, request: ProxyRequest) -> list[tuple[str, str]]:
    """Sentry's own parameters for a page: ``limit`` for lists of issues, ``per_page`` everywhere else."""
    if request.first is None and request.page_cursor is None:
        return []
    if path.segments[2:3] == ("scim",):
        raise BadInput("SCIM lists have no cursors.", cure="Pass `startIndex` and `count` in `query`.")
    taken = [key for key, _ in request.query if key in _PAGE_PARAMETERS]
    if taken:
        raise BadInput(f"`{taken[0]}` in `query` contradicts `first` and `after`.", cure="Use one or the other.")
    found = []
    if request.first is not None:
        if not 1 <= request.first <= LARGEST_PAGE:
            raise BadInput(f"`first` must be between 1 and {LARGEST_PAGE}, the most that Sentry gives at once.")
        found.append(("limit" if path.template in _PAGED_BY_LIMIT else "per_page", str(request.first)))
    if request.page_cursor is not None:
        found.append(("cursor", request.page_cursor))
    return found


def _scan(method: str, response: Response) -> Scanned:
    """The body as JSON text. A write's outcome is its status: a body that cannot be shown hides it from nobody."""
    try:
        return scan_answer(response.status, response.headers.get("content-type", ""), response.body)
    except (UpstreamInvalid, UpstreamNotJson):
        if method in SAFE_METHODS:
            raise
        return NOTHING


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None
