"""`serve` killed with -9 amid a refresh: each connection is refreshed or says that it needs a new link, soon.

Nothing in the product helps to hit the points. A relay before Sentry holds the request (it was claimed, and nothing
has arrived), or keeps the answer (Sentry has rotated), or lets the answer through while the test holds the lock that
storing it needs (it is about to be committed).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from service.connections.cache import Linked
from service.connections.models import ConnectionProblem, ConnectionStatus
from service.sandbox.app import Sandbox
from tests.faults.locks import rows_locked
from tests.faults.refreshing import Refreshing, prepare_refreshing
from tests.faults.relay import Relay, Stop
from tests.faults.replicas import Replica
from tests.scale import scaled
from tests.serving import free_port

Point = Literal["before it is sent", "after Sentry rotated", "before it is committed"]

POINTS: tuple[Point, ...] = ("before it is sent", "after Sentry rotated", "before it is committed")
KILLS = scaled(test=1, soak=17)
"""At each point, on each engine: 102 in all in the soak."""
ORGANIZATIONS = ("lumen-labs", "northwind-rail", "paper-boat")
DEADLINE = 4
WITHIN = 60.0


@dataclass
class Wounded:
    """A connection whose refresh a kill broke off. ``healed`` is how long it took, in seconds.

    ``is_again``: it was not healed yet at the next kill, which may have broken off what would have healed it.
    """

    linked: Linked
    version: int
    point: Point
    killed: float
    healed: float | None = None
    is_again: bool = False
    outcome: str = ""


@dataclass
class Ward:
    """Watches the wounded until each is refreshed or has said that it needs a new link."""

    given: Refreshing
    wounded: list[Wounded] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async def watch() -> None:
            while True:
                for each in self.wounded:
                    await self._look(each)
                await asyncio.sleep(0.2)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _look(self, each: Wounded) -> None:
        if each.healed is not None:
            return
        bench = self.given.bench
        found = await bench.read(each.linked.connection.id)
        status, problem = found.connection.status, found.connection.problem
        if status is ConnectionStatus.ACTIVE and found.credential and found.credential.version > each.version:
            if not await bench.works(each.linked):
                return
            each.outcome = "refreshed"
        elif status is ConnectionStatus.NEEDS_REAUTH:
            events = await bench.events(each.linked)
            assert events[-1:] == [("connection.needs_reauth", problem and problem.value)]
            assert problem is ConnectionProblem.REFRESH_LOST
            each.outcome = "needs a new link"
        else:
            return
        each.healed = time.monotonic() - each.killed

    async def until_healed(self, *connection_ids: str) -> None:
        """Of these connections, or of all; those that are not after a minute and a half are silently dead."""
        ends = time.monotonic() + 1.5 * WITHIN
        while any(
            each.healed is None and (not connection_ids or each.linked.connection.id in connection_ids)
            for each in self.wounded
        ):
            assert time.monotonic() < ends, [each for each in self.wounded if each.healed is None]
            await asyncio.sleep(0.05)


async def find_mark(given: Refreshing, linked: Linked) -> str:
    """What only the request for this connection's new tokens holds."""
    if linked.connection.installation_id is not None:
        return f"{linked.connection.installation_id}/authorizations/"
    refresh_token = (await given.bench.tokens(linked))[1]
    assert refresh_token is not None
    return refresh_token


async def kill_at(point: Point, given: Refreshing, relay: Relay, replica: Replica, linked: list[Linked]) -> None:
    """Have them refreshed, and kill the process when all have come to the point."""
    old = [(await given.bench.tokens(each))[0] for each in linked]
    stops: list[Stop] = []
    for each, token in zip(linked, old, strict=True):
        stops.append(relay.stop(await find_mark(given, each), keeps_answer=point == "after Sentry rotated"))
        given.bench.sandbox.expire(token)
    calls = [asyncio.create_task(given.call(replica, each)) for each in linked]
    async with asyncio.timeout(20):
        await asyncio.gather(*(stop.arrived.wait() for stop in stops))
    tokens = given.bench.sandbox.world.tokens
    async with contextlib.AsyncExitStack() as stack:
        if point == "before it is committed":
            url, ids = given.service.settings["database_url"], [each.connection.id for each in linked]
            is_tried = await stack.enter_async_context(rows_locked(url, "connections", ids))
        if point != "before it is sent":
            for stop in stops:
                stop.passes.set()
            await asyncio.gather(*(stop.answered.wait() for stop in stops))
            assert not set(old) & set(tokens)
        if point == "before it is committed":
            async with asyncio.timeout(5):
                await is_tried
        assert replica.process.returncode is None
        replica.process.kill()
        await replica.process.wait()
    if point == "before it is sent":
        assert set(old) <= set(tokens)
        for stop in stops:
            stop.drop()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("database_url", ["sqlite_url", "postgres_url"], indirect=True)
async def test_no_connection_is_silently_dead(database_url: str, tmp_path: Path, sandbox: Sandbox):
    async with (
        Relay(sandbox.url).running() as relay,
        prepare_refreshing(database_url, tmp_path, sandbox, relay.url, upstream_deadline=DEADLINE) as given,
    ):
        bench, ward = given.bench, Ward(given)
        apps = [await bench.link_app(organization) for organization in ORGANIZATIONS]
        async with ward.watching():
            for number in range(KILLS * len(POINTS)):
                point = POINTS[number % len(POINTS)]
                async with given.service.replica(free_port()) as replica:
                    app = apps[(number + number // len(POINTS)) % len(apps)]  # each comes to each point
                    await ward.until_healed(app.connection.id)
                    linked = [await bench.link_oauth(), await bench.read(app.connection.id)]
                    await kill_at(point, given, relay, replica, linked)
                for wounded in ward.wounded:
                    wounded.is_again |= wounded.healed is None
                for each in linked:
                    assert each.credential is not None
                    ward.wounded.append(Wounded(each, each.credential.version, point, time.monotonic()))
            async with given.service.replica(free_port()) as replica:
                await ward.until_healed()
                for app in apps:
                    assert await given.call(replica, app) == 200

        took = [each.healed for each in ward.wounded if each.healed is not None]
        assert len(took) == len(ward.wounded) == KILLS * len(POINTS) * 2
        assert max(took) < WITHIN, sorted(took)
        for wounded in ward.wounded:
            is_app = wounded.linked.connection.installation_id is not None
            is_expected = not is_app and wounded.point != "before it is sent"
            is_lost = wounded.outcome == "needs a new link"
            assert is_lost == is_expected or (wounded.is_again and not is_app), wounded
