"""``webhooks``: where public integrations send their webhooks, and what came from them that is nobody's."""

import asyncio

import typer

from service.cli.database import open_database
from service.cli.output import AsJson, print_rows
from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.keyring import Keyring
from service.connections.receiver_models import QuarantineRecord
from service.settings import read_settings
from service.webhooks.addresses import Addresses
from service.webhooks.quarantine import Quarantine

_MOST = 10_000

app = typer.Typer(help="Where Sentry sends webhooks, and what came that is nobody's.", no_args_is_help=True)


@app.command("urls")
def urls(as_json: AsJson = False) -> None:
    """Print the Webhook URL of each public integration. Only Sentry should know it."""
    settings = read_settings()
    addresses = Addresses(Keyring.load(settings.keyring_file), public_url=settings.public_url)
    rows = [
        {"integration": each.slug, "origin": each.origin, "webhook_url": addresses.of_app(each.client_id)}
        for each in settings.sentry_apps
    ]
    print_rows(rows, as_json=as_json, nothing="There are no public integrations: see SENTRY_GRAPH_SENTRY_APPS.")


@app.command("quarantine")
def quarantine(as_json: AsJson = False) -> None:
    """List genuine webhooks of the last days that belong to no connection, of all tenants, the newest first."""
    clients = Clients.of(read_settings())

    async def work() -> list[QuarantineRecord]:
        async with open_database() as database:
            return await Quarantine(database, clients, ConnectionCache()).page(None, limit=_MOST)

    slugs = {each.client_id: each.slug for each in clients.apps}
    rows = [
        {
            "id": each.id,
            "received_at": each.created_at,
            "reason": each.reason.value,
            "type": each.type,
            "integration": slugs.get(each.client_id or "", each.client_id),
            "receiver_id": each.receiver_id,
            "tenant_id": each.tenant_id,
            "connection_id": each.connection_id,
            "installation_id": each.installation_id,
        }
        for each in asyncio.run(work())
    ]
    print_rows(rows, as_json=as_json, nothing="Nothing is in quarantine.")
