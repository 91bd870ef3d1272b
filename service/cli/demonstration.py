"""What the command ``demo`` runs: the service and a stand-in Sentry in one process, made ready for a visitor."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import typer
import uvloop
from pydantic import SecretStr

from service.app import Runtime, create_app
from service.cli.serve import run_server
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.connections.receiver_models import ReceiverKind
from service.errors import Conflict
from service.link.rules import LinkSessionRequest
from service.operations.listening import open_sockets
from service.operations.logs import configure_logging
from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_APP, DEMO_INTERNAL_APP, DEMO_OAUTH_CLIENT, DEMO_TOKENS, Manner
from service.settings import DEMO, OAuthClientSettings, SentryAppSettings, Settings, read_settings
from service.tenants.caller import Caller, Role
from service.webhooks.addresses import Addresses

_TENANT = "demo"
_KEY_NAME = "GraphiQL of the demo"
_EXAMPLE_RECEIVER = "http://127.0.0.1:8800"  # docs/webhook_receiver.py
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def serve_demo(*, host: str | None, port: int | None, manner: Manner) -> None:
    """Serve both until SIGINT or SIGTERM. What is given takes the settings' place."""
    settings = read_settings(host=host, port=port, **DEMO)
    sandbox = create_sandbox(SandboxConfig(manner=manner))
    with _serve_sandbox(sandbox, settings.port + 1):
        settings = _add_sandbox(settings, sandbox)
        if not settings.keyring_file.exists():
            Keyring.init(settings.keyring_file)
        uvloop.run(_demo(settings, sandbox))


@contextmanager
def _serve_sandbox(sandbox: Sandbox, port: int) -> Iterator[None]:
    """At the same port each time, if it is free: what was linked in an earlier run finds it there."""
    with ExitStack() as stack:
        try:
            stack.enter_context(serve_in_thread(sandbox, port))
        except (OSError, OverflowError):
            stack.enter_context(serve_in_thread(sandbox))
        yield


def _add_sandbox(settings: Settings, sandbox: Sandbox) -> Settings:
    """The settings with the stand-in Sentry's clients beside the operator's own."""
    host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host  # cookies of the page need a loopback address
    public_url = settings.public_url or f"http://{host}:{settings.port}"
    client = OAuthClientSettings(
        origin=sandbox.url,
        client_id=DEMO_OAUTH_CLIENT.client_id,
        client_secret=SecretStr(DEMO_OAUTH_CLIENT.client_secret),
    )
    app = SentryAppSettings(
        origin=sandbox.url,
        slug=DEMO_APP.slug,
        client_id=DEMO_APP.client_id,
        client_secret=SecretStr(DEMO_APP.client_secret),
        verify_install=DEMO_APP.verify_install,
    )
    return settings.model_copy(
        update={
            "public_url": public_url,
            "egress_allow": (*settings.egress_allow, sandbox.url),
            "forward_allow": (*settings.forward_allow, _EXAMPLE_RECEIVER),
            "oauth_clients": (client, *settings.oauth_clients),
            "sentry_apps": (app, *settings.sentry_apps),
        }
    )


async def _demo(settings: Settings, sandbox: Sandbox) -> None:
    configure_logging(settings.log_format, settings.log_level)
    runtime = Runtime.build(settings)
    with open_sockets(settings.host, settings.port) as sockets:
        async with runtime.started():
            key = await _prepare(runtime, sandbox)
            _greet(settings, sandbox, await _invite(runtime))
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
    caller = Caller(_TENANT, Role.ADMIN, "demo")
    connection = await runtime.services.linker.link(caller, request)
    await _register(runtime, sandbox, caller, connection.id)
    return key


async def _register(runtime: Runtime, sandbox: Sandbox, caller: Caller, connection_id: str) -> None:
    """Tell the stand-in Sentry where it leads people back to, and where it sends webhooks."""
    public_url, receivers = runtime.settings.public_url, runtime.services.receivers
    kind = ReceiverKind.INTERNAL_INTEGRATION
    known = [each for each in await receivers.list_of(caller, connection_id) if each.kind is kind]
    receiver = (
        known[0] if known else await receivers.create(caller, connection_id, kind, DEMO_INTERNAL_APP.client_secret)
    )
    sandbox.register_redirects(
        oauth=[f"{public_url}/link/oauth/{DEMO_OAUTH_CLIENT.client_id}/callback"],
        install=f"{public_url}/link/install/{DEMO_APP.client_id}/callback",
        webhook=Addresses(runtime.keyring, public_url=public_url).of_app(DEMO_APP.client_id),
        internal_webhook=receivers.url(receiver),
    )


async def _invite(runtime: Runtime) -> str:
    """An address that links an account of the stand-in Sentry, or gives an already linked one a new credential."""
    sessions, caller = runtime.services.link_sessions, Caller(_TENANT, Role.ADMIN, "demo")
    wanted = LinkSessionRequest(external_id="initech", name="Initech", customer_id="initech")
    session = await sessions.find_open(caller, "initech") or await sessions.create(caller, wanted)
    return sessions.url(session)


def _greet(settings: Settings, sandbox: Sandbox, link_url: str) -> None:
    typer.echo(f"""
  GraphiQL        http://{settings.host}:{settings.port}/graphql
  link a customer {link_url}
  stand-in Sentry {sandbox.url}  (linked as the connection `sandbox`)
  data            {settings.database_url}

  Link a real account with the tab `Link` in GraphiQL, or with `.venv/bin/python -m service link --tenant {_TENANT}`.
  Stop with Ctrl+C.
""")
