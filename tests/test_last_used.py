import asyncio
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from service.columns import now
from service.db import Database
from service.last_used import LastUsed
from service.tenants.caller import Role
from service.tenants.models import ApiKeyRecord
from service.tenants.store import TenantStore


@pytest.fixture
async def key_ids(database: Database) -> list[str]:
    store = TenantStore(database)
    tenant = await store.create_tenant("Acme")
    keys = [await store.create_key(tenant.id, name="key", role=Role.READ, pepper=b"p") for _ in range(3)]
    return [record.id for record, _ in keys]


async def read(database: Database, key_id: str) -> datetime | None:
    async with database.session() as session:
        return (await session.get_one(ApiKeyRecord, key_id)).last_used_at


async def test_uses_are_written_in_one_batch(database: Database, key_ids: list[str]):
    last_used = LastUsed(database)
    before = now()
    for _ in range(1000):
        last_used.note(ApiKeyRecord, key_ids[0])
        last_used.note(ApiKeyRecord, key_ids[1])
    assert await read(database, key_ids[0]) is None
    commits = 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    event.listen(database._engine.sync_engine, "commit", count)
    await last_used.flush()
    await last_used.flush()
    assert commits == 1
    for key_id in key_ids[:2]:
        used_at = await read(database, key_id)
        assert used_at is not None
        assert before <= used_at <= now()
    assert await read(database, key_ids[2]) is None


async def test_a_later_use_of_another_replica_is_kept(database: Database, key_ids: list[str]):
    slow, quick = LastUsed(database), LastUsed(database)
    slow.note(ApiKeyRecord, key_ids[0])
    quick.note(ApiKeyRecord, key_ids[0])
    await quick.flush()
    written = await read(database, key_ids[0])
    await slow.flush()
    assert await read(database, key_ids[0]) == written


async def test_uses_are_written_regularly_and_at_the_end(database: Database, key_ids: list[str]):
    last_used = LastUsed(database, seconds=0.01)
    async with last_used.running():
        last_used.note(ApiKeyRecord, key_ids[0])
        while await read(database, key_ids[0]) is None:  # noqa: ASYNC110  (a row tells no event)
            await asyncio.sleep(0.01)
        last_used.note(ApiKeyRecord, key_ids[1])
    assert await read(database, key_ids[1]) is not None


async def test_a_row_that_is_gone_is_forgotten(database: Database):
    last_used = LastUsed(database)
    last_used.note(ApiKeyRecord, "key_gone")
    await last_used.flush()
    assert last_used._noted == {}


async def test_uses_wait_for_a_database_that_is_down(sqlite_url: str):
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    database = Database(sqlite_url)
    store = TenantStore(database)
    tenant = await store.create_tenant("Acme")
    key, _ = await store.create_key(tenant.id, name="key", role=Role.READ, pepper=b"p")
    await database.dispose()
    away = path.rename(path.with_suffix(".away"))  # noqa: ASYNC240  (a test may block)
    last_used = LastUsed(database)
    last_used.note(ApiKeyRecord, key.id)
    await last_used.flush()
    away.rename(path)
    await last_used.flush()
    assert await read(database, key.id) is not None
    await database.dispose()
