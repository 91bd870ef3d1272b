from collections.abc import AsyncIterator

import pytest

from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.tenants.caller import Caller
from tests.connections.conftest import admin, keyring, store, stranger, vault
from tests.connections.factory import add_tenant
from tests.webhooks.delivering import Post
from tests.webhooks.receiving import Receiving

__all__ = ["admin", "keyring", "store", "stranger", "vault"]


@pytest.fixture
async def service(database: Database, keyring: Keyring) -> AsyncIterator[Receiving]:
    async with Receiving.build(database, keyring).running() as receiving:
        yield receiving


@pytest.fixture
def post(database: Database, vault: Vault, admin: Caller) -> Post:
    """A tenant's endpoints and events."""
    return Post(database, vault, admin)


@pytest.fixture
async def sqlite_post(sqlite_url: str, vault: Vault) -> AsyncIterator[Post]:
    """The same on SQLite alone."""
    database = Database(sqlite_url)
    yield Post(database, vault, await add_tenant(database, "ten_1"))
    await database.dispose()
