"""Connections to SQLite whose statements are cancelled."""

import asyncio
import gc
import random
import threading

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from service.db import Database
from tests.databases import join_sqlite_threads

SLOW = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) SELECT count(*) FROM n")


@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_statements_leave_neither_a_lock_nor_a_thread(sqlite_url: str, seed: int) -> None:
    """Also where their tracebacks are not collected, and where who closes them is cancelled as well."""
    chance = random.Random(seed)
    database = Database(sqlite_url)

    async def work(session: AsyncSession) -> None:
        await (await session.connection()).execute(SLOW)

    async def read() -> None:
        async with database.session() as session:
            await work(session)

    async def let_go_on(most: int) -> None:
        for _ in range(chance.randrange(most)):
            await asyncio.sleep(0)

    before = set(threading.enumerate())
    gc.disable()
    try:
        for _ in range(40):
            tasks = [asyncio.create_task(read()), asyncio.create_task(database.run_transaction(work))]
            await let_go_on(60)
            await asyncio.sleep(chance.choice((0, 0.004 * chance.random())))
            for _ in range(chance.choice((1, 2))):
                for task in tasks:
                    task.cancel()
                await let_go_on(4)
            await asyncio.wait(tasks)
            tasks.clear()
        async with asyncio.timeout(3):  # less than SQLite waits for a lock
            await database.run_transaction(work)
        await database.dispose()
        assert await join_sqlite_threads(before)
    finally:
        gc.enable()
