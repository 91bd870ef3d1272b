"""The socket side: aiohttp under httpx's transport seam, dialling only addresses that the egress policy has checked.

An adapter of our own because what went wrong decides whether a write may be repeated: httpx's ``ConnectError`` and
``ConnectTimeout`` mean here that nothing was sent, ``RemoteProtocolError`` that the answer is not HTTP or not whole,
and ``ReadError`` that the connection was lost once the request was on its way. aiohttp's own repetition of PUT and
DELETE is off. A connection that has been idle may be closed by the server at any moment (RFC 9112, section 9.3.1), so
writes always get a new one, and a read that met a closed one gets a new one.

A request's extensions may hold ``ca``, the certificates to trust for it instead of the usual ones; connections are kept
apart by them. And ``dialling``, a list of one flag, which is true for as long as a write has no connection yet.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from functools import cache, partial
from types import SimpleNamespace

import aiohttp
import certifi
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from cachetools import LRUCache, TTLCache

from service.errors import EgressRefused
from service.sentry.ca import create_tls_context
from service.sentry.egress import EgressPolicy
from service.sentry.methods import SAFE_METHODS

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

# Under the client's total deadline: how long to wait for a free connection, and for one address to answer.
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=5)
_READ_BUFFER = 2**18
_KEEP_ALIVE = 15.0  # shorter than servers keep an idle connection, so that few requests meet one being closed
_AUTHORITIES = 256  # contexts for private authorities kept at most; another is made again in a millisecond
_CURT_SECONDS = 60.0  # how long a server that closes connections unannounced is taken at that

# Tells a request whether a connection was made for it: a list, since dialling may happen in a task of its own.
_has_dialled: ContextVar[list[bool]] = ContextVar("has_dialled")


class CertificateRefused(httpx.ConnectError):
    """The server's certificate is not of an authority that is trusted for it, or not for its name. Nothing was sent."""


def create_transport(
    policy: EgressPolicy,
    *,
    limit: int,
    resolver: AbstractResolver | None = None,
    open_socket: Callable[[AddressInfo], socket.socket] | None = None,
    tls: ssl.SSLContext | None = None,
    most_bytes: int | None = None,
) -> httpx.AsyncBaseTransport:
    """A transport with at most ``limit`` kept connections to one host, and as many for one request each.

    Close it with ``aclose()``. With ``most_bytes``, a connection for one request takes so many bytes and no more: an
    answer's beginning is all that counts, and whatever a hostile server sends is not even looked at.

    Names are resolved once, all answers are checked, one of them is dialled, and TLS verifies the name. Proxies from
    the environment, redirects and cookies do not exist. Raises :class:`EgressRefused` out of a request to a refused
    address. ``resolver``, ``open_socket`` and ``tls`` replace the system's, in tests that record instead of dialling.
    """
    tls = tls or _create_tls(ssl.get_default_verify_paths())
    return _AiohttpTransport(
        policy,
        limit=limit,
        resolver=resolver,
        open_socket=open_socket or _open_socket,
        tls=tls,
        most_bytes=most_bytes,
    )


class _AddressRefused(OSError):
    """Carries :class:`EgressRefused` through the dialling code, which only lets an ``OSError`` pass."""

    def __init__(self, refused: EgressRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class _CheckedAddresses(AbstractResolver):
    """Resolves names and remembers which addresses have passed, for the last look before dialling."""

    def __init__(
        self, policy: EgressPolicy, resolver: AbstractResolver, open_socket: Callable[[AddressInfo], socket.socket]
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._open_socket = open_socket
        self._passed: LRUCache[tuple[str, int], bool] = LRUCache(maxsize=10_000)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answers = await self._resolver.resolve(host, port, family)
        self._policy.check_addresses(host, port, [answer["host"] for answer in answers])
        for answer in answers:
            self._passed[answer["host"], answer["port"]] = True
        return answers

    async def close(self) -> None:
        await self._resolver.close()

    def dial(self, address: AddressInfo) -> socket.socket:
        """Open a socket for an address that has passed. One written in the URL was never resolved: judge it here."""
        _has_dialled.get()[0] = True
        host, port = address[4][:2]
        if (host, port) not in self._passed:
            try:
                self._policy.check_addresses(host, port, [host])
            except EgressRefused as error:
                raise _AddressRefused(error) from None
        return self._open_socket(address)


def _open_socket(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


@cache
def _create_tls(paths: ssl.DefaultVerifyPaths) -> ssl.SSLContext:  # noqa: ARG001 - read by OpenSSL itself
    """What is trusted where the system's authorities are at ``paths``: made once, since reading them takes 0.1 s."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # beside the system's: not every system has any
    return context


class _AiohttpTransport(httpx.AsyncBaseTransport):
    def __init__(
        self,
        policy: EgressPolicy,
        *,
        limit: int,
        resolver: AbstractResolver | None,
        open_socket: Callable[[AddressInfo], socket.socket],
        tls: ssl.SSLContext,
        most_bytes: int | None,
    ) -> None:
        self._policy = policy
        self._limit = limit
        self._most_bytes = most_bytes
        self._resolver = resolver
        self._open_socket = open_socket
        self._tls = tls
        self._addresses: _CheckedAddresses | None = None
        self._kept: aiohttp.ClientSession | None = None
        self._brief: aiohttp.ClientSession | None = None
        self._authorities: LRUCache[str, ssl.SSLContext] = LRUCache(_AUTHORITIES)
        self._curt_hosts: TTLCache[str, bool] = TTLCache(maxsize=1000, ttl=_CURT_SECONDS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._kept is None or self._brief is None:
            self._kept, self._brief = self._open_session(is_kept=True), self._open_session(is_kept=False)
        has_dialled = [False]
        _has_dialled.set(has_dialled)
        host = request.url.host
        tls = self._get_tls(request.extensions.get("ca"))
        if request.method not in SAFE_METHODS or host in self._curt_hosts:
            return await _send(self._brief, request, tls)
        try:
            return await _send(self._kept, request, tls)
        except httpx.ReadError:
            if has_dialled[0] or not isinstance(request.stream, httpx.ByteStream):
                raise
            self._curt_hosts[host] = True
            return await _send(self._brief, request, tls)

    def _get_tls(self, ca: str | None) -> ssl.SSLContext:
        """One context for equal authorities: aiohttp shares connections by the context that they were made with."""
        if ca is None:
            return self._tls
        tls = self._authorities.get(ca)
        if tls is None:
            tls = self._authorities[ca] = create_tls_context(ca)
        return tls

    async def aclose(self) -> None:
        for closing in (self._kept, self._brief, self._addresses):
            if closing is not None:
                await closing.close()

    def _open_session(self, *, is_kept: bool) -> aiohttp.ClientSession:
        """Only inside the event loop can aiohttp be set up."""
        if self._addresses is None:
            resolver = self._resolver or aiohttp.DefaultResolver()
            self._addresses = _CheckedAddresses(self._policy, resolver, self._open_socket)
        connector = aiohttp.TCPConnector(
            resolver=self._addresses,
            socket_factory=self._addresses.dial,
            ssl=self._tls,
            limit=0,
            limit_per_host=self._limit,
            **({"keepalive_timeout": _KEEP_ALIVE} if is_kept else {"force_close": True}),
        )
        if self._most_bytes is not None and not is_kept:
            # Below the parser, which would go through interim answers without end before anybody else sees one.
            handler = partial(_BriefHandler, self._most_bytes, asyncio.get_running_loop())
            connector._factory = handler  # type: ignore[assignment]  # noqa: SLF001 - there is no other way in
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=[_send_once],
            trace_configs=[] if is_kept else [_trace_dialling()],
            timeout=_TIMEOUT,
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
        )


class _BriefHandler(ResponseHandler):
    """Takes the first bytes of a connection, and leaves the rest where it is until somebody closes it."""

    def __init__(self, most_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._left = most_bytes

    def data_received(self, data: bytes) -> None:
        taken = data[: self._left]
        self._left -= len(taken)
        super().data_received(taken)
        if not self._left and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()


async def _send(session: aiohttp.ClientSession, request: httpx.Request, tls: ssl.SSLContext) -> httpx.Response:
    # Whether a body without a length goes in chunks is aiohttp's to say.
    headers = [
        (name.decode("ascii"), value.decode("latin-1"))
        for name, value in request.headers.raw
        if name != b"Transfer-Encoding"
    ]
    stream = request.stream
    try:
        answer = await session.request(
            request.method,
            yarl.URL(str(request.url), encoded=True),
            headers=headers,
            data=(request.content or None) if isinstance(stream, httpx.ByteStream) else stream,
            allow_redirects=False,
            ssl=tls,
            trace_request_ctx=request.extensions.get("dialling"),
        )
    except aiohttp.ClientConnectorCertificateError as error:
        raise CertificateRefused(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _AddressRefused):
            raise error.os_error.refused from None
        raise httpx.ConnectError(str(error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except aiohttp.ClientError as error:
        raise httpx.ReadError(str(error)) from error
    return httpx.Response(answer.status, headers=answer.raw_headers, stream=_AnswerStream(answer))


def _trace_dialling() -> aiohttp.TraceConfig:
    """Tells a request when it has no connection yet, and when it has: from then on it may be on its way."""

    async def begin(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        if (dialling := context.trace_request_ctx) is not None:
            dialling[0] = True

    async def end(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        if (dialling := context.trace_request_ctx) is not None:
            dialling[0] = False

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_start.append(begin)
    tracing.on_connection_create_end.append(end)
    return tracing


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT or DELETE whose connection was lost: it may have happened."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise httpx.ReadError(str(error)) from error


class _AnswerStream(httpx.AsyncByteStream):
    """The body in pieces as large as have arrived; read once."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._answer.content.readany()
        except aiohttp.ClientPayloadError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(str(error)) from error
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self._answer.close()  # a connection whose answer was read to its end is back in the pool already
