"""The socket side: connections to Sentrys under httpx's transport seam, kept for reads and new for each write.

One of our own, since it takes half the processor that aiohttp does in this place, which takes a fraction of httpcore's,
and since what went wrong decides whether a write may be repeated: httpx's ``ConnectError``, ``ConnectTimeout`` and
``PoolTimeout`` mean that nothing was sent, ``RemoteProtocolError`` that the answer is not HTTP or not whole, and
``ReadError`` that the connection was lost once the request was on its way. A connection that has been idle may be
closed by the server at any moment (RFC 9112, section 9.3.1), so writes always get a new one, and a read that met a
closed one gets a new one. Proxies of the environment, redirects and cookies do not exist.

A request's extensions may hold ``ca``, the certificates to trust for it instead of the usual ones; connections are kept
apart by them. And ``dialling``, a list of one flag, which is true for as long as a write has no connection yet. And
``whole``, the most bytes of a body that is wanted in one piece, since nobody looks at it before its end.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Callable
from functools import cache, partial
from typing import cast
from weakref import WeakValueDictionary

import certifi
import httpx
from cachetools import LRUCache, TTLCache

from service.sentry.ca import create_tls_context
from service.sentry.connection import Connection, make_read_buffer
from service.sentry.dialling import AddressInfo, Dialler, Resolve
from service.sentry.egress import EgressPolicy
from service.sentry.methods import SAFE_METHODS

_TURN_SECONDS = 10.0
_KEEP_ALIVE = 15.0  # shorter than servers keep an idle connection, so that few requests meet one being closed
_AUTHORITIES = 256  # contexts for private authorities kept at most; another is made again in a millisecond
_CURT_SECONDS = 60.0  # how long a server that closes connections unannounced is taken at that
_PORTS = {"http": 80, "https": 443}

_Host = tuple[str, str, int, str | None]
"""Scheme, name, port and authorities: what connections are alike in."""


def create_transport(
    policy: EgressPolicy,
    *,
    limit: int,
    resolve: Resolve | None = None,
    open_socket: Callable[[AddressInfo], socket.socket] | None = None,
    tls: ssl.SSLContext | None = None,
    most_bytes: int | None = None,
) -> httpx.AsyncBaseTransport:
    """A transport with at most ``limit`` kept connections to one host, and as many for one request each.

    Close it with ``aclose()``. With ``most_bytes``, a connection for one request takes so many bytes and no more: an
    answer's beginning is all that counts, and whatever a hostile server sends is not even looked at.

    Raises :class:`EgressRefused` out of a request to a refused address. ``resolve``, ``open_socket`` and ``tls``
    replace the system's, in tests.
    """
    dialler = Dialler(policy, resolve=resolve, open_socket=open_socket)
    tls = tls or _create_tls(ssl.get_default_verify_paths())
    return _Transport(dialler, limit=limit, tls=tls, most_bytes=most_bytes)


@cache
def _create_tls(paths: ssl.DefaultVerifyPaths) -> ssl.SSLContext:  # noqa: ARG001 - read by OpenSSL itself
    """What is trusted where the system's authorities are at ``paths``: made once, since reading them takes 0.1 s."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # beside the system's: not every system has any
    return context


class _Pool:
    """Connections that are alike: those that are idle, each with its end, and turns for those that are in use."""

    def __init__(self, limit: int) -> None:
        self.idle: dict[Connection, asyncio.TimerHandle] = {}
        self.turns = {is_kept: asyncio.Semaphore(limit) for is_kept in (True, False)}

    def take(self) -> Connection | None:
        """The connection that was used last, if one is open."""
        while self.idle:
            connection, expiry = self.idle.popitem()
            expiry.cancel()
            if connection.is_open:
                return connection
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection for a while."""
        self.idle[connection] = asyncio.get_running_loop().call_later(_KEEP_ALIVE, self.drop, connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection, wherever it is."""
        if (expiry := self.idle.pop(connection, None)) is not None:
            expiry.cancel()
        connection.close()


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, dialler: Dialler, *, limit: int, tls: ssl.SSLContext, most_bytes: int | None) -> None:
        self._dialler = dialler
        self._limit = limit
        self._tls = tls
        self._most_bytes = most_bytes
        self._read_buffer = make_read_buffer()
        # A pool lives for as long as a request waits for it, or a connection of it is open.
        self._pools: WeakValueDictionary[_Host, _Pool] = WeakValueDictionary()
        self._opened: dict[Connection, _Pool] = {}
        self._authorities: LRUCache[str, ssl.SSLContext] = LRUCache(_AUTHORITIES)
        self._curt_hosts: TTLCache[_Host, bool] = TTLCache(maxsize=1000, ttl=_CURT_SECONDS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, body = request.url, request.stream
        host = (url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme], request.extensions.get("ca"))
        pool = self._pools.get(host)
        if pool is None:
            pool = self._pools[host] = _Pool(self._limit)
        content = b"".join(body) if isinstance(body, httpx.ByteStream) else None
        is_kept = content is not None and request.method in SAFE_METHODS and host not in self._curt_hosts
        head = _write_head(request, is_kept=is_kept)
        connection, is_new = await self._connect(request, host, pool, is_kept=is_kept)
        sending = None if content is not None else asyncio.ensure_future(_send_body(connection, request))
        end = partial(_end, connection, pool, sending, is_kept=is_kept)
        first = head + content if content else head
        answer = connection.ask(first, method=request.method, end=end, whole=request.extensions.get("whole", 0))
        try:
            await answer.begin()
        except httpx.ReadError:
            if is_new:
                raise
            self._curt_hosts[host] = True
            return await self.handle_async_request(request)
        except BaseException:
            await answer.aclose()
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=answer)

    async def aclose(self) -> None:
        """Close all connections, and with them what is under way."""
        opened = list(self._opened)
        for connection in opened:
            connection.close()
        for connection in opened:
            await connection.wait_closed()

    async def _connect(
        self, request: httpx.Request, host: _Host, pool: _Pool, *, is_kept: bool
    ) -> tuple[Connection, bool]:
        """A connection with a turn to use it, and whether it is a new one."""
        turns = pool.turns[is_kept]
        dialling = [False] if is_kept else request.extensions.get("dialling", [False])
        dialling[0] = True
        try:
            if turns.locked():
                async with asyncio.timeout(_TURN_SECONDS):
                    await turns.acquire()
            else:
                await turns.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("All connections to the host are in use.") from None
        try:
            connection = pool.take() if is_kept else None
            is_new = connection is None
            if connection is None:
                connection = await self._open(host, pool, is_kept=is_kept)
        except BaseException:
            turns.release()
            raise
        dialling[0] = False
        return connection, is_new

    async def _open(self, host: _Host, pool: _Pool, *, is_kept: bool) -> Connection:
        scheme, name, port, ca = host
        most_bytes = None if is_kept else self._most_bytes
        tls = self._get_tls(ca) if scheme == "https" else None
        connection = await self._dialler.dial(
            name,
            port,
            tls,
            lambda: Connection(forget=self._forget, most_bytes=most_bytes, read_buffer=self._read_buffer),
        )
        self._opened[connection] = pool
        return connection

    def _forget(self, connection: Connection) -> None:
        pool = self._opened.pop(connection, None)
        if pool is not None:
            pool.drop(connection)

    def _get_tls(self, ca: str | None) -> ssl.SSLContext:
        if ca is None:
            return self._tls
        tls = self._authorities.get(ca)
        if tls is None:
            tls = self._authorities[ca] = create_tls_context(ca)
        return tls


def _end(
    connection: Connection, pool: _Pool, sending: "asyncio.Future[None] | None", *, is_kept: bool, is_reusable: bool
) -> None:
    """An answer has ended: give its turn to the next."""
    pool.turns[is_kept].release()
    if sending is not None:
        sending.cancel()
    if is_kept and is_reusable and connection.is_open:
        pool.put(connection)
    else:
        connection.close()


async def _send_body(connection: Connection, request: httpx.Request) -> None:
    """Send a body while it comes, in chunks (RFC 9112, section 7.1) where its length is not known."""
    is_chunked = "transfer-encoding" in request.headers
    try:
        async for piece in cast("AsyncIterable[bytes]", request.stream):
            if piece:
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                await connection.drain()
        if is_chunked:
            connection.write(b"0\r\n\r\n")
    except Exception:  # noqa: BLE001 - of whoever gives the body; what came of it all nobody knows
        connection.fail(httpx.ReadError("The request's body broke off."))


def _write_head(request: httpx.Request, *, is_kept: bool) -> bytes:
    """The request line and headers (RFC 9112, sections 2.1 and 3). Raises :class:`httpx.LocalProtocolError`."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if not is_kept:
        lines.append(b"Connection: close")
    head = b"\r\n".join(lines)
    if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines):
        raise httpx.LocalProtocolError("A header holds the end of a line.")
    return head + b"\r\n\r\n"
