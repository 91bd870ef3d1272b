"""What streams need: a real server in this event loop, and clients that read streams as they come."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from service.graphql_http.websocket import PROTOCOL

PATIENCE = 20.0
"""Seconds that a test waits for something that must come; two cores may have much else to do."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an app as the service does, in this loop; the port."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listener]))  # without its signal handlers
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


class EventSource:
    """A stream of server-sent events, read as the HTML standard says."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, str]:
        """The next event's name and data; ``("", "")`` at the end of the stream."""
        name = "message"
        data: list[str] = []
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line == "" and data:
                    return name, "\n".join(data)
                if line.startswith(":"):
                    self.comments += 1
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
        return "", ""

    async def payload(self) -> dict[str, Any]:
        """The next result."""
        name, data = await self.next()
        assert name == "next", (name, data)
        decoded: dict[str, Any] = json.loads(data)
        return decoded

    async def end(self) -> str:
        """The name of the last event, after which nothing comes."""
        name, data = await self.next()
        assert data == ""
        if name:
            assert await self.next() == ("", "")
        return name


@asynccontextmanager
async def subscribe_by_sse(
    port: int, query: str, *, key: str, accept: str = "text/event-stream", **variables: Any
) -> AsyncIterator[EventSource]:
    """Subscribe over server-sent events. The subscription is open when this returns."""
    headers = {"authorization": f"Bearer {key}", "accept": accept}
    body = {"query": query, "variables": variables}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream("POST", f"http://127.0.0.1:{port}/graphql", json=body, headers=headers) as response,
    ):
        yield EventSource(response)


class Socket:
    """A client of ``graphql-transport-ws``."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, type_: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": type_, **fields}))

    async def subscribe(self, id_: str, query: str, **variables: Any) -> None:
        await self.send("subscribe", id=id_, payload={"query": query, "variables": variables})

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            decoded: dict[str, Any] = json.loads(await self.connection.recv())
        return decoded

    async def payload(self, id_: str = "1") -> dict[str, Any]:
        """The next result."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", id_), message
        payload: dict[str, Any] = message["payload"]
        return payload

    async def closed(self) -> tuple[int | None, str | None]:
        """The code and reason that the server closes with."""
        async with asyncio.timeout(PATIENCE):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def open_socket(port: int, *, protocols: tuple[str, ...] = (PROTOCOL,), **headers: str) -> AsyncIterator[Socket]:
    """A socket that is not initialised yet."""
    async with connect(
        f"ws://127.0.0.1:{port}/graphql",
        subprotocols=list(protocols) or None,  # type: ignore[arg-type]  # its type of text
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        user_agent_header=None,
        proxy=None,
        compression=None,
        max_size=None,
    ) as connection:
        yield Socket(connection)


@asynccontextmanager
async def connect_socket(port: int, *, key: str) -> AsyncIterator[Socket]:
    """A socket that is ready for operations."""
    async with open_socket(port) as opened:
        await opened.send("connection_init", payload={"authorization": f"Bearer {key}"})
        assert await opened.receive() == {"type": "connection_ack"}
        yield opened
