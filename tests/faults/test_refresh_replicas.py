"""A token that dies under everybody's hands: Sentry is asked for a new one once, however many ask us.

On PostgreSQL the callers ask real `serve` processes over HTTP, through the streaming proxy, where no two calls are ever
made one: each is refused by Sentry and wants a new token for itself. On SQLite, which one process serves, they are
tasks inside of one.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from service.connections.cache import Linked
from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.sandbox.app import Sandbox
from service.sentry.origin import Origin
from tests.connections.factory import add_tenant
from tests.connections.refreshable import Bench
from tests.faults.refreshing import prepare_refreshing
from tests.faults.replicas import Replica
from tests.scale import scaled
from tests.serving import free_port

PROCESSES = scaled(test=2, soak=4)
CALLERS = scaled(test=25, soak=250)
TASKS = scaled(test=100, soak=1000)
ROUNDS = scaled(test=3, soak=25)


async def call(http: aiohttp.ClientSession, replica: Replica, linked: Linked, number: int) -> int:
    """The status of the answer to a call through the streaming proxy, over a connection of its own."""
    path = f"/proxy/{linked.connection.id}/api/0/organizations/{linked.connection.organization_slug}/projects/"
    headers = {"authorization": replica.http.headers["authorization"]}
    url = str(replica.http.base_url).rstrip("/") + path
    async with http.get(url, params={"query": str(number)}, headers=headers) as answer:
        await answer.read()
        return answer.status


async def kill_token(bench: Bench, linked: Linked) -> None:
    bench.sandbox.requests.clear()
    bench.sandbox.expire((await bench.tokens(linked))[0])


async def check_round(bench: Bench, linked: Linked, number: int, statuses: list[int]) -> None:
    """Everybody was served, by one new token, for which Sentry was asked once."""
    assert set(statuses) == {200}
    assert bench.asked() == 1
    assert sum(bench.sandbox.world.issued.values()) == number + 1
    assert await bench.works(linked)
    assert await bench.intents() == []
    assert await bench.events(linked) == []


async def test_replicas_refresh_once_for_all_their_callers(postgres_url: str, tmp_path: Path, sandbox: Sandbox):
    async with AsyncExitStack() as stack:
        preparing = prepare_refreshing(postgres_url, tmp_path, sandbox, upstream_deadline=60)
        given = await stack.enter_async_context(preparing)
        bench = given.bench
        starting = [stack.enter_async_context(given.service.replica(free_port())) for _ in range(PROCESSES)]
        replicas = await asyncio.gather(*starting)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        accounts = [await bench.link_oauth(), await bench.link_app()]
        for number in range(ROUNDS):
            linked = accounts[number % len(accounts)]
            await kill_token(bench, linked)
            calls = [call(http, replica, linked, caller) for caller in range(CALLERS) for replica in replicas]
            await check_round(bench, linked, number, await asyncio.gather(*calls))
        versions = sum([await bench.version(each) for each in accounts])
        assert versions == ROUNDS + len(accounts)


async def test_tasks_refresh_once_for_all_of_them(sqlite_url: str, tmp_path: Path, sandbox: Sandbox):
    database = Database(sqlite_url)
    vault = Vault(Keyring.init(tmp_path / "keyring.json"))
    bench = Bench(database, sandbox, vault, await add_tenant(database, "ten_1"), Origin.parse(sandbox.url))
    replica = bench.replica(deadline=60)
    accounts = [await bench.link_oauth(), await bench.link_app()]
    async with replica.refresher.running():
        for number in range(ROUNDS):
            linked = accounts[number % len(accounts)]
            assert await bench.call(replica, linked) == 200  # what was just changed is in the cache again
            await kill_token(bench, linked)
            calls = [bench.call(replica, linked, task) for task in range(TASKS)]
            await check_round(bench, linked, number, await asyncio.gather(*calls))
    await bench.aclose()
    await database.dispose()
