"""What is due, and that one process at a time makes an attempt of it."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import col, update

from service.columns import now
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.events.models import DeliveryStatus, EndpointRecord, EndpointStatus
from service.webhooks.claiming import _QUEUES, Claims
from service.webhooks.message import ConnectionNames
from tests.connections.factory import add_connection, add_tenant
from tests.scale import scaled
from tests.statements import explain, statements
from tests.webhooks.delivering import HOOK, Post

LEASE = 30.0
MANY = 100


@pytest.fixture
def claims(database: Database) -> Claims:
    return Claims(database, lease_seconds=LEASE)


async def disable(post: Post, endpoint: EndpointRecord) -> None:
    async with post.database.session() as session:
        statement = update(EndpointRecord).where(col(EndpointRecord.id) == endpoint.id)
        await session.exec(statement.values(status=EndpointStatus.DISABLED))
        await session.commit()


async def test_what_is_due_is_claimed_once_with_all_that_it_needs(
    post: Post, claims: Claims, store: ConnectionStore, vault: Vault
) -> None:
    connection = await add_connection(store, vault, post.caller, "customer-7")
    endpoint, _ = await post.add(types=["issue.*"])
    [event] = await post.append(connection_id=connection.id)

    [claim] = await claims.claim({endpoint.id: 5})

    assert (claim.attempt, claim.event.id, claim.event.body) == (1, event.id, HOOK)
    assert (claim.endpoint.id, claim.names) == (endpoint.id, ConnectionNames("customer-7", None))
    assert await claims.claim({endpoint.id: 5}) == []
    [delivery] = await post.read()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)
    assert delivery.next_at == delivery.lease_until == claim.clock + timedelta(seconds=LEASE)


async def test_a_claim_that_nobody_settled_ends_with_its_lease(post: Post, claims: Claims) -> None:
    endpoint, _ = await post.add()
    await post.append()
    await claims.claim({endpoint.id: 5})
    await post.pass_time(timedelta(seconds=LEASE - 5))
    assert await claims.claim({endpoint.id: 5}) == []
    await post.pass_time(timedelta(seconds=5))
    [claim] = await claims.claim({endpoint.id: 5})
    assert claim.attempt == 2
    assert claim.names is None


async def test_no_more_than_wanted_the_longest_due_first(post: Post, claims: Claims) -> None:
    endpoint, _ = await post.add()
    other, _ = await post.add()
    first = await post.append(*["issue.resolved"] * 3)
    await post.pass_time(timedelta(seconds=1))
    await post.append(*["issue.resolved"] * 3)

    found = await claims.claim({endpoint.id: 3, other.id: 1})

    assert Counter(claim.endpoint.id for claim in found) == {endpoint.id: 3, other.id: 1}
    mine = [claim.event.id for claim in found if claim.endpoint.id == endpoint.id]
    assert mine == [event.id for event in first]


async def test_queues_are_seen_at_a_glance(post: Post, claims: Claims) -> None:
    assert await claims.queues(16) == []
    full, waiting, disabled, empty = [(await post.add(types=[f"{name}.*"]))[0] for name in ("a", "b", "c", "d")]
    await post.append("a.x", "a.x", "a.x", "b.x", "c.x")
    await claims.claim({waiting.id: 1})
    await disable(post, disabled)

    found = {queue.endpoint_id: queue for queue in await claims.queues(2)}

    assert found.keys() == {full.id, waiting.id, disabled.id}
    assert empty.id not in found
    assert (found[full.id].due, found[full.id].wait) == (2, 0)
    assert found[waiting.id].due == 0
    assert LEASE - 10 < found[waiting.id].wait <= LEASE
    assert [found[each.id].is_enabled for each in (full, waiting, disabled)] == [True, True, False]
    assert {queue.tenant_id for queue in found.values()} == {post.caller.tenant_id}


async def test_replicas_that_claim_together_never_get_the_same(post: Post, database_url: str) -> None:
    endpoints = [(await post.add())[0] for _ in range(3)]
    count = scaled(test=40, soak=400)
    await post.append(*["issue.resolved"] * count)
    replicas = [Database(database_url) for _ in range(3)]
    found: list[str] = []

    async def work(replica: Database, size: int) -> None:
        claims = Claims(replica, lease_seconds=LEASE)
        while got := await claims.claim({endpoint.id: size for endpoint in endpoints}):
            found.extend(claim.delivery_id for claim in got)

    await asyncio.gather(*(work(replica, size) for replica in replicas for size in (1, 4, 7)))
    for replica in replicas:
        await replica.dispose()
    # One that others are just claiming is passed by, so that somebody may have seen nothing left too early.
    found += [
        claim.delivery_id
        for claim in await Claims(post.database, lease_seconds=LEASE).claim(
            {endpoint.id: MANY * 10 for endpoint in endpoints}
        )
    ]
    assert Counter(found) == Counter(delivery.id for delivery in await post.read())
    assert {delivery.attempts for delivery in await post.read()} == {1}
    assert len(found) == count * len(endpoints)


async def test_a_disabled_endpoint_is_sent_nothing_and_its_queue_is_given_up(post: Post, claims: Claims) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 4)
    [sending] = await claims.claim({endpoint.id: 1})
    assert await claims.bury(endpoint.id) == 0
    await disable(post, endpoint)

    assert await claims.claim({endpoint.id: 5}) == []
    assert await claims.bury(endpoint.id) == 3
    assert await claims.bury(endpoint.id) == 0

    statuses = {delivery.id: (delivery.status, delivery.finished_at is None) for delivery in await post.read()}
    assert statuses.pop(sending.delivery_id) == (DeliveryStatus.PENDING, True)
    assert set(statuses.values()) == {(DeliveryStatus.DEAD, False)}


async def test_a_process_that_is_alone_takes_up_at_once_what_the_one_before_left(post: Post, claims: Claims) -> None:
    endpoint, _ = await post.add()
    await post.append()
    await claims.claim({endpoint.id: 1})
    await claims.release()
    found = await claims.claim({endpoint.id: 1})
    assert [claim.attempt for claim in found] == ([2] if post.database.dialect == "sqlite" else [])


async def test_what_is_pending_is_counted(post: Post, claims: Claims) -> None:
    endpoint, _ = await post.add()
    await post.append(*["issue.resolved"] * 3)
    await claims.claim({endpoint.id: 1})
    assert await claims.count_pending() == 3


async def test_no_look_reads_more_than_it_has_to(sqlite_post: Post) -> None:
    """However long a queue is: all is found by the index of what is pending."""
    claims = Claims(sqlite_post.database, lease_seconds=LEASE)
    endpoint, _ = await sqlite_post.add()
    await sqlite_post.append()
    with statements() as sent:
        await claims.queues(16)
        await claims.claim({endpoint.id: 4})
        await claims.count_pending()
    sent = [statement for statement in sent if "webhook_deliveries" in statement]
    assert len(sent) == 4
    for statement in sent:
        plan = await explain(sqlite_post.database, statement)
        about = [line for line in plan if "webhook_deliveries" in line]
        assert about, plan
        assert all("ix_webhook_deliveries_pending" in line or "autoindex_webhook_deliveries" in line for line in about)


async def test_postgresql_goes_by_the_index_however_few_endpoints_have_how_long_queues(
    postgres_url: str, vault: Vault
) -> None:
    """To its planner a queue of thousands looks as if any row would do."""
    database = Database(postgres_url)
    post = Post(database, vault, await add_tenant(database, "ten_1"))
    for _ in range(3):
        await post.add()
    await post.append()
    copies = """INSERT INTO webhook_deliveries
        (id, tenant_id, endpoint_id, event_id, status, attempts, next_at, created_at)
        SELECT id || number, tenant_id, endpoint_id, event_id, status, attempts, next_at, created_at
        FROM (SELECT * FROM webhook_deliveries LIMIT 1) AS first, generate_series(1, 20000) AS number"""
    async with database.session() as session:
        connection = await session.connection()
        await connection.execute(text(copies))
        await connection.execute(text("ANALYZE webhook_deliveries"))
        plan = await connection.execute(text(f"EXPLAIN {_QUEUES.element}"), {"clock": now(), "most": 32})
        lines = [line for (line,) in plan]
    await database.dispose()
    assert any("ix_webhook_deliveries_pending" in line for line in lines)
    assert not any("Seq Scan on webhook_deliveries" in line for line in lines)
