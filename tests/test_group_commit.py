"""Many small writes in one transaction: each gets its own result or error, and none hinders another."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.errors import StorageUnavailable
from service.group_commit import GroupCommit
from service.tenants.models import TenantRecord


class Writer:
    """Writes tenants of these names; ``batches`` are what each transaction was asked to write."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.has_begun = asyncio.Event()
        self.fails = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def write(self, session: AsyncSession, names: Sequence[str]) -> list[str]:
        self.batches.append(list(names))
        self.has_begun.set()
        await self.may_go_on.wait()
        if self.fails:
            raise StorageUnavailable("The database is away.")
        for name in names:
            if name == "poison":
                raise LookupError(name)
            session.add(TenantRecord(id=name, name=name, created_at=now()))
        await session.flush()
        return [name.upper() for name in names]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def commit(database: Database, writer: Writer) -> GroupCommit[str, str]:
    return GroupCommit(database, writer.write)


async def stored(database: Database) -> set[str]:
    async with database.session() as session:
        return set(await session.exec(select(TenantRecord.id)))


async def test_what_comes_at_once_is_committed_together(
    database: Database, writer: Writer, commit: GroupCommit[str, str]
) -> None:
    names = [f"ten_{number:03}" for number in range(450)]
    assert await asyncio.gather(*map(commit.write, names)) == [name.upper() for name in names]
    assert await stored(database) == set(names)
    assert [name for batch in writer.batches for name in batch] == names, "in order"
    assert max(map(len, writer.batches)) <= 200
    assert len(writer.batches) <= 4


async def test_what_comes_while_a_commit_runs_is_in_the_next(writer: Writer, commit: GroupCommit[str, str]) -> None:
    writer.may_go_on.clear()
    first = asyncio.create_task(commit.write("a"))
    await writer.has_begun.wait()
    others = [asyncio.create_task(commit.write(name)) for name in "bcd"]
    await asyncio.sleep(0)
    writer.may_go_on.set()
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]
    assert writer.batches == [["a"], ["b", "c", "d"]]


async def test_an_item_that_cannot_be_written_fails_alone(
    database: Database, writer: Writer, commit: GroupCommit[str, str]
) -> None:
    await commit.write("twice")
    names = ["a", "poison", "b", "twice", "c"]
    results = await asyncio.gather(*map(commit.write, names), return_exceptions=True)
    assert results[0::2] == ["A", "B", "C"]
    assert isinstance(results[1], LookupError)
    assert isinstance(results[3], IntegrityError)
    assert await stored(database) == {"a", "b", "c", "twice"}
    assert await commit.write("later") == "LATER"


async def test_an_item_whose_writer_is_gone_is_written(
    database: Database, writer: Writer, commit: GroupCommit[str, str]
) -> None:
    writer.may_go_on.clear()
    running = [asyncio.create_task(commit.write(name)) for name in "ab"]
    await writer.has_begun.wait()
    waiting = [asyncio.create_task(commit.write(name)) for name in "cd"]
    await asyncio.sleep(0)
    for task in (running[0], waiting[0]):
        task.cancel()
    writer.may_go_on.set()
    results = await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert [str(result) for result in results[1::2]] == ["B", "D"]
    assert all(isinstance(result, asyncio.CancelledError) for result in results[0::2])
    assert await stored(database) == set("abcd")


async def test_without_a_database_all_fail_at_once_and_the_next_may_do(
    database: Database, writer: Writer, commit: GroupCommit[str, str]
) -> None:
    writer.fails = True
    results = await asyncio.gather(*(commit.write(f"ten_{number}") for number in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {StorageUnavailable}
    assert len(writer.batches) < 10, "it is not tried again for each"
    writer.fails = False
    assert await commit.write("x") == "X"
    assert await stored(database) == {"x"}


async def test_draining_waits_for_all_that_was_given(
    database: Database, writer: Writer, commit: GroupCommit[str, str]
) -> None:
    await commit.drain()
    tasks = [asyncio.create_task(commit.write(f"ten_{number}")) for number in range(300)]
    await asyncio.sleep(0)
    await commit.drain()
    assert len(await stored(database)) == 300
    await asyncio.gather(*tasks)


async def test_a_wrong_number_of_results_undoes_the_batch(database: Database) -> None:
    async def write(session: AsyncSession, names: Sequence[str]) -> list[str]:
        session.add(TenantRecord(id=names[0], name="x", created_at=now()))
        return []

    commit: GroupCommit[str, str] = GroupCommit(database, write)
    with pytest.raises(ValueError, match="results"):
        await commit.write("a")
    assert await stored(database) == set()


async def test_transactions_may_begin_apart(database: Database, writer: Writer) -> None:
    commit = GroupCommit(database, writer.write, every=60)
    assert await commit.write("first") == "FIRST"  # at once
    clock = asyncio.get_running_loop().time
    assert commit._next_at > clock()
    commit._next_at, writing = clock() + 0.2, []
    for name in ("second", "third", "fourth"):
        writing.append(asyncio.create_task(commit.write(name)))
        await asyncio.sleep(0)
    assert await asyncio.gather(*writing) == ["SECOND", "THIRD", "FOURTH"]
    assert writer.batches == [["first"], ["second", "third", "fourth"]]
    assert await stored(database) == {"first", "second", "third", "fourth"}
