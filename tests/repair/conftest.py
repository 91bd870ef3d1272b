from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.connections.vault import Vault
from service.db import Database
from service.sandbox.app import Sandbox
from service.sentry.origin import Origin
from service.tenants.caller import Caller
from tests.connections.conftest import admin, keyring, vault
from tests.connections.factory import add_tenant
from tests.connections.refreshable import Bench
from tests.repair.yard import Yard, lay_out

__all__ = ["admin", "keyring", "vault"]


@pytest.fixture
async def quick_yard(sqlite_url: str, sandbox: Sandbox, vault: Vault) -> AsyncIterator[Yard]:
    """The same on SQLite alone, for what no database makes a difference to."""
    database = Database(sqlite_url)
    caller = await add_tenant(database, "ten_1")
    async with laid_out(database, sandbox, vault, caller) as found:
        yield found
    await database.dispose()


@pytest.fixture
async def yard(database: Database, sandbox: Sandbox, vault: Vault, admin: Caller) -> AsyncIterator[Yard]:
    """A linked organization whose issues were seen lately, and whose webhooks the test lets come or not."""
    async with laid_out(database, sandbox, vault, admin) as found:
        yield found


@asynccontextmanager
async def laid_out(database: Database, sandbox: Sandbox, vault: Vault, caller: Caller) -> AsyncIterator[Yard]:
    bench = Bench(database, sandbox, vault, caller, Origin.parse(sandbox.url))
    yield await lay_out(bench)
    await bench.aclose()
