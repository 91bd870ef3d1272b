"""``serve``: the service for production."""

import asyncio
import gc
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from service.app import Runtime, create_app
from service.settings import Settings, read_settings

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on; SENTRY_GRAPH_HOST otherwise.")]
Port = Annotated[int | None, typer.Option("--port", help="The port to listen on; SENTRY_GRAPH_PORT otherwise.")]


def serve(host: Host = None, port: Port = None) -> None:
    """Serve the graph. GraphiQL, introspection and suggestions are off unless switched on by their settings."""
    settings = read_settings(host=host, port=port)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    runtime = Runtime.build(settings)
    async with runtime.started():
        await run_server(create_app(runtime), settings)


async def run_server(app: FastAPI, settings: Settings) -> None:
    """Serve ``app`` until SIGINT or SIGTERM; running requests then have ``shutdown_seconds`` to end."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    # What is alive now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await uvicorn.Server(config).serve()
