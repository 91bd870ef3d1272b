"""PostgreSQL crashes and starts again while webhooks come: a 2xx is never false, and what was missed is made up for."""

import asyncio
from datetime import timedelta
from pathlib import Path

from service.columns import now
from service.connections.repair_models import RepairRecord
from tests.databases import PostgresServer
from tests.faults.receiving import Post, prepare_receiving
from tests.faults.replicas import until
from tests.scale import scaled

SENDERS = 8
PROGRESS = 20
"""Webhooks that are acknowledged before and after each crash."""


async def test_nothing_but_2xx_or_503_and_nothing_acknowledged_is_lost(
    crashing_postgres: PostgresServer, tmp_path: Path
):
    async with prepare_receiving(crashing_postgres.url("migrated"), tmp_path) as post:
        sender, is_over = post.sender, False
        service = await post.nursery.start()

        async def send_on() -> None:
            while not is_over:
                body = sender.waiting.pop() if sender.waiting else sender.fresh()
                if await sender.send(body) != 200:
                    await asyncio.sleep(0.02)

        async def wait_for_progress() -> None:
            goal = len(sender.acknowledged) + PROGRESS
            await until(lambda: len(sender.acknowledged) >= goal)

        senders = [asyncio.create_task(send_on()) for _ in range(SENDERS)]
        for _ in range(scaled(test=2, soak=20)):
            await wait_for_progress()
            await plan_repair(post)
            await asyncio.to_thread(crashing_postgres.stop)
            refused = sender.statuses[503]
            await until(lambda: sender.statuses[503] >= refused + SENDERS)  # noqa: B023 - awaited here
            await asyncio.to_thread(crashing_postgres.start)
            await wait_for_progress()
            await until(post.rows.is_due)
        is_over = True
        await asyncio.gather(*senders)
        await sender.send_again()
        await post.nursery.stop(service)
        assert set(sender.statuses) == {200, 503}
        assert sender.acknowledged == set(sender.sent)
        await post.rows.check(sender)


async def plan_repair(post: Post) -> None:
    """Let the connection be compared with Sentry in an hour, where nothing happens."""
    async with post.rows.database.session() as session:
        later = now() + timedelta(hours=1)
        await session.merge(RepairRecord(connection_id=post.rows.connection_id, tenant_id="ten_1", next_at=later))
        await session.commit()
