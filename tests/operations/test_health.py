import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from service.db import Database
from service.errors import StorageUnavailable
from service.operations.health import ReadinessProbe, check_disk, create_health_routes, remember


class Counted:
    """A check that counts its runs; ``error`` is what it raises, ``gate`` what it waits for."""

    def __init__(self, error: Exception | None = None, gate: asyncio.Event | None = None) -> None:
        self.error = error
        self.gate = gate
        self.runs = 0
        self.begun = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        self.begun.set()
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error


def serve(probe: ReadinessProbe) -> httpx.AsyncClient:
    app = Starlette(routes=create_health_routes(probe, version="1.2.3"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test")


async def test_health_needs_no_check():
    check = Counted(StorageUnavailable("gone"))
    async with serve(ReadinessProbe({"database": check})) as http:
        answer = await http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive", "version": "1.2.3"})
    assert check.runs == 0


async def test_ready_where_all_checks_pass():
    async with serve(ReadinessProbe({"database": Counted(), "keys": Counted()})) as http:
        answer = await http.get("/ready")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"status": "ready", "checks": {"database": {"status": "ok"}, "keys": {"status": "ok"}}}


async def test_one_failing_check_is_enough_and_says_why():
    probe = ReadinessProbe({"database": Counted(StorageUnavailable("The disk is full.")), "keys": Counted()})
    async with serve(probe) as http:
        answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unready",
        "checks": {"database": {"status": "failed", "reason": "The disk is full."}, "keys": {"status": "ok"}},
    }


async def test_an_unforeseen_error_is_logged_and_not_shown(start_logging):
    stream = start_logging()
    probe = ReadinessProbe({"keys": Counted(RuntimeError("at /secret/path"))})
    async with serve(probe) as http:
        answer = await http.get("/ready")
    assert answer.json()["checks"] == {"keys": {"status": "failed", "reason": "failed; see the log"}}
    assert "RuntimeError: at /secret/path" in stream.getvalue()


async def test_a_check_that_hangs_fails():
    probe = ReadinessProbe({"database": Counted(gate=asyncio.Event())}, seconds=0.01)
    async with serve(probe) as http:
        answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": {"status": "failed", "reason": "no answer within 0.01 s"}}


async def test_draining_is_not_ready_but_alive():
    probe = ReadinessProbe({"database": Counted()})
    probe.drain()
    async with serve(probe) as http:
        ready, health = await http.get("/ready"), await http.get("/health")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert health.status_code == 200


async def test_many_who_ask_at_once_run_the_checks_once():
    gate = asyncio.Event()
    check = Counted(gate=gate)
    async with serve(ReadinessProbe({"database": check})) as http:
        asked = [asyncio.create_task(http.get("/ready")) for _ in range(20)]
        await check.begun.wait()
        gate.set()
        answers = await asyncio.gather(*asked)
        later = await http.get("/ready")
    assert {answer.status_code for answer in [*answers, later]} == {200}
    assert check.runs == 1


async def test_a_costly_check_that_passed_is_not_run_again_for_a_while():
    check = Counted()
    remembered = remember(check, seconds=60)
    await remembered()
    await remembered()
    assert check.runs == 1


async def test_a_costly_check_that_failed_is_run_again_at_once():
    check = Counted(StorageUnavailable("gone"))
    remembered = remember(check, seconds=60)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await remembered()
    check.error = None
    await remembered()
    assert check.runs == 3


@pytest.mark.parametrize(("free", "is_enough"), [(None, True), (1000, True), (999, False)])
async def test_the_disk_needs_room(free, is_enough):
    check = check_disk(lambda: free, 1000)
    if is_enough:
        await check()
    else:
        with pytest.raises(StorageUnavailable, match="999 bytes free"):
            await check()


async def test_a_real_database_is_ready_until_it_is_gone(database: Database):
    probe = ReadinessProbe({"database": database.ping, "disk": check_disk(database.free_bytes, 1)})
    assert (await probe.look()).is_ready


async def test_a_stopped_database_is_not_ready(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/missing/graph.db")
    probe = ReadinessProbe({"database": database.ping})
    found = await probe.look()
    await database.dispose()
    assert not found.is_ready
    assert str(tmp_path) not in str(found.findings)
