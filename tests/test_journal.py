from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col

from service.db import Database
from service.journal import AuditFilter, AuditRecord, Journal, Outcome
from tests.connections.factory import add_tenant


@pytest.fixture
async def journal(database: Database) -> Journal:
    for tenant_id in ("ten_1", "ten_2"):
        await add_tenant(database, tenant_id)
    return Journal(database)


async def test_a_tenant_reads_its_own_entries_newest_first(journal: Journal):
    for number in range(5):
        await journal.audit("connection.link", f"ten_{1 + number % 2}", actor="key_1", number=number, nothing=None)
    entries = await journal.page_audit("ten_1", limit=10)
    assert [entry.details for entry in entries] == [{"number": 4}, {"number": 2}, {"number": 0}]
    assert [entry.details["number"] for entry in await journal.page_audit("ten_1", limit=1, after=entries[0].id)] == [2]
    assert [entry.details["number"] for entry in await journal.page_audit("ten_1", limit=1, before=entries[2].id)] == [
        2
    ]


async def test_entries_are_filtered(journal: Journal):
    await journal.audit("connection.link", "ten_1", actor="key_1", outcome=Outcome.FAILED)
    await journal.audit("api_key.create", "ten_1", actor="key_1")
    failed = await journal.page_audit("ten_1", AuditFilter(outcome=Outcome.FAILED), limit=10)
    assert [entry.action for entry in failed] == ["connection.link"]
    created = await journal.page_audit("ten_1", AuditFilter(action="api_key.create"), limit=10)
    assert [entry.outcome for entry in created] == [Outcome.SUCCEEDED]


async def test_a_tenant_that_does_not_exist_has_no_entries(journal: Journal):
    await journal.audit("connection.link", "ten_9", actor="command line")
    assert await journal.page_audit("ten_9", limit=10) == []


async def test_old_entries_are_forgotten(journal: Journal, database: Database):
    for action in ("old", "young"):
        await journal.audit(action, "ten_1", actor="key_1")
    async with database.session() as session:
        made = col(AuditRecord.created_at)
        old = (await journal.page_audit("ten_1", AuditFilter(action="old"), limit=1))[0].created_at
        aged = update(AuditRecord).where(col(AuditRecord.action) == "old").values({made: old - timedelta(days=31)})
        await session.exec(aged)
        await session.commit()
    await journal.purge(30)
    assert [entry.action for entry in await journal.page_audit("ten_1", limit=10)] == ["young"]
