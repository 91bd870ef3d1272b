"""The delivery log, and deliveries made once more."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from service.columns import now
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.errors import BadInput, Conflict, NotFound
from service.events.models import DeliveryRecord, DeliveryStatus, EndpointPayload, EndpointRecord
from service.tenants.caller import Caller
from service.webhooks.answers import Answer
from service.webhooks.deliveries import Deliveries, EventRange
from service.webhooks.endpoint_rules import EndpointChange
from tests.connections.factory import add_connection
from tests.webhooks.delivering import Post
from tests.webhooks.test_settling import BROKEN, GONE, OK, Desk

ANY = EventRange(since=now() - timedelta(days=1))


async def pending(post: Post, endpoint: EndpointRecord) -> Counter[str]:
    """The events that are on their way, by id."""
    found = await post.read(endpoint)
    return Counter(delivery.event_id for delivery in found if delivery.status is DeliveryStatus.PENDING)


async def give_up(post: Post, endpoint: EndpointRecord) -> DeliveryRecord:
    """A delivery that is dead, to an endpoint that works."""
    await post.append()
    await Desk(post).attempt(endpoint, GONE)
    await post.endpoints.enable(post.caller, endpoint.id)
    return (await post.read(endpoint))[-1]


async def test_the_log_of_an_endpoint_from_either_side(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.add()
    await post.append(*["issue.resolved"] * 5)
    ids = [delivery.id for delivery in await post.read(endpoint)][::-1]

    async def page(limit: int, after: str | None = None, before: str | None = None) -> list[str]:
        found = await post.deliveries.page(endpoint, limit=limit, after=after, before=before)
        return [delivery.id for delivery in found]

    assert await page(10) == ids
    assert await page(2) == ids[:2]
    assert await page(2, after=ids[1]) == ids[2:4]
    assert await page(2, before=ids[4]) == ids[2:4]


async def test_the_log_by_status(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append("issue.resolved", "issue.created", "issue.assigned")
    desk = Desk(post)
    await desk.attempt(endpoint, OK)
    await desk.attempt(endpoint, GONE)
    found = {status: len(await post.deliveries.page(endpoint, status, limit=10)) for status in [None, *DeliveryStatus]}
    assert found == {
        None: 3,
        DeliveryStatus.PENDING: 1,
        DeliveryStatus.DELIVERED: 1,
        DeliveryStatus.DEAD: 1,
        DeliveryStatus.REPLAYED: 0,
    }


async def test_the_attempts_of_a_delivery(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    desk = Desk(post)
    await desk.attempt(endpoint, BROKEN)
    await post.pass_time(timedelta(minutes=1))
    await desk.attempt(endpoint, Answer(status=302, text="elsewhere"))
    [delivery] = await post.read()
    attempts = await post.attempts(delivery)
    assert [(each.number, each.status, each.answer) for each in attempts] == [(1, 500, "oh"), (2, 302, "elsewhere")]
    assert await post.deliveries.attempts("ten_other", [delivery.id]) == {}


async def test_a_delivery_is_repeated_by_another_of_the_same_event(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    desk = Desk(post)
    await desk.attempt(endpoint, OK)
    [first] = await post.read()
    again = await post.deliveries.replay(post.caller, first.id)
    assert (again.event_id, again.endpoint_id, again.replay_of) == (first.event_id, endpoint.id, first.id)
    [claim] = await desk.claim(endpoint)
    assert (claim.delivery_id, claim.attempt, claim.event.id) == (again.id, 1, first.event_id)
    assert [each.status for each in await post.read()] == [DeliveryStatus.DELIVERED, DeliveryStatus.PENDING]


async def test_one_that_waits_is_tried_at_once_instead(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    desk = Desk(post)
    await desk.attempt(endpoint, BROKEN)
    [waiting] = await post.read()
    assert (await post.deliveries.replay(post.caller, waiting.id)).id == waiting.id
    [claim] = await desk.claim(endpoint)
    assert claim.attempt == 2
    assert (await post.deliveries.replay(post.caller, waiting.id)).id == waiting.id  # it is being sent
    assert await desk.claims.claim({endpoint.id: 5}) == []
    assert len(await post.read()) == 1


async def test_what_was_given_up_is_repeated_once(post: Post) -> None:
    endpoint, _ = await post.add()
    dead = [await give_up(post, endpoint) for _ in range(3)]
    await post.deliveries.replay(post.caller, dead[1].id)

    found = await post.deliveries.replay_dead(post.caller, endpoint.id)

    assert (found.count, found.last_event_id, found.has_more) == (2, dead[2].event_id, False)
    assert await pending(post, endpoint) == Counter(each.event_id for each in dead)
    statuses = {delivery.id: delivery.status for delivery in await post.read(endpoint)}
    assert {statuses[each.id] for each in dead} == {DeliveryStatus.REPLAYED}
    assert (await post.deliveries.replay_dead(post.caller, endpoint.id)).count == 0


async def test_a_range_is_delivered_again_as_far_as_the_endpoint_wants_it(post: Post) -> None:
    endpoint, _ = await post.add(types=["issue.*"])
    types = ["issue.created", "error.created", "issue.assigned", "issue.resolved", "issue.unresolved"]
    events = await post.append(*types)
    raw, _ = await post.add(payload=EndpointPayload.SENTRY)
    [ours] = await post.append("connection.relinked", body=None, data={})
    for delivery in await post.read():
        await Desk(post).attempt(endpoint if delivery.endpoint_id == endpoint.id else raw, OK)

    range_ = EventRange(after=events[0].id, up_to=events[3].id)
    found = await post.deliveries.replay_events(post.caller, endpoint.id, range_)
    assert (found.count, found.last_event_id, found.has_more) == (2, events[3].id, False)
    assert await pending(post, endpoint) == Counter([events[2].id, events[3].id])

    found = await post.deliveries.replay_events(post.caller, raw.id, ANY)
    assert await pending(post, raw) == Counter(event.id for event in events)
    assert ours.id not in await pending(post, raw)


async def test_a_range_of_time(post: Post) -> None:
    endpoint, _ = await post.add()
    [event] = await post.append()
    await Desk(post).attempt(endpoint, OK)
    deliveries = post.deliveries
    moment = timedelta(seconds=1)
    for since, until, count in (
        (event.created_at, None, 1),
        (event.created_at + moment, None, 0),
        (event.created_at - moment, event.created_at, 0),
        (event.created_at - moment, event.created_at + moment, 1),
    ):
        found = await deliveries.replay_events(post.caller, endpoint.id, EventRange(since=since, until=until))
        assert found.count == count


async def test_tests_of_other_endpoints_are_in_no_range(post: Post) -> None:
    endpoint, _ = await post.add()
    other, _ = await post.add()
    await post.endpoints.test(post.caller, other.id)
    assert (await post.deliveries.replay_events(post.caller, endpoint.id, ANY)).count == 0


async def test_more_than_a_call_repeats_is_told(sqlite_post: Post) -> None:
    post = sqlite_post
    endpoint, _ = await post.add(types=["comment.created"])
    events = await post.append(*["issue.resolved"] * 210)
    await post.endpoints.update(post.caller, endpoint.id, EndpointChange(types=None))
    deliveries = Deliveries(post.database, post.endpoints, most=100)
    first = await deliveries.replay_events(post.caller, endpoint.id, ANY)
    assert (first.count, first.last_event_id, first.has_more) == (200, events[199].id, True)
    rest = await deliveries.replay_events(post.caller, endpoint.id, EventRange(after=first.last_event_id))
    assert (rest.count, rest.has_more) == (10, False)
    assert await pending(post, endpoint) == Counter(event.id for event in events)


async def test_what_cannot_be_repeated(post: Post) -> None:
    endpoint, _ = await post.add()
    deliveries = post.deliveries
    with pytest.raises(BadInput, match="beginning"):
        await deliveries.replay_events(post.caller, endpoint.id, EventRange(until=now()))
    for range_ in (EventRange(after="evt_x"), EventRange(since=now(), up_to="\0")):
        with pytest.raises(NotFound, match="event"):
            await deliveries.replay_events(post.caller, endpoint.id, range_)
    await post.append()
    await Desk(post).attempt(endpoint, GONE)
    [dead] = await post.read()
    with pytest.raises(Conflict, match="disabled"):
        await deliveries.replay(post.caller, dead.id)
    with pytest.raises(Conflict, match="disabled"):
        await deliveries.replay_dead(post.caller, endpoint.id)
    with pytest.raises(Conflict, match="disabled"):
        await deliveries.replay_events(post.caller, endpoint.id, ANY)


async def test_what_is_not_the_callers_is_not_there(
    post: Post, store: ConnectionStore, vault: Vault, stranger: Caller
) -> None:
    mine, other = [await add_connection(store, vault, post.caller) for _ in range(2)]
    endpoint, _ = await post.add(connection_ids=[other.id])
    [event] = await post.append(connection_id=other.id)
    delivery = (await post.read(endpoint))[-1]
    narrowed = replace(post.caller, connection_ids=frozenset([mine.id]))
    own, _ = await post.add(caller=narrowed, connection_ids=[mine.id])
    deliveries = post.deliveries
    for caller in (stranger, narrowed):
        for id_ in (delivery.id, "whd_x", "\0", "\ud800"):
            with pytest.raises(NotFound, match="delivery"):
                await deliveries.replay(caller, id_)
        with pytest.raises(NotFound, match="endpoint"):
            await deliveries.replay_dead(caller, endpoint.id)
        with pytest.raises(NotFound, match="endpoint"):
            await deliveries.replay_events(caller, endpoint.id, ANY)
    with pytest.raises(NotFound, match="event"):
        await deliveries.replay_events(stranger, own.id, EventRange(after=event.id))


async def test_what_an_endpoint_had_of_other_connections_is_no_matter_of_whoever_sees_it_now(
    post: Post, store: ConnectionStore, vault: Vault
) -> None:
    """It was for all connections once, and is limited to one by now, which a narrowed caller sees."""
    mine, other = [await add_connection(store, vault, post.caller) for _ in range(2)]
    narrowed = replace(post.caller, connection_ids=frozenset([mine.id]))
    endpoint, _ = await post.add()
    [known] = await post.append(connection_id=mine.id)
    [secret] = await post.append(connection_id=other.id)
    for _ in range(2):
        await Desk(post).attempt(endpoint, GONE)
        await post.endpoints.enable(post.caller, endpoint.id)
    endpoint = await post.endpoints.update(post.caller, endpoint.id, EndpointChange(connection_ids=[mine.id]))
    deliveries = post.deliveries

    shown = await deliveries.page(endpoint, limit=50, is_narrowed=True)
    assert known.id in {delivery.event_id for delivery in shown}
    assert secret.id not in {delivery.event_id for delivery in shown}
    assert {event.connection_id for event in await post.events(shown)} == {mine.id}
    hidden = [each for each in await deliveries.page(endpoint, limit=50) if each.event_id == secret.id]
    assert len(hidden) == 1
    with pytest.raises(NotFound, match="delivery"):
        await deliveries.replay(narrowed, hidden[0].id)
    for after in (secret.id, "evt_x"):
        with pytest.raises(NotFound, match="event"):
            await deliveries.replay_events(narrowed, endpoint.id, EventRange(after=after))
    assert (await deliveries.replay_dead(narrowed, endpoint.id)).count == 1
    assert await pending(post, endpoint) == Counter([known.id])
    assert (await deliveries.replay(post.caller, hidden[0].id)).event_id == secret.id, (
        "the whole tenant's admin may try"
    )
