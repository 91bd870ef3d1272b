"""The database goes away amid a delivery, and comes back: what came of it is written down all the same."""

import asyncio
from pathlib import Path

from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.events.models import DeliveryStatus
from service.webhooks.settling import Fate
from tests.connections.factory import add_tenant
from tests.databases import PostgresServer
from tests.faults.replicas import until
from tests.scale import scaled
from tests.sentry.upstream import Request, answer, serve
from tests.webhooks.delivering import Post

RESTARTS = scaled(test=1, soak=20)


async def test_what_was_sent_while_the_database_was_away_is_not_sent_again(
    crashing_postgres: PostgresServer, tmp_path: Path
) -> None:
    database = Database(crashing_postgres.url("migrated"))
    vault = Vault(Keyring.init(tmp_path / "keyring.json"))
    post = Post(database, vault, await add_tenant(database, "ten_1"))
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def receive(_: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await goes_on.wait()
        writer.write(answer(b"", headers={"Connection": "close"}))

    async with serve(receive) as receiver:
        await post.add(receiver)
        async with post.worker() as worker:
            for number in range(1, RESTARTS + 1):
                arrived.clear()
                goes_on.clear()
                await post.append()
                await arrived.wait()
                await asyncio.to_thread(crashing_postgres.stop)
                goes_on.set()
                await asyncio.to_thread(crashing_postgres.start)
                await until(lambda: len(worker.seen.outcomes) == number)  # noqa: B023 - awaited here
        assert set(worker.seen.outcomes) == {Fate.DELIVERED}
        assert {(each.status, each.attempts) for each in await post.read()} == {(DeliveryStatus.DELIVERED, 1)}
        assert len(receiver.requests) == RESTARTS
    await database.dispose()
