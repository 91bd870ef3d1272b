"""`kill -9` while webhooks are taken: what was acknowledged is stored, and what is sent again is marked as a repeat."""

import asyncio
import contextlib
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.faults.receiving import Post, prepare_receiving
from tests.faults.receiving_child import AFTER_ANSWER, BEFORE_COMMIT, POINTS
from tests.scale import scaled

KILLS = scaled(test=6, soak=1000)
"""On each engine."""
BESIDE = 3
"""Webhooks that come at the same time as the one that is killed at."""


async def kill_at(point: str, post: Post) -> None:
    """Start a service, send to it, and have it killed at a point that one of the webhooks comes to."""
    sender, marked = post.sender, post.sender.fresh()
    await post.nursery.start()
    await sender.send_again()

    async def crash() -> None:
        while await sender.send(marked, point) == 503:  # on a busy machine
            pass

    beside = [sender.send(sender.fresh()) for _ in range(BESIDE)]
    tasks = [asyncio.create_task(each) for each in (*beside, crash())]
    async with asyncio.timeout(60):
        assert await post.nursery.ended() == -signal.SIGKILL
    # What was answered is there; a connection that was never accepted waits for the next service.
    _, stuck = await asyncio.wait(tasks, timeout=0.2)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (marked in sender.acknowledged) == (point == AFTER_ANSWER)
    assert (await post.rows.count(marked) > 0) == (point != BEFORE_COMMIT)


@pytest.mark.parametrize("database_url", ["sqlite_url", "postgres_url"], indirect=True)
async def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice_unmarked(database_url: str, tmp_path: Path):
    async with prepare_receiving(database_url, tmp_path) as post:
        for number in range(KILLS):
            await kill_at(POINTS[number % len(POINTS)], post)
        service = await post.nursery.start()
        await post.sender.send_again()
        await post.nursery.stop(service)
        assert post.sender.acknowledged == set(post.sender.sent)
        assert set(post.sender.statuses) <= {200, 503}
        await post.rows.check(post.sender)
    if database_url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
