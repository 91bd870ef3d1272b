from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from service.connections.idempotency import IdempotencyStore
from service.connections.models import ConnectionRecord
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.proxy.engine import ProxyEngine
from service.proxy.idempotency import Idempotency
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.transport import create_transport
from service.tenants.caller import Caller
from tests.connections.conftest import admin, keyring, store, stranger, vault
from tests.connections.factory import add_connection, build_accounts

__all__ = ["admin", "keyring", "store", "stranger", "vault"]

RUNNING = timedelta(minutes=1)
UPSTREAM = "https://sentry.test"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One engine is enough where nothing but the proxy is tried; those that need both say so."""
    return sqlite_url


@dataclass(frozen=True, slots=True)
class Linked:
    """A connection and an engine that calls for it."""

    engine: ProxyEngine
    client: SentryClient
    idempotency: Idempotency
    connection: ConnectionRecord
    caller: Caller


Link = Callable[..., Awaitable[Linked]]


@pytest.fixture
async def link(database: Database, store: ConnectionStore, vault: Vault, admin: Caller) -> AsyncIterator[Link]:
    """``await link(transport)`` links an organization and gives an engine that calls through the transport."""
    async with AsyncExitStack() as stack:

        async def link(transport: httpx.AsyncBaseTransport | None = None, origin: str = UPSTREAM, **changes) -> Linked:
            policy = EgressPolicy([Origin.parse(origin)])
            client = SentryClient(
                transport or create_transport(policy, limit=20),
                policy=policy,
                deadline=5,
                attempts=2,
                max_bytes=2**25,
                user_agent="test",
            )
            stack.push_async_callback(client.aclose)
            idempotency = Idempotency(IdempotencyStore(database), vault, running=RUNNING)
            stack.push_async_callback(idempotency.aclose)
            accounts = build_accounts(database, store, vault, client)
            known = {
                "control_origin": origin,
                "api_origin": origin,
                "organization_id": "2",
                "organization_slug": "acme",
            }
            connection = await add_connection(store, vault, admin, **(known | changes))
            return Linked(ProxyEngine(client, accounts, idempotency), client, idempotency, connection, admin)

        yield link


@pytest.fixture
async def linked(link: Link, sandbox: Sandbox) -> Linked:
    """The sandbox's organization, linked."""
    organization = sandbox.world.organizations[0]
    return await link(
        origin=sandbox.url,
        token=DEMO_TOKENS.admin,
        organization_id=str(organization.id),
        organization_slug=organization.slug,
    )
