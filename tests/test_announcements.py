"""What is committed is told to whoever listens: in every process on PostgreSQL, in the one on SQLite."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from service.announcements import announce
from service.db import Database

Heard = asyncio.Queue[str | None]


async def tell(database: Database, *topics: str) -> None:
    async def work(session: AsyncSession) -> None:
        for topic in topics:
            announce(session, topic)

    await database.run_transaction(work)


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator[Heard]:
    """What is heard, from when it is sure that all is."""
    heard: Heard = asyncio.Queue()
    async with database.hearing(heard.put_nowait):
        if database.dialect == "postgresql":
            assert await heard.get() is None, "what was told before may have been missed"
        yield heard


async def test_what_is_committed_is_told_once_a_transaction(database: Database) -> None:
    async with listening(database) as heard:
        await tell(database, "b", "a", "a")
        await tell(database, "a")
        assert [await heard.get() for _ in range(3)] == ["a", "b", "a"]
        assert heard.empty()


async def test_nothing_is_told_before_the_commit(database: Database) -> None:
    async with listening(database) as heard:

        async def work(session: AsyncSession) -> None:
            announce(session, "later")
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]  # a statement without a type
            assert heard.empty()

        await database.run_transaction(work)
        assert await heard.get() == "later"


async def test_what_is_undone_is_not_told(database: Database) -> None:
    async def fail(session: AsyncSession) -> None:
        announce(session, "undone")
        raise LookupError

    async with listening(database) as heard:
        with pytest.raises(LookupError):
            await database.run_transaction(fail)
        await tell(database, "done")
        assert await heard.get() == "done"


async def test_all_who_listen_hear_it_and_nobody_else(database: Database) -> None:
    async with listening(database) as one:
        two: Heard = asyncio.Queue()
        async with database.hearing(two.put_nowait), database.hearing(two.put_nowait):
            await tell(database, "x")
            assert await one.get() == "x"
            assert [await two.get(), await two.get()] == ["x", "x"]
        await tell(database, "y")
        assert await one.get() == "y"
        assert two.empty()


async def test_who_listens_again_hears_again(database: Database) -> None:
    for topic in ("one", "two"):
        async with listening(database) as heard:
            await tell(database, topic)
            assert await heard.get() == topic
    await tell(database, "nobody listens")


async def test_who_begins_while_the_last_one_leaves_hears(database: Database) -> None:
    first: Heard = asyncio.Queue()
    leaving = AsyncExitStack()
    await leaving.enter_async_context(database.hearing(first.put_nowait))
    await tell(database)
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        ended = asyncio.create_task(leaving.aclose())
        await asyncio.sleep(0)  # it has begun to leave
        heard = await stack.enter_async_context(listening(database))
        await ended
        await tell(database, "x")
        assert await heard.get() == "x"


async def test_other_processes_hear_it(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [Database(postgres_url) for _ in range(3)]
        for replica in replicas:
            stack.push_async_callback(replica.dispose)
        heard = [await stack.enter_async_context(listening(replica)) for replica in replicas]
        await asyncio.gather(*(tell(replica, f"from {number}") for number, replica in enumerate(replicas)))
        for each in heard:
            assert {await each.get() for _ in replicas} == {"from 0", "from 1", "from 2"}


async def test_after_the_connection_was_lost_it_listens_again_and_says_so(postgres_url: str) -> None:
    database = Database(postgres_url)
    listener = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sentry-graph listener'"
    async with listening(database) as heard:
        async with database.session() as session:
            connection = await session.connection()
            ended = await connection.execute(text(f"SELECT pg_terminate_backend(pid) {listener}"))
            assert ended.scalars().all() == [True]
        await tell(database, "missed")
        while (topic := await heard.get()) is not None:
            assert topic == "missed"  # told before the server ended it
        await tell(database, "x")
        assert await heard.get() == "x"
    await database.dispose()
