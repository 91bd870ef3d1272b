import asyncio
import contextlib
import sqlite3

import pytest

from service.columns import now
from service.db import Database
from service.errors import StorageUnavailable
from service.events.append import NewEvent
from service.events.store import EventStore
from service.tenants.caller import Caller
from service.webhooks.sorting import Arrival
from service.webhooks.storing import HookStore
from tests.connections.factory import add_tenant


def arrival(number: int, tenant_id: str = "ten_1") -> Arrival:
    body = b"%d" % number
    return Arrival(events=(NewEvent(tenant_id, "issue.created", "con_1", body=body),), size=10)


async def test_each_learns_whether_it_is_a_repeat(database: Database, admin: Caller):
    store = HookStore(database)
    numbers = [1, 2, 1, 3, 1]
    repeats = await asyncio.gather(*(store.add(arrival(number)) for number in numbers))
    assert repeats == [False, False, True, False, True]
    assert await store.add(arrival(3))
    assert await store.add(Arrival()) is False


async def test_no_more_than_some_wait_in_memory(sqlite_url: str):
    database = Database(sqlite_url)
    await add_tenant(database, "ten_1")
    store = HookStore(database, most_bytes=35)
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.ensure_future(store.add(arrival(number))) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StorageUnavailable, match="wait"):
            await store.add(arrival(4))
        waiting[2].cancel()  # what is under way is stored, whoever waits
        holder.execute("ROLLBACK")
        assert await asyncio.gather(*waiting[:2]) == [False, False]
    await store.drain()
    assert await store.add(arrival(5)) is False
    events = await EventStore(database).page("ten_1", limit=10, since=now().replace(year=2000))
    assert [event.body for event in events] == [b"0", b"1", b"2", b"5"]
    await database.dispose()


async def test_what_cannot_be_stored_hinders_nobody(database: Database, admin: Caller):
    store = HookStore(database)
    answers = await asyncio.gather(
        *(store.add(arrival(number, tenant)) for number, tenant in enumerate(["ten_1", "nobody", "ten_1"])),
        return_exceptions=True,
    )
    assert [answers[0], answers[2]] == [False, False]
    assert isinstance(answers[1], Exception)
    assert len(await EventStore(database).page("ten_1", limit=10)) == 2
