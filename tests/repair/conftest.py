from collections.abc import AsyncIterator

import pytest

from service.db import Database
from service.sandbox.app import Sandbox
from tests.connections.conftest import admin, keyring, vault
from tests.repair.yard import Yard, open_yard

__all__ = ["admin", "keyring", "vault"]


@pytest.fixture
async def yard(database: Database, sandbox: Sandbox, vault, admin) -> AsyncIterator[Yard]:
    """A linked organization whose issues were seen lately, and whose webhooks the test lets come or not."""
    async with open_yard(database, sandbox, vault, admin) as found:
        yield found
