"""Tenants, callers and stored connections, as the service itself would store them."""

from collections.abc import Callable
from dataclasses import replace

from service.columns import now
from service.connections.accounts import AccountSource
from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.link_rules import Link, SealedToken
from service.connections.models import ConnectionRecord, CredentialKind
from service.connections.refresh_store import RefreshStore
from service.connections.refreshing import Refresher
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_token
from service.db import Database
from service.last_used import LastUsed
from service.sentry.client import SentryClient
from service.tenants.caller import Caller, Role
from service.tenants.models import TenantRecord

TOKEN = "sntryu_" + "5f0c9a3b1d2e4f60" * 4

ACME = Link(
    external_id=None,
    customer_id=None,
    name=None,
    authentication=CredentialKind.USER_TOKEN,
    scopes=["org:read", "member:read"],
    control_origin="https://sentry.io",
    api_origin="https://us.sentry.io",
    organization_id="2",
    organization_slug="acme",
    organization_name="Acme",
    installation_id=None,
    projects=None,
)


async def add_tenant(database: Database, tenant_id: str) -> Caller:
    """A tenant, and a caller who may do everything in it."""

    async def work(session) -> None:
        session.add(TenantRecord(id=tenant_id, name=tenant_id, created_at=now()))

    await database.run_transaction(work)
    return Caller(tenant_id, Role.ADMIN, "test")


def seal_with(vault: Vault, token: str = TOKEN) -> Callable[[ConnectionRecord], SealedToken]:
    return lambda connection: SealedToken(
        vault.seal(token.encode(), binding=bind_token(connection)), vault.fingerprint(token)
    )


async def add_connection(
    store: ConnectionStore, vault: Vault, caller: Caller, external_id: str | None = None, token: str = TOKEN, **changes
) -> ConnectionRecord:
    link = replace(ACME, external_id=external_id, **changes)
    return await store.link(caller, link, seal_with(vault, token))


async def no_link_session(*_: object) -> None:
    """What stopping a connection makes where links by page are not configured."""


def build_refresher(
    database: Database,
    vault: Vault,
    client: SentryClient,
    clients: Clients | None = None,
    *,
    cache: ConnectionCache | None = None,
    lease_seconds: float = 15,
    on_needs_reauth=no_link_session,
) -> Refresher:
    """A refresher as a process has one; ``cache`` is the store's."""
    rows = RefreshStore(
        database, cache or ConnectionCache(), lease_seconds=lease_seconds, on_needs_reauth=on_needs_reauth
    )
    return Refresher(rows, client, vault, clients or Clients())


def build_accounts(
    database: Database, store: ConnectionStore, vault: Vault, client: SentryClient, last_used: LastUsed | None = None
) -> AccountSource:
    """Accounts of a store whose credentials are not refreshed."""
    refresher = build_refresher(database, vault, client, cache=store._cache)
    return AccountSource(store, vault, refresher, last_used or LastUsed(database))
