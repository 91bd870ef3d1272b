"""Real `serve` processes over accounts whose credentials can be refreshed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.connections.cache import Linked
from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT
from service.sentry.origin import Origin
from service.tenants.caller import Caller, Role
from tests.connections.refreshable import Bench
from tests.faults.replicas import TENANT, Replica, Service, prepare


@dataclass
class Refreshing:
    """Replicas to start, and the bench to link at and look from beside them."""

    service: Service
    bench: Bench

    @staticmethod
    async def call(replica: Replica, linked: Linked) -> int:
        """The status of Sentry's answer to a call through the streaming proxy."""
        path = f"/proxy/{linked.connection.id}/api/0/organizations/{linked.connection.organization_slug}/projects/"
        return (await replica.http.get(path)).status_code


@asynccontextmanager
async def prepare_refreshing(
    database_url: str, folder: Path, sandbox: Sandbox, url: str | None = None, **settings: object
) -> AsyncIterator[Refreshing]:
    """Fill a migrated database. ``url`` is where the accounts are linked at, and the sandbox is reached."""
    service = await prepare(database_url, folder, sandbox)
    url = url or sandbox.url
    client = {"origin": url, "client_id": DEMO_OAUTH_CLIENT.client_id, "client_secret": DEMO_OAUTH_CLIENT.client_secret}
    app = {
        "origin": url,
        "client_id": DEMO_APP.client_id,
        "client_secret": DEMO_APP.client_secret,
        "slug": DEMO_APP.slug,
    }
    service.settings |= {
        "egress_allow": json.dumps([sandbox.url, url]),
        "public_url": "https://graph.example",
        "oauth_clients": json.dumps([client]),
        "sentry_apps": json.dumps([app]),
        "log_level": "error",  # nobody reads what they write while they run, and a full pipe would stop them
        **settings,
    }
    database = Database(database_url)
    vault = Vault(Keyring.load(folder / "keyring.json"))
    bench = Bench(database, sandbox, vault, Caller(TENANT, Role.ADMIN, "test"), Origin.parse(url))
    try:
        yield Refreshing(service, bench)
    finally:
        await bench.aclose()
        await database.dispose()
