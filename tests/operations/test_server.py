import asyncio
import os
import signal
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
import uvicorn
from starlette.types import Receive, Scope, Send

from service.operations.server import GracefulServer
from tests.serving import NO_TLS


class App:
    """Answers at once, or waits until the test lets it at /slow."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            self.has_begun.set()
            await self.may_end.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Served:
    """A server in this process, which gets this process's signals, and what became of it."""

    def __init__(self, app: App, drain_seconds: float) -> None:
        self.app = app
        self.drains = self.stops = 0
        config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=30)
        self.server = GracefulServer(config, drain=self._drain, drain_seconds=drain_seconds, stop=self._stop)
        self.ended = asyncio.create_task(self.server.serve())

    def _drain(self) -> None:
        self.drains += 1

    def _stop(self) -> None:
        self.stops += 1

    async def start(self) -> None:
        while not self.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_TLS)

    async def get(self, path: str) -> int:
        return (await self.http.get(path)).status_code

    async def end(self) -> None:
        async with asyncio.timeout(30):
            await self.ended


@pytest.fixture
async def serve() -> AsyncIterator[object]:
    started = []

    async def start(drain_seconds: float = 0.0) -> Served:
        started.append(served := Served(App(), drain_seconds))
        await served.start()
        return served

    yield start
    for served in started:
        served.server.force_exit = served.server.should_exit = True
        served.app.may_end.set()
        await served.end()
        await served.http.aclose()


def raise_signal(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def test_sigterm_finishes_what_runs_and_leaves_the_process_alive(serve):
    served = await serve()
    running = asyncio.create_task(served.get("/slow"))
    await served.app.has_begun.wait()

    raise_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)  # it has begun to shut down
    served.app.may_end.set()

    assert await running == 204
    await served.end()
    assert (served.drains, served.stops) == (1, 1)
    with pytest.raises(httpx.ConnectError):
        await served.get("/")


async def test_it_says_where_it_listens_and_when_it_ends(serve):
    with structlog.testing.capture_logs() as lines:
        served = await serve()
        raise_signal(signal.SIGINT)
        await served.end()
    assert lines == [
        {"event": "listening", "host": "127.0.0.1", "port": served.http.base_url.port, "log_level": "info"},
        {"event": "stopping", "open_connections": 0, "log_level": "info"},
        {"event": "stopped", "log_level": "info"},
    ]


async def test_while_draining_requests_are_taken(serve):
    served = await serve(drain_seconds=600)
    raise_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)

    assert (served.drains, served.stops) == (1, 0)
    assert await served.get("/") == 204
    assert not served.ended.done()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_draining(serve, second):
    served = await serve(drain_seconds=600)
    raise_signal(signal.SIGTERM)
    raise_signal(second)
    await served.end()


async def test_draining_ends_by_itself(serve):
    served = await serve(drain_seconds=0.2)
    raise_signal(signal.SIGTERM)
    await served.end()


async def test_ctrl_c_does_not_wait_for_a_load_balancer(serve):
    served = await serve(drain_seconds=600)
    raise_signal(signal.SIGINT)
    await served.end()


async def test_ctrl_c_twice_waits_for_nothing(serve):
    served = await serve()
    running = asyncio.create_task(served.get("/slow"))
    await served.app.has_begun.wait()
    raise_signal(signal.SIGINT)
    raise_signal(signal.SIGINT)
    await served.end()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
