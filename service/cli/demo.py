"""``demo``: everything on loopback, with a stand-in Sentry linked, and GraphiQL open."""

from typing import Annotated

import typer

from service.cli.serve import Host, Port
from service.sandbox.manner import Manner

SandboxManner = Annotated[
    Manner, typer.Option("--sandbox", help="How the stand-in Sentry behaves: as the newest server or as 23.7.")
]


def demo(host: Host = None, port: Port = None, manner: SandboxManner = "latest") -> None:
    """Try it out: a stand-in Sentry is linked, and GraphiQL opens with queries that work."""
    from service.cli.demonstration import serve_demo  # noqa: PLC0415 - brings the stand-in Sentry and aiohttp along

    serve_demo(host=host, port=port, manner=manner)
