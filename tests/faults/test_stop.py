"""SIGTERM to real `serve` processes: what runs is finished, what comes goes elsewhere, nothing is lost."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest
from sqlmodel import select

from service.db import Database
from service.sandbox.faults import Delay
from service.tenants.models import ApiKeyRecord
from tests.faults.replicas import CHEAP, USERS, Replica, until
from tests.scale import scaled
from tests.serving import NO_TLS, free_port


async def test_a_running_request_is_finished_and_everything_closed(sqlite_service, sandbox, tmp_path):
    sandbox.faults.add(Delay(path="members", seconds=1.0))
    async with sqlite_service.replica(free_port()) as replica:
        running = asyncio.create_task(replica.ask(USERS))
        await until(lambda: sandbox.count("GET", "members") > 0)
        replica.terminate()

        answer = await running

        assert answer.json()["data"]["users"]["failures"] == []
        assert len(answer.json()["data"]["users"]["edges"]) == 1
        assert await replica.wait_until_ended() == 0

    [line] = [line for line in replica.log if line["event"] == "request"]
    assert (line["route"], line["operation"], line["status"]) == ("/graphql", "query Users", 200)
    assert line["request_id"] == answer.headers["x-request-id"]
    # SQLite removes its log when the last connection is closed properly; and the key's use was written before.
    assert not (tmp_path / "test.db-wal").exists()
    database = Database(sqlite_service.settings["database_url"])
    async with database.session() as session:
        assert (await session.exec(select(ApiKeyRecord.last_used_at))).one() is not None
    await database.dispose()


async def test_while_it_drains_it_serves_but_says_that_it_is_going_until_a_second_signal(sqlite_service):
    async with sqlite_service.replica(free_port(), drain_seconds=600) as replica:
        replica.terminate()
        await until(replica.is_unready)

        ready, answer = await replica.http.get("/ready"), await replica.ask(CHEAP)

        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        replica.terminate()
        assert await replica.wait_until_ended() == 0
        with pytest.raises(httpx.ConnectError):
            await replica.ask(CHEAP)


async def test_a_request_that_never_ends_is_cut_off_after_the_grace_period(sqlite_service, sandbox):
    sandbox.faults.add(Delay(path="members", seconds=8))
    async with sqlite_service.replica(free_port(), shutdown_seconds=1) as replica:
        running = asyncio.create_task(replica.ask(USERS))
        await until(lambda: sandbox.count("GET", "members") > 0)
        replica.terminate()

        assert await replica.wait_until_ended() == 0
        assert (await running).status_code == 500


class Balancer:
    """Sends requests to replicas in turn, to those that were ready when it last looked; each must be answered."""

    def __init__(self, ports: list[int], key: str) -> None:
        self._ready: dict[int, bool] = dict.fromkeys(ports, True)
        self._key = key
        self.answered = dict.fromkeys(ports, 0)
        self.lost: list[str] = []

    def has_answered(self, port: int, count: int) -> bool:
        return self.answered[port] >= count

    async def probe(self, port: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as http:
            while True:
                try:
                    self._ready[port] = (await http.get("/ready")).status_code == 200
                except httpx.TransportError:
                    self._ready[port] = False
                await asyncio.sleep(0.1)

    async def send(self, stack: AsyncExitStack) -> None:
        headers = {"authorization": f"Bearer {self._key}"}
        clients = {
            port: await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, verify=NO_TLS)
            )
            for port in self._ready
        }
        while True:
            for port, http in clients.items():
                if self._ready[port]:
                    await self._send_one(port, http)
                await asyncio.sleep(0.01)

    async def _send_one(self, port: int, http: httpx.AsyncClient) -> None:
        try:
            answer = await http.post("/graphql", json={"query": CHEAP})
        except httpx.TransportError as error:
            self.lost.append(f"{port}: {error!r}")
        else:
            if answer.status_code == 200 and "errors" not in answer.json():
                self.answered[port] += 1
            else:
                self.lost.append(f"{port}: {answer.status_code} {answer.text[:200]}")


async def test_a_rolling_restart_loses_no_request(postgres_service):
    ports = [free_port(), free_port()]
    balancer = Balancer(ports, postgres_service.key)
    async with AsyncExitStack() as stack:

        async def start(port: int) -> Replica:
            return await stack.enter_async_context(postgres_service.replica(port, drain_seconds=1.5))

        replicas = {port: await start(port) for port in ports}
        load = [asyncio.create_task(balancer.probe(port)) for port in ports]
        load += [asyncio.create_task(balancer.send(stack)) for _ in range(4)]

        for _ in range(scaled(test=1, soak=10)):
            for port in ports:
                answered = balancer.answered[port]
                replicas[port].terminate()
                assert await replicas[port].wait_until_ended() == 0
                replicas[port] = await start(port)
                await until(partial(balancer.has_answered, port, answered + 20))

        for task in load:
            task.cancel()
        ended = await asyncio.gather(*load, return_exceptions=True)

    assert balancer.lost == []
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
