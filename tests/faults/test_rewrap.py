"""``keys rewrap`` in a process of its own, killed at any point, beside a process that stores new tokens."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pytest
from sqlmodel import col, select

from service.connections.keyring import Keyring
from service.connections.models import ConnectionRecord, CredentialRecord
from service.connections.rewrap import count_by_key, missing_keys, retire
from service.connections.store import ConnectionStore
from service.connections.vault import Sealed, Vault, bind_token
from service.db import Database
from service.tenants.caller import Caller
from tests.connections.factory import ACME, add_tenant, seal_with
from tests.processes import ServiceProcess, start_service
from tests.scale import scaled

CONNECTIONS = scaled(test=60, soak=600)
KILLS = scaled(test=1, soak=40)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.init(tmp_path / "keyring.json")


@pytest.fixture
def said() -> Iterator[IO[bytes]]:
    """What the processes write."""
    with TemporaryFile() as file:
        yield file


async def start_rewrap(database_url: str, keyring: Keyring, said: IO[bytes]) -> ServiceProcess:
    settings = {"database_url": database_url, "keyring_file": keyring._path}
    return await start_service("keys", "rewrap", "--batch", "1", output=said, errors=said, **settings)


async def open_all(database: Database, vault: Vault) -> dict[str, str]:
    """Every stored token, by connection."""
    statement = select(CredentialRecord, ConnectionRecord).where(
        col(CredentialRecord.connection_id) == ConnectionRecord.id
    )
    async with database.session() as session:
        rows = list(await session.exec(statement))
    return {
        connection.id: vault.open(Sealed(row.key_id, row.access_token), bind_token(connection)).decode()
        for row, connection in rows
    }


class Refresher:
    """Stores new tokens for connections, as refreshing does, and knows what was acknowledged."""

    def __init__(self, store: ConnectionStore, vault: Vault, caller: Caller) -> None:
        self.store, self.vault, self.caller = store, vault, caller
        self.stored: dict[str, str] = {}
        self.names: list[str] = []

    async def link(self, name: str, token: str) -> None:
        link = replace(ACME, external_id=name)
        connection = await self.store.link(self.caller, link, seal_with(self.vault, token))
        self.stored[connection.id] = token

    async def fill(self, count: int) -> None:
        self.names = [f"cust-{number}" for number in range(count)]
        for name in self.names:
            await self.link(name, f"token-of-{name}-0")

    async def run(self, stop: asyncio.Event) -> None:
        version = 0
        while not stop.is_set():
            version += 1
            name = random.choice(self.names)
            await self.link(name, f"token-of-{name}-{version}")
            await asyncio.sleep(0.02)


async def test_killed_at_any_point_every_secret_opens(
    database: Database, database_url: str, keyring: Keyring, said: IO[bytes]
):
    vault = Vault(keyring)
    refresher = Refresher(ConnectionStore(database), vault, await add_tenant(database, "ten_1"))
    await refresher.fill(CONNECTIONS)
    old = keyring.active_id
    new = Keyring.load(keyring._path).rotate()

    for kill in range(KILLS):
        process = await start_rewrap(database_url, keyring, said)
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)  # it must not be done before we look
        wanted = (kill + 1) * CONNECTIONS // (KILLS + 1)
        while (await count_by_key(database)).get(new, 0) < wanted and process.returncode is None:  # noqa: ASYNC110  # seen there only
            await asyncio.sleep(0.002)
        assert process.returncode is None, "it was done before it was killed"
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        left = await count_by_key(database)
        assert left[old] > 0, "it was done before it was killed"
        assert left[old] + left[new] == CONNECTIONS
        assert await open_all(database, vault) == refresher.stored
        assert await missing_keys(database, keyring) == []

    stop = asyncio.Event()
    refreshing = asyncio.create_task(refresher.run(stop))
    process = await start_rewrap(database_url, keyring, said)
    code = await process.wait()
    stop.set()
    await refreshing
    said.seek(0)
    assert code == 0, said.read().decode()
    assert await count_by_key(database) == {new: CONNECTIONS}
    await retire(database, keyring, old)
    assert await open_all(database, Vault(Keyring.load(keyring._path))) == refresher.stored
