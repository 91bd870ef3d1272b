"""What is committed reaches whoever follows it: each event once, in order, on both databases."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg
import pytest

from service.db import Database
from service.errors import SubscriptionOverflow
from service.events.append import AddedEvent, NewEvent, append_events
from service.events.feed import Feed, Follower
from service.events.filters import ALL, EventFilter
from service.events.models import EventRecord
from service.events.store import EventStore
from tests.connections.factory import add_tenant
from tests.scale import scaled

NEVER = 3600.0
"""Seconds between looks where only announcements count."""


@dataclass
class Everything:
    """A view of a filter, by one who may see all."""

    wanted: EventFilter = ALL
    seen: None = None

    async def refresh(self) -> None:
        """Nothing changes."""

    def matches(self, event: EventRecord) -> bool:
        return self.wanted.matches(event)


@asynccontextmanager
async def feeding(database: Database, *, buffer: int = 100, look_seconds: float = NEVER) -> AsyncIterator[Feed]:
    feed = Feed(database, EventStore(database), buffer=buffer, look_seconds=look_seconds)
    async with feed.running():
        yield feed


_numbers = count()


async def append(database: Database, number: int = 1, tenant: str = "acme", **fields: object) -> list[AddedEvent]:
    """Commit events in one transaction, and have it told."""
    events = [NewEvent(tenant, f"test.{next(_numbers)}", **fields) for _ in range(number)]  # type: ignore[arg-type]
    return await database.run_transaction(lambda session: append_events(session, events))


async def append_untold(database: Database) -> AddedEvent:
    """Commit an event whose announcement is lost."""
    async with database.session() as session:
        (record,) = await append_events(session, [NewEvent("acme", "test.untold")])
        await session.commit()
    return record


async def take(follower: Follower, number: int) -> list[str]:
    async with asyncio.timeout(20):
        return [(await anext(follower)).id for _ in range(number)]


def ids(events: Sequence[EventRecord | AddedEvent]) -> list[str]:
    return [event.id for event in events]


@pytest.fixture
async def database(database: Database) -> Database:
    await add_tenant(database, "acme")
    return database


async def test_new_events_come_in_order_and_those_from_before_do_not(database):
    await append(database, 3)
    async with feeding(database) as feed, aclosing(await feed.follow("acme", Everything())) as follower:
        events = await append(database, 3) + await append(database, 2)
        assert await take(follower, 5) == ids(events)


async def test_after_a_position_the_log_is_read_first(database):
    old = await append(database, 250)  # several pages
    after = old[9].position
    async with feeding(database) as feed, aclosing(await feed.follow("acme", Everything(), after=after)) as follower:
        assert await take(follower, 100) == ids(old[10:110])
        new = await append(database, 2)
        assert await take(follower, 142) == ids(old[110:] + new)


async def test_a_filter_holds_for_the_log_and_for_what_is_new(database):
    wanted = Everything(EventFilter(levels=["fatal"]))
    await append(database, 1, level="error")
    (old,) = await append(database, 1, level="fatal")
    async with feeding(database) as feed, aclosing(await feed.follow("acme", wanted, after=0)) as follower:
        assert await take(follower, 1) == [old.id]
        await append(database, 3, level="error")
        (new,) = await append(database, 1, level="fatal")
        assert await take(follower, 1) == [new.id]


async def test_another_tenants_events_are_not_told(database):
    await add_tenant(database, "globex")
    async with feeding(database) as feed, aclosing(await feed.follow("acme", Everything(), after=0)) as follower:
        await append(database, 3, tenant="globex")
        (mine,) = await append(database)
        assert await take(follower, 1) == [mine.id]


class CountingStore(EventStore):
    """Counts how often it is read."""

    reads = 0

    async def page(self, *arguments, **conditions):
        self.reads += 1
        return await super().page(*arguments, **conditions)


async def test_the_log_is_read_once_for_all_and_never_where_nobody_follows(database):
    store = CountingStore(database)
    feed = Feed(database, store, buffer=10, look_seconds=NEVER)
    async with feed.running():
        followers = [await feed.follow("acme", Everything()) for _ in range(50)]
        (event,) = await append(database)
        assert await asyncio.gather(*(take(follower, 1) for follower in followers)) == [[event.id]] * 50
        assert 1 <= store.reads <= 4
        for follower in followers:
            await follower.aclose()
        store.reads = 0
        await append(database, 3)
        async with aclosing(await feed.follow("acme", Everything())) as follower:  # told after those
            await append(database)
            await take(follower, 1)
        assert 1 <= store.reads <= 4


async def test_waiting_can_be_cancelled_and_begun_anew(database):
    async with feeding(database) as feed, aclosing(await feed.follow("acme", Everything())) as follower:
        for _ in range(3):
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0)
            waiting.cancel()
            (event,) = await append(database)
            assert await take(follower, 1) == [event.id]


async def test_who_joins_while_much_happens_gets_each_event_once(database):
    draw = random.Random(4)
    async with feeding(database, buffer=1000) as feed:
        committed: list[str] = []

        async def happen() -> None:
            for _ in range(scaled(test=60, soak=2000)):
                committed.extend(ids(await append(database, draw.randint(1, 4))))
                await asyncio.sleep(draw.choice([0, 0, 0.002]))

        async def follow() -> tuple[int, list[str]]:
            await asyncio.sleep(draw.random() * 0.2)
            after = draw.randint(0, len(committed))
            async with aclosing(await feed.follow("acme", Everything(), after=after)) as follower:
                got: list[str] = []
                while not got or got[-1] != last:
                    got += await take(follower, 1)
                    if draw.random() < 0.1:
                        await asyncio.sleep(0.001)
                return after, got

        last = "no event is the last yet"
        following = [asyncio.create_task(follow()) for _ in range(20)]
        await happen()
        (end,) = ids(await append(database))
        committed.append(end)
        last = end
        for after, got in await asyncio.gather(*following):
            assert got == committed[after:]


async def test_a_slow_follower_ends_and_can_go_on_while_the_others_notice_nothing(database):
    async with (
        feeding(database, buffer=5) as feed,
        aclosing(await feed.follow("acme", Everything())) as slow,
        aclosing(await feed.follow("acme", Everything())) as fast,
    ):
        first = await append(database, 3)
        assert await take(slow, 1) == ids(first[:1])
        taking = asyncio.create_task(take(fast, 23))
        rest = await append(database, 20)

        assert await taking == ids(first + rest)
        with pytest.raises(SubscriptionOverflow) as overflow:
            await take(slow, 1)

        assert overflow.value.extensions()["lastEventId"] == first[0].id
        assert first[0].id in (overflow.value.cure or "")
        after = first[0].position
        async with aclosing(await feed.follow("acme", Everything(), after=after)) as again:
            assert await take(again, 22) == ids(first[1:] + rest)


@pytest.mark.parametrize("before", [0, 2])
async def test_a_follower_that_has_taken_nothing_yet_is_told_the_event_before(database, before):
    old = await append(database, before)
    async with feeding(database, buffer=5) as feed, aclosing(await feed.follow("acme", Everything())) as slow:
        waiting = asyncio.ensure_future(anext(slow))
        await asyncio.sleep(0)  # it is live from here on
        waiting.cancel()
        async with aclosing(await feed.follow("acme", Everything())) as fast:
            taking = asyncio.create_task(take(fast, 20))
            await append(database, 20)
            await taking
        with pytest.raises(SubscriptionOverflow) as overflow:
            await take(slow, 1)
    assert overflow.value.last_id == (old[-1].id if old else None)


async def test_a_slow_reader_of_the_past_does_not_overflow(database):
    old = await append(database, 30)
    async with feeding(database, buffer=5) as feed, aclosing(await feed.follow("acme", Everything(), after=0)) as slow:
        got = await take(slow, 1)
        new = await append(database, 30)
        got += await take(slow, 59)
    assert got == ids(old + new)


async def test_what_was_not_announced_is_found_by_looking(database):
    async with (
        feeding(database, look_seconds=0.05) as feed,
        aclosing(await feed.follow("acme", Everything())) as follower,
    ):
        event = await append_untold(database)
        assert await take(follower, 1) == [event.id]


async def test_an_event_of_another_process_comes_and_none_is_missed_where_the_listener_is_killed(postgres_url):
    async with (
        _open(postgres_url) as ours,
        _open(postgres_url) as theirs,
        feeding(ours) as feed,
        aclosing(await feed.follow("acme", Everything())) as follower,
    ):
        await add_tenant(ours, "acme")
        (event,) = await append(theirs)
        assert await take(follower, 1) == [event.id]
        for _ in range(scaled(test=2, soak=20)):
            await _kill_listeners(postgres_url)
            missed = await append(theirs, 3)
            assert await take(follower, 3) == ids(missed)


@asynccontextmanager
async def _open(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.dispose()


async def _kill_listeners(url: str) -> None:
    connection = await asyncpg.connect(url)  # type: ignore[no-untyped-call]  # no types
    try:
        killed = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE '%listener'"
        )
        assert killed
    finally:
        await connection.close()
