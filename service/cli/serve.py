"""``serve``: the service for production."""

import gc
import socket
from typing import Annotated

import typer
import uvicorn
import uvloop
from starlette.types import ASGIApp

from service.app import Runtime, create_app
from service.cli.allocator import keep_freed_memory
from service.operations.listening import open_sockets
from service.operations.logs import configure_logging
from service.operations.protocol import Protocol, open_websocket
from service.operations.server import GracefulServer
from service.settings import Role, Settings, read_settings

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on; SENTRY_GRAPH_HOST otherwise.")]
Port = Annotated[int | None, typer.Option("--port", help="The port to listen on; SENTRY_GRAPH_PORT otherwise.")]
RoleOption = Annotated[
    Role | None,
    typer.Option(
        "--role",
        help="Answer requests (web), do the work behind them (worker), or both (all); SENTRY_GRAPH_ROLE otherwise.",
    ),
]


def serve(host: Host = None, port: Port = None, role: RoleOption = None) -> None:
    """Serve the graph. GraphiQL, introspection and suggestions are off unless switched on by their settings.

    A worker serves /health, /ready and /metrics only, and as many may run on one PostgreSQL database as one likes.
    """
    uvloop.run(_serve(read_settings(host=host, port=port, role=role)))


async def _serve(settings: Settings) -> None:
    keep_freed_memory()
    configure_logging(settings.log_format, settings.log_level)
    runtime = Runtime.build(settings)
    app = create_app(runtime)  # reads files too: what is wrong is told before the database is touched
    with open_sockets(settings.host, settings.port) as sockets:
        async with runtime.started():
            await run_server(app, runtime, sockets)


async def run_server(app: ASGIApp, runtime: Runtime, sockets: list[socket.socket]) -> None:
    """Serve ``app`` on ``sockets`` until SIGINT or SIGTERM; running requests then have ``shutdown_seconds`` to end."""
    settings = runtime.settings
    config = uvicorn.Config(
        app,
        http=Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws=open_websocket,  # type: ignore[arg-type]  # it is only called
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # its windows would take more memory than all else of an idle socket
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    # What is alive now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    # A page of users is hundreds of containers, and none of them is garbage: to look after each seven hundred takes a
    # twentieth of its CPU, after each 20 000 less than a millisecond at a time.
    gc.set_threshold(20_000, 10, 10)
    drain_seconds = settings.drain_seconds
    server = GracefulServer(
        config, drain=runtime.readiness.drain, drain_seconds=drain_seconds, stop=runtime.sessions.stop
    )
    await server.serve(sockets)
