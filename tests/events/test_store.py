"""Reading the log, and forgetting what is old."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlmodel import col, select

from service.columns import now
from service.db import Database
from service.events.append import AddedEvent, NewEvent
from service.events.filters import EventFilter
from service.events.models import AttemptRecord, DeliveryRecord, DeliveryStatus, EventRecord
from service.events.store import EventStore
from tests.connections.factory import add_tenant
from tests.events.factory import add_endpoint, append, read_log
from tests.statements import statements


@pytest.fixture
async def log(database: Database) -> Database:
    for tenant_id in ("ten_a", "ten_b"):
        await add_tenant(database, tenant_id)
    return database


async def age(database: Database, *events: EventRecord | AddedEvent, days: float) -> None:
    async with database.session() as session:
        old = update(EventRecord).where(col(EventRecord.id).in_([event.id for event in events]))
        await session.exec(old.values(created_at=now() - timedelta(days=days)))
        await session.commit()


async def count(database: Database, model: type[DeliveryRecord | AttemptRecord]) -> int:
    async with database.session() as session:
        return (await session.exec(select(func.count()).select_from(model))).one()


async def test_pages_stand_in_the_order_of_commits(log: Database) -> None:
    store = EventStore(log)
    added = [(await append(log, NewEvent("ten_a", "x.y", f"con_{number % 2}")))[0] for number in range(6)]
    await append(log, NewEvent("ten_b", "x.y", "con_0"))

    async def positions(limit: int = 9, after: int | None = None, before: int | None = None) -> list[int]:
        return [event.position for event in await store.page("ten_a", limit=limit, after=after, before=before)]

    assert await positions() == [1, 2, 3, 4, 5, 6]
    assert await positions(limit=2) == [1, 2]
    assert await positions(after=2, limit=2) == [3, 4]
    assert await positions(before=5, limit=2) == [3, 4], "the last before it"
    assert await positions(after=2, before=5) == [3, 4]
    assert await positions(after=2, before=6, limit=2) == [3, 4], "the first after it"
    assert await positions(after=6) == await positions(before=1) == await positions(limit=0) == []
    seen = await store.page("ten_a", limit=9, seen={"con_1", "con_9"})
    assert [event.position for event in seen] == [2, 4, 6]
    assert await store.page("ten_a", limit=9, seen=[]) == []
    both = await store.page("ten_a", EventFilter(connection_ids=["con_0"]), limit=9, seen=["con_1"])
    assert both == []
    since = await store.page("ten_a", limit=9, since=added[4].created_at)
    assert [event.position for event in since][-2:] == [5, 6]
    assert (await store.last_position("ten_a"), await store.last_position("ten_b")) == (6, 1)
    assert await store.last_position("ten_c") == 0


async def test_events_by_id_are_the_tenants_own(log: Database) -> None:
    mine, theirs = await append(log, NewEvent("ten_a", "x.y"), NewEvent("ten_b", "x.y"))
    found = await EventStore(log).get_many("ten_a", [mine.id, theirs.id, "evt_nobody"])
    assert list(found) == [mine.id]


async def test_old_events_are_forgotten_with_what_became_of_them(log: Database) -> None:
    await add_endpoint(log, "ten_a", types=["x.y"])
    old, pending, fresh, plain = await append(
        log,
        NewEvent("ten_a", "x.y", "con_1"),
        NewEvent("ten_a", "x.y", "con_1"),
        NewEvent("ten_a", "x.y", "con_1"),
        NewEvent("ten_a", "a.b", "con_1"),
    )
    async with log.session() as session:
        for delivery in list(await session.exec(select(DeliveryRecord))):
            if delivery.event_id != pending.id:
                delivery.status = DeliveryStatus.DELIVERED
            session.add(
                AttemptRecord(delivery_id=delivery.id, number=1, tenant_id="ten_a", started_at=now(), milliseconds=1)
            )
        await session.commit()
    await age(log, old, pending, plain, days=30.5)
    await age(log, fresh, days=29.5)
    store = EventStore(log)
    await store.purge(30)
    assert [event.id for event in await read_log(log, "ten_a")] == [pending.id, fresh.id]
    assert (await count(log, DeliveryRecord), await count(log, AttemptRecord)) == (2, 2)
    assert (await append(log, NewEvent("ten_a", "x.y", "con_1")))[0].position == 5, "places are not given again"


async def test_forgetting_does_not_go_through_all_that_is_pending(log: Database) -> None:
    """``NOT IN`` may go through a million deliveries for each event: PostgreSQL then breaks it off each time."""
    with statements() as sent:
        await EventStore(log).purge(30)
    assert any("NOT (EXISTS" in each for each in sent)
    assert not any("NOT IN" in each for each in sent)


async def test_places_go_on_when_all_is_forgotten(log: Database) -> None:
    first = await append(log, NewEvent("ten_a", "x.y", "con_1"), NewEvent("ten_a", "x.y", "con_1"))
    await age(log, *first, days=400)
    store = EventStore(log)
    await store.purge(30)
    assert await read_log(log, "ten_a") == []
    (next_,) = await append(log, NewEvent("ten_a", "x.y", "con_1"))
    assert (next_.position, next_.sequence) == (3, 3)


async def test_many_are_forgotten_in_turns(log: Database) -> None:
    """More than one transaction takes; new ones are added meanwhile."""
    await asyncio.gather(*(append(log, *(NewEvent("ten_a", "x.y") for _ in range(120))) for _ in range(4)))
    await age(log, *(await read_log(log, "ten_a")), days=31)
    await asyncio.gather(EventStore(log).purge(30), *(append(log, NewEvent("ten_a", "x.y")) for _ in range(5)))
    assert [event.position for event in await read_log(log, "ten_a")] == [481, 482, 483, 484, 485]
