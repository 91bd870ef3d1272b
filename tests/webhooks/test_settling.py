"""What came of attempts, written down: by whoever holds the claim, once, and with what it means for the endpoint."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from service.db import Database
from service.events.models import DeliveryStatus, EndpointRecord, EndpointStatus, EventRecord
from service.journal import AuditRecord
from service.webhooks.answers import Answer, Problem
from service.webhooks.claiming import Claim, Claims
from service.webhooks.schedule import FAILING_FOR, WAITS
from service.webhooks.settling import Attempt, Fate, Settler
from tests.statements import statements
from tests.webhooks.delivering import Post

OK, BROKEN, GONE = Answer(status=200, text="ok"), Answer(status=500, text="oh"), Answer(status=410)


class Desk:
    """Claims and settles by hand."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.claims = Claims(post.database, lease_seconds=30)
        self.settler = Settler(post.database)

    async def claim(self, endpoint: EndpointRecord, count: int = 1) -> list[Claim]:
        claims = await self.claims.claim({endpoint.id: count})
        assert len(claims) == count
        return claims

    async def settle(self, claim: Claim, answer: Answer) -> Fate:
        return await self.settler.settle(Attempt(claim, answer, milliseconds=12))

    async def attempt(self, endpoint: EndpointRecord, answer: Answer) -> Fate:
        """Claim one and settle it."""
        [claim] = await self.claim(endpoint)
        return await self.settle(claim, answer)

    async def read(self, endpoint: EndpointRecord) -> EndpointRecord:
        return await self.post.endpoints.get(self.post.caller, endpoint.id)

    async def told(self, type_: str) -> list[dict[str, Any]]:
        """What events of a type tell."""
        async with self.post.database.session() as session:
            return [event.data for event in await session.exec(select(EventRecord).where(EventRecord.type == type_))]


@pytest.fixture
def desk(post: Post) -> Desk:
    return Desk(post)


async def test_a_success_is_over(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    assert await desk.attempt(endpoint, OK) is Fate.DELIVERED
    [delivery] = await post.read()
    assert (delivery.status, delivery.next_at, delivery.lease_until) == (DeliveryStatus.DELIVERED, None, None)
    assert delivery.finished_at is not None
    [attempt] = await post.attempts(delivery)
    assert (attempt.number, attempt.status, attempt.error, attempt.answer) == (1, 200, None, "ok")
    assert attempt.milliseconds == 12


async def test_failures_follow_the_schedule_to_the_end(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    for number, wait in enumerate(WAITS, 1):
        [claim] = await desk.claim(endpoint)
        assert claim.attempt == number
        assert await desk.settle(claim, BROKEN) is Fate.FAILED
        [delivery] = await post.read()
        assert delivery.status is DeliveryStatus.PENDING
        assert delivery.next_at is not None
        assert 0.89 <= (delivery.next_at - claim.clock) / wait <= 1.2
        assert await desk.claims.claim({endpoint.id: 1}) == []
        await post.pass_time(wait * 1.2)
        async with post.database.session() as session:  # the five days are another test's
            record = await session.get_one(EndpointRecord, endpoint.id)
            record.failing_since = None
            await session.commit()
    assert await desk.attempt(endpoint, BROKEN) is Fate.DEAD
    [delivery] = await post.read()
    assert (delivery.status, delivery.next_at) == (DeliveryStatus.DEAD, None)
    assert [attempt.number for attempt in await post.attempts(delivery)] == list(range(1, 11))


async def test_who_comes_too_late_changes_nothing(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    [late] = await desk.claim(endpoint)
    await post.pass_time(timedelta(seconds=31))
    [current] = await desk.claim(endpoint)
    assert await desk.settle(late, OK) is Fate.LOST
    [delivery] = await post.read()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 2)
    assert await desk.settle(current, BROKEN) is Fate.FAILED
    assert [attempt.number for attempt in await post.attempts(delivery)] == [2]


async def test_what_is_written_twice_counts_once(desk: Desk, post: Post) -> None:
    """After a commit whose answer was lost nobody knows whether it happened."""
    endpoint, _ = await post.add()
    await post.append()
    [claim] = await desk.claim(endpoint)
    assert await desk.settle(claim, BROKEN) is Fate.FAILED
    assert await desk.settle(claim, BROKEN) is Fate.LOST
    [delivery] = await post.read()
    assert len(await post.attempts(delivery)) == 1


async def test_an_endpoint_that_is_deleted_meanwhile(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    other, _ = await post.add()
    await post.append()
    [claim], [beside] = await desk.claim(endpoint), await desk.claim(other)
    await post.endpoints.delete(post.caller, endpoint.id)
    lost, delivered = await asyncio.gather(desk.settle(claim, OK), desk.settle(beside, OK))
    assert (lost, delivered) == (Fate.LOST, Fate.DELIVERED)


async def test_many_are_written_together(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 20)
    claims = await desk.claim(endpoint, 20)
    first, *others = claims
    with statements() as sent:
        fates = await asyncio.gather(*(desk.settle(claim, OK) for claim in [first, *others]))
    assert set(fates) == {Fate.DELIVERED}
    assert len(sent) <= 7


async def test_it_is_noted_since_when_an_endpoint_fails_and_why(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 4)
    await desk.attempt(endpoint, BROKEN)
    first = await desk.read(endpoint)
    assert (first.problem, first.failing_since is None) == ("500", False)
    await desk.attempt(endpoint, Answer(problem=Problem.TIMEOUT))
    second = await desk.read(endpoint)
    assert (second.problem, second.failing_since) == ("timeout", first.failing_since)
    await desk.attempt(endpoint, OK)
    third = await desk.read(endpoint)
    assert (third.problem, third.failing_since, third.status) == (None, None, EndpointStatus.ENABLED)


@pytest.mark.parametrize("problem", [Problem.INTERRUPTED, Problem.SECRET_UNREADABLE, Problem.INTERNAL])
async def test_what_went_wrong_here_is_not_the_endpoints_fault(desk: Desk, post: Post, problem: Problem) -> None:
    endpoint, _ = await post.add()
    await post.append()
    assert await desk.attempt(endpoint, Answer(problem=problem)) is Fate.FAILED
    found = await desk.read(endpoint)
    assert (found.problem, found.failing_since) == (None, None)
    [delivery] = await post.read()
    [attempt] = await post.attempts(delivery)
    assert attempt.error == problem
    is_due = await desk.claims.claim({endpoint.id: 1}) != []
    assert is_due is (problem is Problem.INTERRUPTED)


async def test_who_wants_no_more_gets_no_more(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add(name="Billing")
    watcher, _ = await post.add(types=["webhook_endpoint.*"])
    await post.append(*["issue.resolved"] * 3)
    assert await desk.attempt(endpoint, GONE) is Fate.DEAD
    found = await desk.read(endpoint)
    assert (found.status, found.disabled_reason, found.problem) == (EndpointStatus.DISABLED, "gone", "410")
    assert await desk.claims.claim({endpoint.id: 5}) == []
    said = {"endpointId": endpoint.id, "name": "Billing", "reason": "gone", "problem": "410"}
    assert await desk.told("webhook_endpoint.disabled") == [said]
    [claim] = await desk.claim(watcher)
    assert claim.event.data == said
    async with post.database.session() as session:
        entries = list(await session.exec(select(AuditRecord).where(AuditRecord.action == "webhook_endpoint.disable")))
    assert [(entry.actor, entry.details) for entry in entries] == [("service", said)]


async def test_five_days_of_nothing_but_failures_disable_an_endpoint(desk: Desk, post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 5)
    await desk.attempt(endpoint, BROKEN)
    await post.pass_time(FAILING_FOR - timedelta(minutes=1))
    await desk.attempt(endpoint, OK)
    await desk.attempt(endpoint, BROKEN)
    await post.pass_time(FAILING_FOR - timedelta(minutes=1))
    await desk.attempt(endpoint, BROKEN)
    assert (await desk.read(endpoint)).status is EndpointStatus.ENABLED
    await post.pass_time(timedelta(minutes=1))
    await desk.attempt(endpoint, Answer(problem=Problem.UNREACHABLE))
    found = await desk.read(endpoint)
    assert (found.status, found.disabled_reason, found.problem) == (EndpointStatus.DISABLED, "failing", "unreachable")
    assert len(await desk.told("webhook_endpoint.disabled")) == 1


async def test_an_endpoint_is_disabled_once_however_many_say_so(desk: Desk, post: Post, database_url: str) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 8)
    claims = await desk.claim(endpoint, 8)
    replicas = [Database(database_url) for _ in range(3)]
    settlers = [Settler(replica) for replica in replicas]
    attempts = [Attempt(claim, GONE, milliseconds=1) for claim in claims]
    fates = await asyncio.gather(*(settlers[number % 3].settle(attempt) for number, attempt in enumerate(attempts)))
    for replica in replicas:
        await replica.dispose()
    assert set(fates) == {Fate.DEAD}
    assert len(await desk.told("webhook_endpoint.disabled")) == 1
