"""Serves a sandbox on a loopback port: in a thread for tests and the demo, or as a process of its own."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.sandbox.app import Sandbox

_START_SECONDS = 10


class _AbortableProtocol(HttpToolsProtocol):
    """Lends faults the connection, so that they can reset it as a network would."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"sandbox.abort": {"call": self._reset_connection}}

    def _reset_connection(self) -> None:
        # With no time to linger the kernel sends RST; the cycle's end then finds the connection gone and is silent.
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.cycle.disconnected = True
        self.transport.abort()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _configure(sandbox: Sandbox) -> uvicorn.Config:
    return uvicorn.Config(
        sandbox,
        http=_AbortableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def serve_in_thread(sandbox: Sandbox, port: int = 0) -> Iterator[str]:
    """Serves in a thread while the block runs; yields the URL, as ``sandbox.url`` does. Port 0 picks a free one."""
    with _listen(port) as listener:
        started = Event()
        server = _Server(_configure(sandbox), started.set)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
        sandbox.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.start()
        try:
            if not started.wait(_START_SECONDS):
                raise TimeoutError("the sandbox did not start")
            yield sandbox.url
        finally:
            server.should_exit = True
            thread.join()


def serve_forever(sandbox: Sandbox, port: int, announce: Callable[[str], Any]) -> None:
    """Serves until SIGINT or SIGTERM; ``announce`` gets the URL once calls are taken."""
    with _listen(port) as listener:
        sandbox.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _Server(_configure(sandbox), lambda: announce(sandbox.url))
        asyncio.run(server.serve(sockets=[listener]))
