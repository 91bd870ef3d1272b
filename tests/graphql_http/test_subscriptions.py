"""What holds of subscriptions whatever way they are sent by: here over server-sent events."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from service.errors import StorageUnavailable, SubscriptionOverflow
from service.graphql_http.sessions import Breakable
from service.tenants.caller import Role
from tests.graphql_http.ticking_graph import Ticking, ticking
from tests.streaming import EventSource, connect_socket, subscribe_by_sse, until

BROKEN = "subscription { ticks { number missing } }"
TICKS = "subscription Ticks { ticks { number } }"
RESOLVED = "subscription ($label: String) { ticks(label: $label) { number resolved tenant } }"


async def subscribe(stack: AsyncExitStack, served: Ticking, query: str, key: str, **variables) -> EventSource:
    return await stack.enter_async_context(subscribe_by_sse(served.port, query, key=key, **variables))


async def test_results_come_in_order_and_an_error_of_a_field_ends_nothing():
    async with (
        ticking() as served,
        subscribe_by_sse(served.port, BROKEN, key="acme") as stream,
    ):
        for number in (1, 2):
            served.clock.tick()
            payload = await stream.payload()
            assert payload["data"] == {"ticks": {"number": number, "missing": None}}
            (error,) = payload["errors"]
            assert (error["path"], error["extensions"]["code"]) == (["ticks", "missing"], "NOT_FOUND")
        served.clock.put(None)
        assert await stream.end() == "complete"


async def test_an_event_is_resolved_once_for_all_who_ask_the_same_by_the_same_rights():
    async with ticking() as served, AsyncExitStack() as stack:
        alike = [await subscribe(stack, served, RESOLVED, "acme", label="a") for _ in range(20)]
        other_variables = await subscribe(stack, served, RESOLVED, "acme", label="b")
        other_tenant = await subscribe(stack, served, RESOLVED, "globex", label="a")

        served.clock.tick()

        payloads = [(await each.payload())["data"]["ticks"] for each in alike]
        assert {payload["tenant"] for payload in payloads} == {"acme"}
        assert len({payload["resolved"] for payload in payloads}) == 1
        assert (await other_variables.payload())["data"]["ticks"]["tenant"] == "acme"
        assert (await other_tenant.payload())["data"]["ticks"]["tenant"] == "globex"
        assert served.clock.resolved == 3


async def test_callers_of_other_rights_share_nothing():
    async with ticking() as served, AsyncExitStack() as stack:
        one = await subscribe(stack, served, RESOLVED, "acme")
        served.keys.roles["acme"] = Role.ADMIN
        two = await subscribe(stack, served, RESOLVED, "acme")
        served.clock.tick()
        resolved = [(await each.payload())["data"]["ticks"]["resolved"] for each in (one, two)]
        assert sorted(resolved) == [1, 2]


async def test_of_those_who_share_one_that_leaves_takes_nothing_from_the_rest():
    async with ticking() as served, AsyncExitStack() as stack:
        stays = await subscribe(stack, served, RESOLVED, "acme")
        async with subscribe_by_sse(served.port, RESOLVED, key="acme"):
            await served.clock.subscribed(2)
        await served.clock.subscribed(1)
        served.clock.tick()
        assert (await stays.payload())["data"]["ticks"]["number"] == 1


async def test_an_event_that_takes_too_long_is_an_error_and_the_next_ones_come():
    query = "subscription ($slow: Boolean!) { ticks { number slow @include(if: $slow) } }"
    async with (
        ticking(request_deadline=0.2) as served,
        subscribe_by_sse(served.port, query, key="acme", slow=True) as stream,
    ):
        for _ in range(2):
            served.clock.tick()
            payload = await stream.payload()
            assert payload["data"] is None
            assert [error["extensions"]["code"] for error in payload["errors"]] == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (SubscriptionOverflow(7, last_id="evt_1"), "OVERFLOW"),
        (RuntimeError("a secret reason"), "INTERNAL"),
        (TimeoutError("a secret reason"), "INTERNAL"),
    ],
)
async def test_a_source_that_fails_ends_the_subscription_with_its_error(ending, code):
    async with ticking() as served:
        with capture_logs():
            async with subscribe_by_sse(served.port, TICKS, key="acme") as stream:
                served.clock.put(ending)
                payload = await stream.payload()
                assert await stream.end() == "complete"
            (error,) = payload["errors"]
            assert error["extensions"]["code"] == code
            assert "secret" not in str(payload)
        await served.clock.subscribed(0)
        assert served.observed == [
            {"kind": "subscription", "name": "Ticks", "codes": [code], "has_run": True, "seconds": None}
        ]


async def test_there_are_only_so_many_subscriptions_and_room_again_when_one_ends():
    async with ticking(subscriptions=2) as served, AsyncExitStack() as stack:
        await subscribe(stack, served, TICKS, "acme")
        async with subscribe_by_sse(served.port, TICKS, key="acme"):
            refused = await subscribe(stack, served, TICKS, "acme")
            assert refused.response.status_code == 503
            await refused.response.aread()
            (error,) = refused.response.json()["errors"]
            assert error["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"
            assert "SENTRY_GRAPH_SUBSCRIPTIONS" in error["extensions"]["cure"]
        await served.clock.subscribed(1)
        again = await subscribe(stack, served, TICKS, "acme")
        assert again.response.status_code == 200
        served.clock.tick()
        assert (await again.payload())["data"]["ticks"]["number"] == 1


async def test_where_none_are_offered_none_are_taken():
    async with ticking(subscriptions=0) as served:
        async with subscribe_by_sse(served.port, TICKS, key="acme") as stream:
            (error,) = (await stream.payload())["errors"]
            assert error["extensions"]["code"] == "SUBSCRIPTIONS_OFF"
        async with subscribe_by_sse(served.port, "{ hello }", key="acme") as stream:
            assert await stream.payload() == {"data": {"hello": "world"}}
        with pytest.raises(Exception, match=r"403|404"):
            async with connect_socket(served.port, key="acme"):
                pass


@pytest.mark.parametrize("change", ["revoke", "role"])
async def test_a_caller_that_changes_is_told_and_ended_while_others_go_on(change):
    async with ticking(look_seconds=0.05) as served, AsyncExitStack() as stack:
        ended = await subscribe(stack, served, TICKS, "acme")
        goes_on = await subscribe(stack, served, TICKS, "globex")
        if change == "revoke":
            served.keys.revoked.add("acme")
        else:
            served.keys.roles["acme"] = Role.ADMIN
        (error,) = (await ended.payload())["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert await ended.end() == "complete"
        served.clock.tick()
        assert (await goes_on.payload())["data"]["ticks"]["number"] == 1


@pytest.mark.parametrize("failure", [StorageUnavailable("The database is away."), RuntimeError("unforeseen")])
async def test_where_callers_cannot_be_known_for_a_while_nobody_is_ended(failure):
    async with ticking(look_seconds=0.02) as served, subscribe_by_sse(served.port, TICKS, key="acme") as stream:
        with capture_logs() as logs:
            served.keys.failure = failure
            await until(lambda: sum(line["event"] == "session_caller_unknown" for line in logs) > 1)
        served.keys.failure = None
        served.clock.tick()
        assert (await stream.payload())["data"]["ticks"]["number"] == 1
        served.keys.revoked.add("acme")  # callers are looked at again
        assert (await stream.payload())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_plain_generator_can_be_the_source():
    async with (
        ticking() as served,
        subscribe_by_sse(served.port, "subscription { countdown(start: 2) }", key="acme") as stream,
    ):
        assert [await stream.payload() for _ in range(2)] == [
            {"data": {"countdown": 2}},
            {"data": {"countdown": 1}},
        ]
        assert await stream.end() == "complete"


class TestBreakable:
    """A block that others may break off."""

    async def test_it_ends_where_it_waits(self):
        block = Breakable()
        async with block:
            asyncio.get_running_loop().call_soon(block.break_off)
            await asyncio.sleep(3600)
        assert block.is_broken_off

    async def test_before_it_begins_it_does_not_begin(self):
        block, why = Breakable(), SubscriptionOverflow(1, last_id=None)
        block.break_off(why)
        async with block:
            await asyncio.sleep(3600)
        assert block.why is why

    async def test_the_first_reason_counts_and_afterwards_nothing_happens(self):
        block, why = Breakable(), SubscriptionOverflow(1, last_id=None)
        async with block:
            block.break_off(why)
            block.break_off()
            await asyncio.sleep(3600)
        block.break_off()
        assert block.why is why
        await asyncio.sleep(0)

    async def test_an_error_of_the_blocks_own_is_its_own(self):
        with pytest.raises(TimeoutError, match="own"):
            async with Breakable():
                raise TimeoutError("own")

    async def test_a_cancellation_from_outside_is_one(self):
        async def run() -> None:
            async with Breakable():
                await asyncio.sleep(3600)

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
