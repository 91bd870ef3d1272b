"""The worker, with real receivers on loopback: what is committed arrives, and nobody waits for anybody else."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import update
from sqlmodel import col

from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.events.models import DeliveryStatus, EndpointPayload, EndpointRecord, EndpointStatus
from service.webhooks.answers import Problem
from service.webhooks.endpoint_rules import EndpointChange
from service.webhooks.places import OF_TENANT, OF_UNKNOWN
from service.webhooks.settling import Fate
from tests.connections.factory import add_connection, add_tenant
from tests.faults.replicas import until
from tests.sentry.upstream import Request, Upstream, answer, serve
from tests.statements import statements
from tests.webhooks.delivering import HOOK, Post

OK = answer(b"thanks", headers={"Connection": "close"})


def verify(secret: str, request: Request) -> Any:
    """The body, as a receiver takes it."""
    return standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


def ids(receiver: Upstream) -> list[str]:
    return [dict(request.headers)["webhook-id"] for request in receiver.requests]


async def never_answer(_: Request, __: Any) -> None:
    await asyncio.sleep(600)


async def test_what_is_committed_arrives_signed(post: Post) -> None:
    async with serve(OK) as receiver:
        _, secret = await post.add(receiver)
        async with post.worker() as worker:
            [event] = await post.append()
            await until(lambda: worker.seen.outcomes == [Fate.DELIVERED])
    [request] = receiver.requests
    body = verify(secret, request)
    assert (body["id"], body["type"], body["sequence"]) == (event.id, "issue.resolved", 1)
    assert body["data"] == json.loads(HOOK)
    assert dict(request.headers)["sentry-graph-attempt"] == "1"
    [delivery] = await post.read()
    assert delivery.status is DeliveryStatus.DELIVERED


async def test_sentrys_body_arrives_byte_by_byte(post: Post) -> None:
    body, headers = b'{ "action":"x",\n"data":{} }', {"sentry-hook-resource": "issue", "request-id": "a" * 32}
    async with serve(OK) as receiver:
        _, secret = await post.add(receiver, payload=EndpointPayload.SENTRY)
        async with post.worker() as worker:
            await post.append(body=body, headers=headers)
            await until(lambda: worker.seen.outcomes == [Fate.DELIVERED])
    [request] = receiver.requests
    assert request.body == body
    assert dict(request.headers).items() >= headers.items()
    verify(secret, request)


async def test_what_was_left_is_found_without_being_told(post: Post) -> None:
    async with serve(OK) as receiver:
        await post.add(receiver)
        events = await post.append(*["issue.resolved"] * 40)
        async with post.worker() as worker:
            await until(lambda: len(worker.seen.outcomes) == 40)
    assert Counter(ids(receiver)) == Counter(event.id for event in events)


async def test_what_failed_is_sent_again_with_the_same_id_and_a_higher_attempt(post: Post) -> None:
    answers = [answer(b"\x00\xff oh", status="500 Oh"), OK]

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with serve(behave) as receiver:
        endpoint, secret = await post.add(receiver)
        async with post.worker() as worker:
            [event] = await post.append()
            await until(lambda: worker.seen.outcomes == [Fate.FAILED])
            [delivery] = await post.read(endpoint)
            await post.deliveries.replay(post.caller, delivery.id)
            await until(lambda: worker.seen.outcomes == [Fate.FAILED, Fate.DELIVERED])
    assert ids(receiver) == [event.id, event.id]
    first, second = receiver.requests
    assert [dict(request.headers)["sentry-graph-attempt"] for request in (first, second)] == ["1", "2"]
    for request in (first, second):
        verify(secret, request)
    attempts = await post.attempts((await post.read())[0])
    assert [(each.status, each.answer) for each in attempts] == [(500, "\ufffd\ufffd oh"), (200, "thanks")]


async def test_while_a_secret_is_replaced_either_verifies(post: Post) -> None:
    async with serve(OK) as receiver:
        endpoint, old = await post.add(receiver)
        _, new = await post.endpoints.rotate_secret(post.caller, endpoint.id)
        async with post.worker() as worker:
            await post.append()
            await until(lambda: worker.seen.outcomes == [Fate.DELIVERED])
    [request] = receiver.requests
    assert verify(old, request) == verify(new, request)
    assert len(dict(request.headers)["webhook-signature"].split(" ")) == 2


async def test_an_endpoint_that_never_answers_delays_nobody(post: Post) -> None:
    async with serve(never_answer) as hostile, serve(OK) as receiver:
        await post.add(hostile)
        neighbour, _ = await post.add(receiver)
        await post.append(*["issue.resolved"] * 60)
        async with post.worker(grace=0) as worker:
            await until(lambda: worker.seen.outcomes.count(Fate.DELIVERED) == 60)
            await post.append(*["issue.resolved"] * 60)
            await until(lambda: worker.seen.outcomes.count(Fate.DELIVERED) == 120)
            assert hostile.connections == OF_UNKNOWN
    assert {delivery.status for delivery in await post.read(neighbour)} == {DeliveryStatus.DELIVERED}


async def test_one_that_fails_keeps_one_place(post: Post) -> None:
    async with serve(never_answer) as hostile:
        endpoint, _ = await post.add(hostile)
        await post.append(*["issue.resolved"] * 60)
        async with post.worker(grace=0, deadline=0.2) as worker:
            await until(lambda: len(worker.seen.outcomes) >= 7)
            assert hostile.connections <= len(worker.seen.outcomes) + 1
    found = await post.endpoints.get(post.caller, endpoint.id)
    assert (found.problem, found.failing_since is None) == ("timeout", False)


async def test_no_tenant_has_all_places(post: Post) -> None:
    other = await add_tenant(post.database, "ten_2")
    async with serve(never_answer) as hostile, serve(OK) as receiver:
        for _ in range(OF_TENANT // OF_UNKNOWN + 3):
            await post.add(hostile)
        await post.append(*["issue.resolved"] * 4)
        await Post(post.database, post.vault, other, post.allowed).add(receiver)
        async with post.worker(grace=0) as worker:
            await until(lambda: hostile.connections == OF_TENANT)
            await Post(post.database, post.vault, other).append()
            await until(lambda: Fate.DELIVERED in worker.seen.outcomes)
            assert hostile.connections == OF_TENANT


async def test_workers_share_what_is_due(post: Post, database_url: str) -> None:
    if post.database.dialect == "sqlite":
        pytest.skip("SQLite has one worker")
    replica = Database(database_url)
    async with serve(OK) as receiver:
        await post.add(receiver)
        async with post.worker() as one, post.worker(database=replica) as other:
            for _ in range(10):
                await post.append(*["issue.resolved"] * 10)
            await until(lambda: len(one.seen.outcomes) + len(other.seen.outcomes) == 100)
    await replica.dispose()
    assert len(set(ids(receiver))) == len(ids(receiver)) == 100
    assert {*one.seen.outcomes, *other.seen.outcomes} == {Fate.DELIVERED}


async def test_at_the_end_what_is_being_sent_is_awaited(post: Post) -> None:
    is_asked = asyncio.Event()

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        await asyncio.sleep(0.2)
        writer.write(OK)

    async with serve(behave) as receiver:
        await post.add(receiver)
        async with post.worker() as worker:
            await post.append()
            await is_asked.wait()
        assert worker.seen.outcomes == [Fate.DELIVERED]


async def test_and_what_takes_too_long_is_released_for_another(post: Post) -> None:
    async with serve(never_answer) as receiver:
        endpoint, _ = await post.add(receiver)
        await post.append(*["issue.resolved"] * 20)
        async with post.worker(grace=0.1):
            await until(lambda: receiver.connections == OF_UNKNOWN)
    found = await post.endpoints.get(post.caller, endpoint.id)
    assert (found.problem, found.failing_since) == (None, None)
    deliveries = await post.read()
    assert all(delivery.lease_until is None for delivery in deliveries)
    assert Counter(delivery.attempts for delivery in deliveries) == {1: OF_UNKNOWN, 0: 20 - OF_UNKNOWN}
    sent = next(delivery for delivery in deliveries if delivery.attempts)
    assert [each.error for each in await post.attempts(sent)] == ["interrupted"]


async def test_the_queue_of_a_disabled_endpoint_is_given_up(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 3)
    async with post.database.session() as session:
        statement = update(EndpointRecord).where(col(EndpointRecord.id) == endpoint.id)
        await session.exec(statement.values(status=EndpointStatus.DISABLED))
        await session.commit()

    async def is_given_up() -> bool:
        return {delivery.status for delivery in await post.read()} == {DeliveryStatus.DEAD}

    async with post.worker():
        await until(is_given_up)


async def test_who_looks_for_what_is_due_buries_little_on_the_way(sqlite_post: Post) -> None:
    """However many endpoints a tenant has disabled, with long queues: whatever is due elsewhere waits meanwhile."""
    post = sqlite_post
    for _ in range(4):
        await post.add()
    await post.append()
    async with post.database.session() as session:
        await session.exec(update(EndpointRecord).values(status=EndpointStatus.DISABLED))
        await session.commit()

    async def is_given_up() -> bool:
        return {delivery.status for delivery in await post.read()} == {DeliveryStatus.DEAD}

    with statements() as sent:
        async with post.worker():
            await until(is_given_up)
    looks = "\n".join(sent).split("WITH RECURSIVE queues")[1:]
    assert max(look.count("UPDATE webhook_deliveries") for look in looks) == 1


async def test_a_secret_that_no_key_opens_is_told_in_the_log(post: Post) -> None:
    async with serve(OK) as receiver:
        endpoint, _ = await post.add(receiver)
        async with post.database.session() as session:
            record = await session.get_one(EndpointRecord, endpoint.id)
            record.secret = b"\1" + bytes(60)
            await session.commit()
        async with post.worker() as worker:
            await post.append()
            await until(lambda: worker.seen.outcomes == [Fate.FAILED])
        assert receiver.requests == []
    [delivery] = await post.read()
    assert [each.error for each in await post.attempts(delivery)] == ["secret_unreadable"]


async def test_it_tells_how_much_waits(post: Post) -> None:
    await post.add()
    await post.append(*["issue.resolved"] * 3)
    await post.pass_time(timedelta(hours=-1))
    async with post.worker() as worker:
        await until(lambda: worker.seen.pending == [3])


async def test_what_waits_is_not_sent_to_an_endpoint_that_is_limited_to_other_connections_by_now(
    post: Post, store: ConnectionStore, vault: Vault
) -> None:
    """Else whoever may see the endpoint now, and lead it elsewhere, would get what is not theirs."""
    mine = await add_connection(store, vault, post.caller)
    async with serve(OK) as receiver:
        endpoint, _ = await post.add(receiver)
        [known] = await post.append(connection_id=mine.id)
        await post.append(connection_id="con_other")
        await post.append("connection.relinked", connection_id=None, body=None)
        await post.endpoints.update(post.caller, endpoint.id, EndpointChange(connection_ids=[mine.id]))
        await post.endpoints.test(post.caller, endpoint.id)
        async with post.worker() as worker:
            await until(lambda: Counter(worker.seen.outcomes) == {Fate.DELIVERED: 2, Fate.DEAD: 2})
    assert len(receiver.requests) == 2
    assert known.id in ids(receiver)
    dead = [each for each in await post.read(endpoint) if each.status is DeliveryStatus.DEAD]
    [attempt] = await post.attempts(dead[0])
    assert (attempt.status, attempt.error) == (None, Problem.OTHER_CONNECTION)
    assert (await post.endpoints.get(post.caller, endpoint.id)).failing_since is None
