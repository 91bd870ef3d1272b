"""``demo``: everything on loopback, with a stand-in Sentry linked, and GraphiQL open."""

from contextlib import suppress
from typing import Annotated

import typer
import uvloop

from service.app import Runtime, create_app
from service.cli.serve import Host, Port, run_server
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.errors import Conflict
from service.operations.listening import open_sockets
from service.operations.logs import configure_logging
from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_TOKENS, Manner
from service.settings import DEMO, Settings, read_settings
from service.tenants.caller import Caller, Role

_TENANT = "demo"
_KEY_NAME = "GraphiQL of the demo"

SandboxManner = Annotated[
    Manner, typer.Option("--sandbox", help="How the stand-in Sentry behaves: as the newest server or as 23.7.")
]


def demo(host: Host = None, port: Port = None, manner: SandboxManner = "latest") -> None:
    """Try it out: a stand-in Sentry is linked, and GraphiQL opens with queries that work."""
    sandbox = create_sandbox(SandboxConfig(manner=manner))
    with serve_in_thread(sandbox):
        settings = read_settings(host=host, port=port, **DEMO)
        settings = settings.model_copy(update={"egress_allow": (*settings.egress_allow, sandbox.url)})
        if not settings.keyring_file.exists():
            Keyring.init(settings.keyring_file)
        uvloop.run(_demo(settings, sandbox))


async def _demo(settings: Settings, sandbox: Sandbox) -> None:
    configure_logging(settings.log_format, settings.log_level)
    runtime = Runtime.build(settings)
    with open_sockets(settings.host, settings.port) as sockets:
        async with runtime.started():
            key = await _prepare(runtime, sandbox)
            _greet(settings, sandbox)
            await run_server(create_app(runtime, demo_key=key), runtime, sockets)


async def _prepare(runtime: Runtime, sandbox: Sandbox) -> str:
    """Make the tenant, link the sandbox where it is today, and make a key for GraphiQL, which dies with the next."""
    tenants = runtime.services.tenants
    with suppress(Conflict):  # made by an earlier run
        await tenants.create_tenant("Demo", tenant_id=_TENANT)
    for old in await tenants.list_keys(_TENANT):
        if old.name == _KEY_NAME and old.revoked_at is None:
            await tenants.revoke_key(_TENANT, old.id)
    _, key = await tenants.create_key(_TENANT, name=_KEY_NAME, role=Role.ADMIN, pepper=runtime.keyring.api_key_pepper)
    request = LinkRequest(
        token=DEMO_TOKENS.admin,
        origin=sandbox.url,
        organization="lumen-labs",
        external_id="sandbox",
        name="Lumen Labs (sandbox)",
    )
    await runtime.services.linker.link(Caller(_TENANT, Role.ADMIN, "demo"), request)
    return key


def _greet(settings: Settings, sandbox: Sandbox) -> None:
    typer.echo(f"""
  GraphiQL        http://{settings.host}:{settings.port}/graphql
  stand-in Sentry {sandbox.url}  (linked as the connection `sandbox`)
  data            {settings.database_url}

  Link a real account with the tab `Link` in GraphiQL, or with `.venv/bin/python -m service link --tenant {_TENANT}`.
  Stop with Ctrl+C.
""")
