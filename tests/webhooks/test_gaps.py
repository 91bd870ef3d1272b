"""The database away, and back: nothing is acknowledged meanwhile, and what was missed is made up for."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import pytest
from sqlmodel import select

from service.columns import now
from service.connections.keyring import Keyring
from service.connections.models import ConnectionRecord
from service.connections.repair_models import RepairRecord
from service.db import Database
from service.tenants.caller import Caller
from tests.webhooks.receiving import OTHER_APP, OTHER_UUID, Receiving, installation, issue


@pytest.fixture
async def hasty(database: Database, keyring: Keyring) -> AsyncIterator[Receiving]:
    """A service that waits no longer than it must for this test."""
    async with Receiving.build(database, keyring, seconds=0.2).running() as receiving:
        yield receiving


@contextlib.asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Nobody can write what webhooks need."""
    if database.dialect == "sqlite":
        with contextlib.closing(sqlite3.connect(str(database._path), isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
            holder.execute("ROLLBACK")
        return
    holder = await asyncpg.connect(database._url)  # type: ignore[no-untyped-call]  # asyncpg has no types
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE event_counters, webhook_quarantine, connections IN ROW EXCLUSIVE MODE")
            await holder.execute("LOCK TABLE event_counters, webhook_quarantine IN ACCESS EXCLUSIVE MODE")
            await holder.execute("SELECT 1 FROM connections FOR UPDATE")
            yield
    finally:
        await holder.close()


async def plan_repairs(database: Database, *connections: ConnectionRecord) -> datetime:
    later = now() + timedelta(hours=1)
    async with database.session() as session:
        for each in connections:
            session.add(RepairRecord(connection_id=each.id, tenant_id=each.tenant_id, next_at=later))
        await session.commit()
    return later


async def due(database: Database) -> set[str]:
    """The connections that are to be compared with Sentry now."""
    async with database.session() as session:
        clock = await database.read_clock(session)
        return set(await session.exec(select(RepairRecord.connection_id).where(RepairRecord.next_at <= clock)))


async def test_what_was_missed_of_an_app_is_made_up_for(hasty: Receiving, admin: Caller, stranger: Caller):
    mine, theirs = await hasty.link(admin), await hasty.link(stranger, installation_id=OTHER_UUID)
    other = await hasty.link(admin, "other", client=OTHER_APP.client_id)
    await plan_repairs(hasty.database, mine, theirs, other)
    async with locked(hasty.database):
        answers = await asyncio.gather(*(hasty.send(issue(number)) for number in range(3)))
        assert answers == [503] * 3
        assert hasty.observed == [("app", "failed")] * 3
    await hasty.hooks._gaps.close()
    assert await due(hasty.database) == {mine.id, theirs.id}
    assert await hasty.send(issue(9)) == 200
    await hasty.hooks._store.drain()  # what was not acknowledged may have been stored
    assert {event.body for event in await hasty.events()} <= {issue(number) for number in (0, 1, 2, 9)}


async def test_what_was_missed_of_a_receiver_is_made_up_for(hasty: Receiving, admin: Caller):
    connection, other = await hasty.link(admin), await hasty.link(admin, "other", installation_id=None)
    receiver = await hasty.receiver(admin, connection)
    await plan_repairs(hasty.database, connection, other)
    async with locked(hasty.database):
        assert await hasty.send_to(receiver, issue()) == 503
    await hasty.hooks._gaps.close()
    assert await due(hasty.database) == {connection.id}


async def test_an_uninstall_is_not_acknowledged_either_but_done_once_it_can_be(hasty: Receiving, admin: Caller):
    await hasty.link(admin)
    async with locked(hasty.database):
        assert await hasty.send(installation(), "installation") == 503
    await hasty.hooks._uninstalls.drain()
    assert await hasty.types() == ["installation.deleted"]
    assert await hasty.send(installation(), "installation") == 200  # Sentry tries again
    assert await hasty.reasons() == ["unlinked"]


async def test_a_gap_lasts_until_the_database_is_back(hasty: Receiving, admin: Caller, database: Database):
    connection = await hasty.link(admin)
    await plan_repairs(database, connection)
    gaps = hasty.hooks._gaps
    await gaps.close()
    assert await due(database) == set()  # there is none
    gaps.note("whr_unknown")
    await gaps.close()
    assert gaps._gaps == {}


async def test_without_a_database_nothing_is_acknowledged(tmp_path, keyring: Keyring):
    gone = Database(f"sqlite:///{tmp_path / 'gone' / 'graph.db'}")
    async with Receiving.build(gone, keyring).running() as service:
        assert await service.send(issue()) == 503
        assert await service.send(issue(uuid=None)) == 503
        assert await service.send(installation(), "installation") == 503
        assert await service.post(service.addresses.of_receiver("whr_1"), issue()) == 503
        assert service.observed == [("app", "failed")] * 3 + [("receiver", "failed")]
        assert len(service.hooks._gaps._gaps) == 2
        await service.hooks._gaps.close()
        assert len(service.hooks._gaps._gaps) == 2
    await gone.dispose()
