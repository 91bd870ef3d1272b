"""The log: what is added has its place in the order of commits with its deliveries, however many add at once."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import delete, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.events.append import DELIVERIES, NewEvent, append_event, events_topic
from service.events.models import (
    DeliveryRecord,
    DeliveryStatus,
    EndpointPayload,
    EndpointRecord,
    EndpointStatus,
    EventCounterRecord,
    EventRecord,
)
from service.events.store import EventStore
from tests.connections.factory import add_tenant
from tests.events.factory import add_endpoint, append, read_log
from tests.scale import scaled
from tests.statements import explain, statements

BODY = b'{"action":"resolved","data":{"issue":{"id":"1"}}}'


@pytest.fixture
async def log(database: Database) -> Database:
    for tenant_id in ("ten_a", "ten_b"):
        await add_tenant(database, tenant_id)
    return database


async def deliveries(database: Database) -> set[tuple[str, str]]:
    """``(endpoint id, event id)`` of each."""
    async with database.session() as session:
        return {(each.endpoint_id, each.event_id) for each in await session.exec(select(DeliveryRecord))}


# --- order ---


async def test_places_are_counted_without_gaps(log: Database) -> None:
    first = await append(log, NewEvent("ten_a", "x.y", "con_1"), NewEvent("ten_a", "x.y"), NewEvent("ten_b", "x.y"))
    second = await append(log, NewEvent("ten_a", "x.y", "con_2"), NewEvent("ten_a", "x.y", "con_1"))
    places = [(event.tenant_id, event.position, event.connection_id, event.sequence) for event in [*first, *second]]
    assert places == [
        ("ten_a", 1, "con_1", 1),
        ("ten_a", 2, None, None),
        ("ten_b", 1, None, None),
        ("ten_a", 3, "con_2", 1),
        ("ten_a", 4, "con_1", 2),
    ]


async def test_a_transaction_that_is_undone_leaves_no_gap(log: Database) -> None:
    async def fail(session: AsyncSession) -> None:
        await append_event(session, NewEvent("ten_a", "x.y", "con_1"))
        raise LookupError

    await append(log, NewEvent("ten_a", "x.y", "con_1"))
    with pytest.raises(LookupError):
        await log.run_transaction(fail)
    (event,) = await append(log, NewEvent("ten_a", "x.y", "con_1"))
    assert (event.position, event.sequence) == (2, 2)


async def test_nothing_is_added_before_what_a_reader_has_seen(log: Database, database_url: str) -> None:
    """Many add at once, from several processes' worth of connections; a reader that goes on from the last position
    it saw sees each event, once, and nothing with a gap."""
    dice = random.Random(3)
    writers, rounds = 12, scaled(test=6, soak=300)
    store, seen = EventStore(log), list[EventRecord]()
    async with AsyncExitStack() as stack:
        replicas = [log]
        if log.dialect == "postgresql":  # one process has a SQLite file
            replicas += [Database(database_url) for _ in range(2)]
            for replica in replicas[1:]:
                stack.push_async_callback(replica.dispose)

        async def write(number: int) -> int:
            added = 0
            for _ in range(rounds):
                events = [
                    NewEvent(dice.choice(["ten_a", "ten_b"]), "x.y", dice.choice(["con_1", "con_2", None]))
                    for _ in range(dice.randint(1, 4))
                ]
                await append(replicas[number % len(replicas)], *events)
                added += sum(event.tenant_id == "ten_a" for event in events)
            return added

        async def read() -> None:
            while True:
                page = await store.page("ten_a", limit=7, after=seen[-1].position if seen else None)
                seen.extend(page)
                await asyncio.sleep(0)

        reader = asyncio.create_task(read())
        added = sum(await asyncio.gather(*map(write, range(writers))))
        reader.cancel()
        await asyncio.wait({reader})
    positions = [event.position for event in seen]
    assert positions == list(range(1, len(positions) + 1)), "a gap was seen, or an event came after later ones"

    events = await read_log(log, "ten_a")
    assert [event.position for event in events] == list(range(1, added + 1))
    for connection_id in ("con_1", "con_2"):
        sequences = [event.sequence for event in events if event.connection_id == connection_id]
        assert sequences == list(range(1, len(sequences) + 1))
    assert all(one.created_at <= two.created_at for one, two in pairwise(events)), "times are in the order of positions"
    async with log.session() as session:
        counters = {
            each.connection_id: each.last
            for each in await session.exec(select(EventCounterRecord).where(EventCounterRecord.tenant_id == "ten_a"))
        }
    assert counters[""] == added
    assert counters["con_1"] == sum(event.connection_id == "con_1" for event in events)


async def test_an_event_is_stored_as_it_was_given(log: Database) -> None:
    given = NewEvent(
        "ten_a",
        "error.created",
        "con_1",
        data={"hook": "é"},
        issue_id="121",
        project_id="5",
        project_slug="svc-03",
        environment="production",
        level="fatal",
        headers={"request-id": "1"},
        body=b"\xff\x00",
    )
    await append(log, given)
    (found,) = await read_log(log, "ten_a")
    for name in ("id", "type", "connection_id", "data", "issue_id", "project_id", "project_slug", "environment"):
        assert getattr(found, name) == getattr(given, name)
    assert (found.level, found.headers, found.body, found.is_synthetic) == (
        "fatal",
        {"request-id": "1"},
        b"\xff\0",
        False,
    )
    assert abs(found.created_at - now()) < timedelta(minutes=5)


async def test_adding_nothing_is_nothing(log: Database) -> None:
    assert await append(log) == []
    assert await read_log(log, "ten_a") == []


# --- repeats ---


def hook(body: bytes = BODY, connection_id: str | None = "con_1", **fields: object) -> NewEvent:
    return NewEvent("ten_a", "issue.resolved", connection_id, body=body, **fields)  # type: ignore[arg-type]


async def test_a_body_that_comes_again_is_marked_with_the_first(log: Database) -> None:
    (first,) = await append(log, hook())
    second, other, third = await append(log, hook(), hook(BODY + b" "), hook())
    assert first.repeat_of is None
    assert other.repeat_of is None
    assert (second.repeat_of, third.repeat_of) == (first.id, first.id)
    assert [event.sequence for event in (first, second, other, third)] == [1, 2, 3, 4], "marked, not dropped"


async def test_a_body_that_comes_twice_at_once_is_marked(log: Database) -> None:
    first, second = await append(log, hook(), hook())
    assert (first.repeat_of, second.repeat_of) == (None, first.id)


@pytest.mark.parametrize("database_url", ["sqlite_url"], indirect=True)
async def test_bodies_are_looked_up_by_their_hashes(log: Database) -> None:
    """And not among all events of the day, which took longer with each."""
    with statements() as sent:
        await append(log, hook(b"1"), hook(b"2"), hook(b"3", "con_2"))
    looked = [statement for statement in sent if statement.startswith("SELECT") and "body_hash" in statement]
    assert looked
    for statement in looked:
        about = [step for step in await explain(log, statement) if "events" in step]
        assert about
        assert all("body_hash=?" in step or "position=?" in step for step in about), about


async def test_only_a_connections_own_bodies_of_the_last_day_count(log: Database) -> None:
    (first,) = await append(log, hook())
    for event in (
        hook(connection_id="con_2"),
        hook(connection_id=None),
        NewEvent("ten_b", "issue.resolved", "con_1", body=BODY),
        hook(is_synthetic=True),
        NewEvent("ten_a", "issue.resolved", "con_1"),
    ):
        assert (await append(log, event))[0].repeat_of is None
    async with log.session() as session:
        old = update(EventRecord).where(col(EventRecord.id) == first.id)
        await session.exec(old.values(created_at=now() - timedelta(hours=25)))
        await session.commit()
    (later,) = await append(log, hook())
    assert later.repeat_of is None
    assert (await append(log, hook()))[0].repeat_of == later.id


async def test_the_older_word_for_archiving_repeats_the_newer(log: Database) -> None:
    """Newer servers send both."""
    new, old = (b'{"action":"%s","data":{"issue":{"id":"1"}}}' % word for word in (b"archived", b"ignored"))
    first, second = await append(
        log,
        NewEvent("ten_a", "issue.archived", "con_1", body=new),
        NewEvent("ten_a", "issue.archived", "con_1", body=old),
    )
    assert second.repeat_of == first.id
    assert (await read_log(log, "ten_a"))[1].body == old


# --- deliveries ---


async def test_deliveries_are_planned_for_the_endpoints_that_want_an_event(log: Database) -> None:
    everything = await add_endpoint(log, "ten_a")
    issues = await add_endpoint(log, "ten_a", types=["issue.*"], levels=["error", "fatal"])
    raw = await add_endpoint(log, "ten_a", payload=EndpointPayload.SENTRY)
    await add_endpoint(log, "ten_a", connection_ids=["con_2"])
    await add_endpoint(log, "ten_a", types=[])
    await add_endpoint(log, "ten_a", status=EndpointStatus.DISABLED)
    theirs = await add_endpoint(log, "ten_b")
    resolved, own, foreign = await append(
        log,
        hook(level="error"),
        NewEvent("ten_a", "connection.linked", "con_1"),
        NewEvent("ten_b", "connection.linked", "con_1"),
    )
    assert await deliveries(log) == {
        (everything, resolved.id),
        (everything, own.id),
        (issues, resolved.id),
        (raw, resolved.id),
        (theirs, foreign.id),
    }
    async with log.session() as session:
        for each in await session.exec(select(DeliveryRecord)):
            assert (each.status, each.attempts, each.lease_until, each.replay_of) == (
                DeliveryStatus.PENDING,
                0,
                None,
                None,
            )
            assert each.next_at == each.created_at == resolved.created_at, "due at once"


async def test_an_event_for_one_endpoint_goes_to_no_other(log: Database) -> None:
    await add_endpoint(log, "ten_a")
    tried = await add_endpoint(log, "ten_a", types=["issue.*"])
    (event,) = await append(log, NewEvent("ten_a", "webhook_endpoint.test", endpoint_id=tried))
    assert await deliveries(log) == {(tried, event.id)}


async def test_an_endpoint_that_is_deleted_meanwhile_costs_no_event(log: Database) -> None:
    """Its deliveries refer to it: it is held from the moment in which it was found to want the event."""
    if log.dialect != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    endpoint_id = await add_endpoint(log, "ten_a")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    async def is_waiting(count: int) -> bool:
        async with log.session() as session:
            return bool(await session.scalar(waiting) >= count)

    async def delete_endpoint() -> None:
        async with log.session() as session:
            await session.exec(delete(EndpointRecord).where(col(EndpointRecord.id) == endpoint_id))
            await session.commit()

    async with log.session() as session:
        await (await session.connection()).execute(text("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE"))
        adding = asyncio.create_task(append(log, NewEvent("ten_a", "x.y")))
        while not await is_waiting(1):  # it has found the endpoint, and may not add the event yet
            pass
        deleting = asyncio.create_task(delete_endpoint())
        while not deleting.done() and not await is_waiting(2):
            pass
        await session.rollback()
    (event,), _ = await asyncio.gather(adding, deleting)
    assert [each.id for each in await read_log(log, "ten_a")] == [event.id]
    assert await deliveries(log) == set()


async def test_what_is_undone_is_not_delivered(log: Database) -> None:
    await add_endpoint(log, "ten_a")

    async def fail(session: AsyncSession) -> None:
        await append_event(session, hook())
        raise LookupError

    with pytest.raises(LookupError):
        await log.run_transaction(fail)
    assert await deliveries(log) == set()


async def test_what_is_added_is_announced(log: Database) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with log.hearing(heard.put_nowait):
        if log.dialect == "postgresql":
            assert await heard.get() is None  # it listens
        await append(log, hook(), NewEvent("ten_b", "x.y"))
        assert {await heard.get(), await heard.get()} == {events_topic("ten_a"), events_topic("ten_b")}
        await add_endpoint(log, "ten_a")
        await append(log, hook())
        assert {await heard.get(), await heard.get()} == {events_topic("ten_a"), DELIVERIES}
        assert heard.empty()
