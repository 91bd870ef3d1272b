"""Rows that a test holds, so that a process can be killed between its last look and its commit."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence

import asyncpg

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextlib.asynccontextmanager
async def rows_locked(url: str, table: str, ids: Sequence[str]) -> AsyncIterator["asyncio.Future[None]"]:
    """Nobody else can write these rows; the future is done once as many try to. On SQLite nobody can write anything."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield asyncio.ensure_future(asyncio.sleep(0.3))
            holder.execute("ROLLBACK")
        return
    holder = await asyncpg.connect(url)  # type: ignore[no-untyped-call]  # asyncpg has no types
    watcher = await asyncpg.connect(url)  # type: ignore[no-untyped-call]  # asyncpg has no types

    async def watch() -> None:
        while await watcher.fetchval(_WAITING) < len(ids):  # noqa: ASYNC110 - seen there only
            await asyncio.sleep(0.01)

    try:
        async with holder.transaction():
            await holder.execute(f"SELECT 1 FROM {table} WHERE id = ANY($1) FOR UPDATE", ids)
            task = asyncio.ensure_future(watch())
            yield task
            await task
    finally:
        await holder.close()
        await watcher.close()
