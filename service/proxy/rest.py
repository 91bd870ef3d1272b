"""``ANY /proxy/{connection id}/api/0/…``: Sentry's own REST API for files and for clients without GraphQL, streamed.

The same rules as the graph's proxy. Request and answer pass through in pieces and need no memory for the whole, unless
the request carries an ``Idempotency-Key``. An answer is handed on decoded; where Sentry's was cut off, so is ours, and
never ends as a whole one does.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from service.errors import ServiceError, Unauthenticated, UpstreamTooLarge
from service.proxy.engine import Prepared, ProxyEngine
from service.proxy.uploads import Upload
from service.sentry.client import SentryClient
from service.sentry.links import PageLinks
from service.sentry.paths import ApiPath
from service.tenants.caller import Caller, KnowsCallers

LONGEST_KEYED_BODY = 2**20
"""Bytes of a request that carries an idempotency key: it is held whole, to be compared."""
LARGEST_WHOLE = 2**25
"""Bytes of an answer to a client that speaks HTTP/1.0, whose end only a length in front can tell from a cut."""

# Sentry's content is not ours: no browser may run it with our origin's rights, or keep it for somebody else.
_GUARDS = {
    "cache-control": "private, no-cache",
    "content-security-policy": "default-src 'none'; sandbox",
    "vary": "authorization",
    "x-content-type-options": "nosniff",
}

_log = structlog.get_logger(__name__)


class AnswerCutOff(Exception):
    """Raised into the server, so that it closes the connection instead of ending the answer properly."""


def create_proxy_route(
    engine: ProxyEngine,
    client: SentryClient,
    authenticator: KnowsCallers,
    *,
    max_upload_bytes: int,
    public_url: str | None = None,
) -> Route:
    """The route. ``Link`` headers are rewritten to ``public_url``, else to the address the request came to."""
    endpoint = RestProxy(engine, client, authenticator, max_upload_bytes=max_upload_bytes, public_url=public_url)
    return Route("/proxy/{connection_id}/api/0/{path:path}", endpoint)


class RestProxy:
    """The ASGI application behind the route."""

    def __init__(
        self,
        engine: ProxyEngine,
        client: SentryClient,
        authenticator: KnowsCallers,
        *,
        max_upload_bytes: int,
        public_url: str | None,
    ) -> None:
        self._engine = engine
        self._client = client
        self._authenticator = authenticator
        self._max_upload_bytes = max_upload_bytes
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; give it up as soon as the caller has gone."""
        request = Request(scope)
        is_keyed = "idempotency-key" in request.headers
        upload = Upload(request, receive, limit=LONGEST_KEYED_BODY if is_keyed else self._max_upload_bytes)
        work = asyncio.create_task(self._serve(request, upload, send))
        gone = asyncio.create_task(upload.wait_for_disconnect())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _serve(self, request: Request, upload: Upload, send: Send) -> None:
        is_begun = False

        async def send_on(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._pass_through(request, upload, send_on)
        except ServiceError as error:
            shown = upload.too_large() if upload.is_too_large else error
            if is_begun:
                _log.warning("proxy_answer_cut_off", code=shown.code, reason=shown.message)
                raise AnswerCutOff(shown.message) from error
            await _explain(shown)(request.scope, request.receive, send)

    async def _pass_through(self, request: Request, upload: Upload, send: Send) -> None:
        caller = await self._authenticator.authenticate(request.headers.get("authorization"))
        if upload.is_too_large:
            raise upload.too_large()
        connection_id = request.path_params["connection_id"]
        asked = _read_path(request, connection_id)
        query = request.query_params.multi_items()
        prepared = await self._engine.prepare(caller, connection_id, request.method, asked, query)
        address = f"{self._base(request)}/proxy/{connection_id}/api/0/{asked.text}"
        if "idempotency-key" in request.headers:
            await self._send_once(caller, prepared, request, upload, send)
        else:
            await self._stream(prepared, request, upload, send, address)

    async def _send_once(
        self, caller: Caller, prepared: Prepared, request: Request, upload: Upload, send: Send
    ) -> None:
        answer = await self._engine.send(
            caller,
            prepared,
            request.method,
            None if upload.is_empty else await upload.read(),
            request.headers.get("content-type"),
            headers=request.headers,
            idempotency_key=request.headers["idempotency-key"],
        )
        await _answer_whole(send, answer.status, _answer_headers(answer.headers), answer.body)

    async def _stream(self, prepared: Prepared, request: Request, upload: Upload, send: Send, address: str) -> None:
        async with self._client.stream(
            prepared.account,
            request.method,
            prepared.path,
            prepared.query,
            body=None if upload.is_empty else upload.stream(),
            content_type=request.headers.get("content-type"),
            headers=request.headers,
        ) as answer:
            headers = _answer_headers(answer.headers)
            if link := _build_link(answer.links, address, request.query_params.multi_items()):
                headers["link"] = link
            if request.scope["http_version"] == "1.0":  # it ends an answer by closing, whether whole or cut off
                await _answer_whole(send, answer.status, headers, await _collect(answer.body))
                return
            await _begin(send, answer.status, headers)
            async for chunk in answer.body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _base(self, request: Request) -> str:
        return (self._public_url or str(request.base_url)).rstrip("/")


def _read_path(request: Request, connection_id: str) -> ApiPath:
    """Sentry's path as the caller wrote it: what the server decoded no longer tells ``%2F`` from a slash."""
    _, _, path = request.scope["raw_path"].partition(f"/proxy/{connection_id}/api/0/".encode())
    return ApiPath.parse(path.decode(errors="replace"))


def _build_link(links: PageLinks, address: str, query: Sequence[tuple[str, str]]) -> str:
    """A ``Link`` header as Sentry writes it, with our own address, the caller's parameters and Sentry's cursors."""
    parameters = [(name, value) for name, value in query if name != "cursor"]
    return ", ".join(
        f'<{address}?{urlencode([*parameters, ("cursor", link.cursor)])}>; rel="{rel}"; '
        f'results="{str(link.results).lower()}"; cursor="{link.cursor}"'
        for rel, link in (("previous", links.previous), ("next", links.next))
        if link is not None
    )


def _answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Sentry's headers as we hand them on; a client that followed its ``Location`` might take its key to us along."""
    passed = {name: value for name, value in headers.items() if name not in {"link", "location"}}
    if "location" in headers:
        passed["x-sentry-location"] = headers["location"]
    return passed | _GUARDS


async def _begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _answer_whole(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    await _begin(send, status, {**headers, "content-length": str(len(body))} if body else headers)
    await send({"type": "http.response.body", "body": body})


async def _collect(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > LARGEST_WHOLE:
            raise UpstreamTooLarge("Sentry's answer is too large for HTTP/1.0.", cure="Use HTTP/1.1.")
    return bytes(body)


def _explain(error: ServiceError) -> JSONResponse:
    """``{"error": {"message", "code", "cure", …}}`` with the error's HTTP status."""
    extensions = error.extensions()
    headers = {"cache-control": "no-store"}
    if "retryAfter" in extensions:
        headers["retry-after"] = str(math.ceil(extensions["retryAfter"]))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": {"message": error.message, **extensions}}, error.status, headers)
