"""A real uvicorn on a free loopback port, in a thread, for tests that need sockets."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain http: without it httpx reads all certificate authorities, for 0.05 s of CPU a client."""


@contextlib.contextmanager
def serve(app: ASGIApp, *, http: str = "auto", port: int = 0) -> Iterator[int]:
    """Serve the app; yields the port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, http=http, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def free_port() -> int:
    """A port that was free a moment ago, for servers that have to know theirs beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
