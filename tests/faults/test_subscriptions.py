"""Subscribers of real `serve` processes: what one process commits reaches those of another, whatever goes down."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from service.db import Database
from service.events.append import NewEvent, append_events
from service.tenants.store import TenantStore
from tests.faults.replicas import TENANT
from tests.scale import scaled
from tests.serving import free_port
from tests.streaming import EventSource, Socket, connect_socket, subscribe_by_sse

EVENTS = 'subscription Events($after: ID) { events(types: ["test.*"], after: $after) { id type } }'


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.dispose()


class Log:
    """Commits events, from a process of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers = itertools.count()
        self.ids: list[str] = []

    async def append(self, number: int = 1) -> list[str]:
        events = [NewEvent(TENANT, f"test.{next(self._numbers)}") for _ in range(number)]
        records = await self._database.run_transaction(lambda session: append_events(session, events))
        self.ids += [record.id for record in records]
        return [record.id for record in records]


async def read(subscriber: EventSource | Socket, number: int) -> list[str]:
    payloads = [await subscriber.payload() for _ in range(number)]
    return [payload["data"]["events"]["id"] for payload in payloads]


async def kill_listeners(url: str) -> None:
    connection = await asyncpg.connect(url)  # type: ignore[no-untyped-call]  # no types
    try:
        killed = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE '%listener'"
        )
        assert len(killed) == 2
    finally:
        await connection.close()


async def test_nothing_is_missed_while_listeners_and_a_replica_go_down_until_the_key_is_revoked(postgres_service):
    service = postgres_service
    url = str(service.settings["database_url"])
    ports = [free_port(), free_port()]
    async with (
        opened(url) as database,
        service.replica(ports[0]) as first,
        service.replica(ports[1]),
        subscribe_by_sse(ports[1], EVENTS, key=service.key) as stays,
    ):
        log = Log(database)
        await log.append()
        assert await read(stays, 1) == log.ids
        async with connect_socket(ports[0], key=service.key) as goes:
            await goes.subscribe("1", EVENTS, after=log.ids[0])
            for _ in range(scaled(test=1, soak=10)):
                await kill_listeners(url)
                added = await log.append(3)
                assert await read(goes, 3) == await read(stays, 3) == added
            first.terminate()
            assert (await goes.closed())[0] == 1012
            assert await first.wait_until_ended() == 0
        last = log.ids[-1]
        await log.append(2)  # while nobody has it
        async with connect_socket(ports[1], key=service.key) as again:
            await again.subscribe("1", EVENTS, after=last)
            await log.append(2)
            assert await read(again, 4) == await read(stays, 4) == log.ids[-4:]

            tenants = TenantStore(database)
            (key,) = await tenants.list_keys(TENANT)
            await tenants.revoke_key(TENANT, key.id)
            async with asyncio.timeout(15):
                (error,) = (await again.receive())["payload"]
                assert error["extensions"]["code"] == "UNAUTHENTICATED"
                assert (await again.closed())[0] == 4403
                (error,) = (await stays.payload())["errors"]
                assert error["extensions"]["code"] == "UNAUTHENTICATED"
                assert await stays.end() == "complete"


async def test_a_stream_just_ends_when_its_process_stops(sqlite_service):
    """So that its client connects again: `complete` would mean that there is nothing more to come."""
    port = free_port()
    async with (
        sqlite_service.replica(port, shutdown_seconds=60) as replica,
        subscribe_by_sse(port, EVENTS, key=sqlite_service.key) as stream,
    ):
        replica.terminate()
        assert await stream.end() == ""
        assert await replica.wait_until_ended() == 0
