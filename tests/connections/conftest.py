from pathlib import Path

import pytest

from service.connections.keyring import Keyring
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.tenants.caller import Caller
from tests.connections.factory import add_tenant


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.init(tmp_path / "keyring.json")


@pytest.fixture
def vault(keyring: Keyring) -> Vault:
    return Vault(keyring)


@pytest.fixture
def store(database: Database) -> ConnectionStore:
    return ConnectionStore(database)


@pytest.fixture
async def admin(database: Database) -> Caller:
    return await add_tenant(database, "ten_1")


@pytest.fixture
async def stranger(database: Database) -> Caller:
    return await add_tenant(database, "ten_2")
