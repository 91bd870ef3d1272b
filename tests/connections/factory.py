"""Tenants, callers and stored connections, as the service itself would store them."""

from collections.abc import Callable
from dataclasses import replace

from service.columns import now
from service.connections.link_rules import Link, SealedToken
from service.connections.models import ConnectionRecord, CredentialKind
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_token
from service.db import Database
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
