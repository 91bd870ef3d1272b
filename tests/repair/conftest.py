from collections.abc import AsyncIterator

import pytest

from service.connections.vault import Vault
from service.db import Database
from service.sandbox.app import Sandbox
from service.sentry.origin import Origin
from service.tenants.caller import Caller
from tests.connections.conftest import admin, keyring, vault
from tests.connections.refreshable import Bench
from tests.repair.yard import Yard, lay_out

__all__ = ["admin", "keyring", "vault"]


@pytest.fixture
async def yard(database: Database, sandbox: Sandbox, vault: Vault, admin: Caller) -> AsyncIterator[Yard]:
    """A linked organization whose issues were seen lately, and whose webhooks the test lets come or not."""
    bench = Bench(database, sandbox, vault, admin, Origin.parse(sandbox.url))
    yield await lay_out(bench)
    await bench.aclose()
