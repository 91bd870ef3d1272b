"""A bare HTTP/1.1 client. What it costs is not measured, but it takes its share of the same cores."""

import asyncio
import json
from typing import Any


def build_request(
    port: int, body: object = None, *, method: str = "POST", path: str = "/graphql", headers: str = ""
) -> bytes:
    """A whole request; ``body`` is sent as JSON unless it is None, ``headers`` are lines that end with CRLF."""
    sent = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\n{headers}Content-Length: {len(sent)}\r\n\r\n"
    )
    return head.encode() + sent


def bearer(key: str) -> str:
    """The header line of an API key."""
    return f"Authorization: Bearer {key}\r\n"


class Wire:
    """A connection that is kept open; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Wire":
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))

    async def send(self, request: bytes, *, may_fail: bool = False) -> bytes:
        """The body of the answer to a request.

        Ends the run where it is no success or holds GraphQL errors, unless it ``may_fail``.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        if may_fail:
            return body
        if b" 200 " not in head[:13] or b'"errors":[{' in body:
            raise SystemExit(f"{request[:200].decode()}\n{head.decode()}{body[:1000].decode()}")
        return body

    def abort(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection."""
        self._writer.close()
        await self._writer.wait_closed()


async def ask(port: int, key: str, query: str, **variables: Any) -> Any:
    """The data of a GraphQL operation that succeeds."""
    wire = await Wire.open(port)
    try:
        return json.loads(
            await wire.send(build_request(port, {"query": query, "variables": variables}, headers=bearer(key)))
        )["data"]
    finally:
        await wire.close()
