"""A server that answers byte by byte as a test says, on loopback, and keeps the bytes that it was sent."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from service.sentry.account import Account, Token
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.transport import create_transport


@dataclass
class Request:
    head: bytes
    body: bytes = b""

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and unlike the real one is made in no time

Behave = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """``behave`` writes the answer to one request; a closed writer ends the connection."""

    behave: Behave
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def origin(self) -> Origin:
        return Origin(self.scheme, "127.0.0.1", self.port, "")

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while not writer.is_closing():
                request = Request(await reader.readuntil(b"\r\n\r\n"))
                self.requests.append(request)
                sent = dict(request.headers)
                if "content-length" in sent:
                    request.body = await reader.readexactly(int(sent["content-length"]))
                elif "transfer-encoding" in sent:
                    while size := int(await reader.readline(), 16):
                        request.body += await reader.readexactly(size)
                        await reader.readline()
                    await reader.readline()
                await self.behave(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            writer.close()
            with suppress(ConnectionError):  # which asyncio would report as never looked at
                await writer.wait_closed()


@asynccontextmanager
async def serve(behave: Behave | bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """An upstream for the length of a test; bytes are its answer to everything."""
    if isinstance(behave, bytes):
        fixed = behave

        async def behave_fixed(_request: Request, writer: asyncio.StreamWriter) -> None:
            writer.write(fixed)

        behave = behave_fixed
    upstream = Upstream(behave, scheme="http" if tls is None else "https")
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await upstream.talk(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over; raised on, it would be logged by the server
        finally:
            talks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*talks, return_exceptions=True)


@asynccontextmanager
async def serve_silence() -> AsyncIterator[Origin]:
    """A server that takes a connection and says nothing, so that TLS is waited for in vain."""
    is_gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_gone.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1], "")
    server.close()
    await is_gone.wait()


def answer(body: bytes = b"[]", *, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    """A whole and honest answer."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body


def json_answer(payload: Any, *, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    return answer(json.dumps(payload).encode(), status=status, headers=headers)


class Tokens:
    """A token source that counts; ``fresh`` is what follows a 401, or the error."""

    def __init__(self, value: str = "a" * 64, fresh: str | Exception | None = None) -> None:
        self.current = Token(value, 1)
        self.fresh = fresh
        self.rejected: list[Token] = []
        self.doubted: list[Token] = []

    async def token(self) -> Token:
        return self.current

    async def fresh_token(self, rejected: Token) -> Token:
        self.rejected.append(rejected)
        if not isinstance(self.fresh, str):
            assert self.fresh is not None, "nobody expected a fresh token to be asked for"
            raise self.fresh
        self.current = Token(self.fresh, rejected.version + 1)
        return self.current

    async def doubt(self, rejected: Token) -> None:
        self.doubted.append(rejected)


def account_of(origin: Origin, *, tenant: str = "tnt_1", connection: str = "con_1", **given: Any) -> Account:
    facts: dict[str, Any] = {
        "control": origin,
        "api": origin,
        "organization": "acme",
        "fingerprint": "f1",
        "tokens": Tokens(),
    }
    return Account(tenant_id=tenant, connection_id=connection, **(facts | given))


@asynccontextmanager
async def client_for(*origins: Origin, **given: Any) -> AsyncIterator[SentryClient]:
    """A client that may call these origins, with short times."""
    policy = EgressPolicy(origins)
    options: dict[str, Any] = {"deadline": 5.0, "attempts": 3, "max_bytes": 2**20, "user_agent": "sentry-graph-test"}
    transport = create_transport(policy, limit=20, tls=_NO_TLS)
    client = SentryClient(transport, policy=policy, **(options | given))
    try:
        yield client
    finally:
        await client.aclose()
