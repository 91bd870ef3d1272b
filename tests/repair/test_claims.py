"""Who looks at which connection: one worker at a time, whose writing ends when another takes over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service.columns import now
from service.repair.comparing import Findings, Superseded
from service.sandbox.faults import Delay
from service.sandbox.world import DEMO_TOKENS
from service.sentry.issues import fetch_issues
from tests.repair.yard import ORGANIZATION, Yard


async def test_a_new_connection_is_due_at_once_and_enrolled_once(yard: Yard):
    assert await yard.worker.claims.take() is None
    await asyncio.gather(*(yard.build_worker().claims.enroll() for _ in range(4)))
    claim = await yard.worker.claims.take()
    assert claim is not None
    assert (claim.connection_id, claim.number, claim.polled_at) == (yard.linked.connection.id, 1, None)


async def test_one_worker_has_it_until_its_lease_is_over(yard: Yard):
    await yard.worker.claims.enroll()
    first = await yard.worker.claims.take()
    other = yard.build_worker()
    assert await other.claims.take() is None
    await yard.pass_time(timedelta(seconds=31))
    second = await other.claims.take()
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)


async def test_a_worker_whose_claim_is_over_writes_nothing(yard: Yard):
    await yard.look()
    await yard.change(yard.issue("unresolved"), status="resolved")
    await yard.look()
    await yard.pass_time(timedelta(minutes=10))
    slow = await yard.worker.claims.take()
    assert slow is not None
    page = await fetch_issues(yard.worker.replica.client, await yard.bench.account(yard.worker.replica, yard.linked))
    await yard.pass_time(timedelta(seconds=31))
    fast = await yard.build_worker().claims.take()
    assert fast is not None
    before = await yard.repair(), await yard.snapshots()
    comparison = yard.worker.comparison
    for attempt in (
        comparison.catch_up(slow),
        comparison.compare(slow, page.items, Findings()),
        comparison.conclude(slow, Findings()),
    ):
        with pytest.raises(Superseded):
            await attempt
    for end in (yard.worker.claims.give_up, yard.worker.claims.postpone, yard.worker.claims.release):
        await end(slow)
    assert (await yard.repair(), await yard.snapshots()) == before
    assert await yard.told() == []
    await comparison.compare(fast, page.items, Findings())
    assert [type_ for type_, *_ in await yard.told()] == ["issue.resolved"]


async def test_a_look_that_is_overtaken_ends_without_a_word(yard: Yard):
    await yard.look()
    await yard.pass_time(timedelta(minutes=10))
    claim = await yard.worker.claims.take()
    assert claim is not None
    await yard.worker.repairer._look(replace(claim, number=claim.number - 1))
    assert yard.worker.seen[-1] == ("superseded", [])
    assert (await yard.repair()).claim == claim.number


async def test_an_unlinked_connection_is_written_nothing_of(yard: Yard):
    await yard.look()
    await yard.pass_time(timedelta(minutes=10))
    claim = await yard.worker.claims.take()
    assert claim is not None
    await yard.worker.replica.store.unlink(yard.bench.admin, yard.linked.connection.id)
    with pytest.raises(Superseded):
        await yard.worker.comparison.conclude(claim, Findings())
    await yard.pass_time(timedelta(minutes=10))
    assert await yard.worker.claims.take() is None


async def test_of_many_workers_one_looks(yard: Yard):
    await yard.look()
    await yard.change(yard.issue("unresolved"), status="resolved")
    await yard.look()
    await yard.pass_time(timedelta(minutes=10))
    count = 4 if yard.database.dialect == "postgresql" else 1  # SQLite has one process
    workers = [yard.build_worker() for _ in range(count)]
    yard.sandbox.requests.clear()
    await asyncio.gather(*(worker.repairer.sweep() for worker in workers))
    assert [each for worker in workers for each in worker.seen] == [("compared", ["issue.resolved"])]
    assert yard.sandbox.count("GET", "/issues/") == 1


async def test_one_connection_of_a_tenant_at_a_sentry_is_looked_at_at_a_time(yard: Yard):
    for _ in range(3):
        await yard.bench.link_pasted(DEMO_TOKENS.admin, organization=ORGANIZATION, expires_in=None)
    await yard.worker.claims.enroll()
    assert await yard.worker.claims.take() is not None
    assert await yard.build_worker().claims.take() is None
    await yard.pass_time(timedelta(minutes=1))
    await yard.worker.repairer.sweep()
    assert [outcome for outcome, _ in yard.worker.seen] == ["took_stock"] * 4


async def test_a_look_that_is_broken_off_is_due_at_once(yard: Yard):
    await yard.look()
    await yard.edit(next_at=now() - timedelta(seconds=1))
    yard.sandbox.faults.add(Delay(path="/issues/", seconds=5))
    yard.sandbox.requests.clear()
    async with yard.worker.repairer.running():
        async with asyncio.timeout(10):
            while not yard.sandbox.count("GET", "/issues/"):  # noqa: ASYNC110 - seen in another thread only
                await asyncio.sleep(0.01)
    yard.sandbox.faults.clear()
    assert yard.worker.seen[-1] == ("cancelled", [])
    repair = await yard.repair()
    assert repair.lease_until is None
    assert repair.next_at <= now()


async def test_what_a_process_left_is_taken_up(yard: Yard):
    """SQLite's one process ends the leases of the one before; on PostgreSQL they end by themselves."""
    await yard.worker.claims.enroll()
    assert await yard.worker.claims.take() is not None
    after = yard.build_worker()
    await after.claims.end_leases()
    if yard.database.dialect == "postgresql":
        assert await after.claims.take() is None
        await yard.pass_time(timedelta(seconds=31))
    await after.repairer.sweep()
    assert [outcome for outcome, _ in after.seen] == ["took_stock"]
