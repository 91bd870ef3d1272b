"""GraphQL over WebSocket (graphql-transport-ws), over real sockets."""

import asyncio
import contextlib
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.errors import StorageUnavailable, SubscriptionOverflow
from tests.graphql_http.ticking_graph import ticking
from tests.scale import scaled
from tests.streaming import connect_socket, open_socket, until

TICKS = "subscription Ticks { ticks { number } }"
SLOW = "query Slow { slow }"


def next_(id_: str, data: object) -> dict[str, object]:
    return {"id": id_, "type": "next", "payload": {"data": data}}


def complete(id_: str) -> dict[str, object]:
    return {"id": id_, "type": "complete"}


class TestConnecting:
    """Until operations may run."""

    async def test_the_payload_says_who_it_is_in_any_case(self):
        async with ticking() as served:
            for name in ("authorization", "Authorization"):
                async with open_socket(served.port) as socket:
                    assert socket.connection.subprotocol == "graphql-transport-ws"
                    await socket.send("connection_init", payload={name: "Bearer acme", "other": {"a": [1]}})
                    assert await socket.receive() == {"type": "connection_ack"}

    async def test_the_handshakes_header_says_it_where_the_payload_does_not(self):
        async with ticking() as served, open_socket(served.port, authorization="Bearer acme") as socket:
            await socket.send("connection_init")
            assert await socket.receive() == {"type": "connection_ack"}

    @pytest.mark.parametrize("payload", [None, {}, {"authorization": "Bearer"}, {"authorization": 7}])
    async def test_an_unknown_caller_is_closed_out(self, payload):
        async with ticking() as served, open_socket(served.port) as socket:
            await socket.send("connection_init", payload=payload)
            assert await socket.closed() == (4403, "Forbidden")

    async def test_where_callers_cannot_be_known_it_is_to_be_tried_again(self):
        async with ticking() as served, open_socket(served.port) as socket:
            served.keys.failure = StorageUnavailable("The database is away.")
            await socket.send("connection_init", payload={"authorization": "Bearer acme"})
            assert await socket.closed() == (1013, "The database is away.")

    async def test_who_says_nothing_is_closed_out(self):
        async with ticking(init_seconds=0.05) as served, open_socket(served.port) as socket:
            await socket.send("ping")
            assert await socket.receive() == {"type": "pong"}
            assert await socket.closed() == (4408, "Connection initialisation timeout")

    async def test_whoever_has_said_it_has_all_the_time(self):
        async with ticking(init_seconds=0.05) as served, connect_socket(served.port, key="acme") as socket:
            await asyncio.sleep(0.1)
            await socket.subscribe("1", "{ hello }")
            assert await socket.receive() == next_("1", {"hello": "world"})

    async def test_once_is_enough(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.send("connection_init", payload={"authorization": "Bearer acme"})
            assert await socket.closed() == (4429, "Too many initialisation requests")

    async def test_before_it_nothing_runs(self):
        async with ticking() as served, open_socket(served.port, authorization="Bearer acme") as socket:
            await socket.subscribe("1", "{ hello }")
            assert await socket.closed() == (4401, "Unauthorized")
        assert served.observed == []

    @pytest.mark.parametrize("protocols", [(), ("graphql-ws",)])
    async def test_another_protocol_is_not_spoken(self, protocols):
        async with ticking() as served, open_socket(served.port, protocols=protocols) as socket:
            assert await socket.closed() == (4406, "Subprotocol not acceptable")

    @pytest.mark.parametrize(
        ("origin", "is_let_in"),
        [
            ("https://evil.example", False),
            ("null", False),
            ("http://127.0.0.1:1", False),
            ("https://app.example", True),
            ("http://127.0.0.1:{port}", True),
        ],
    )
    async def test_a_page_of_another_site_cannot_connect(self, origin, is_let_in):
        async with ticking(cors_origins=("https://app.example",)) as served:
            opening = open_socket(served.port, origin=origin.format(port=served.port), authorization="Bearer acme")
            if is_let_in:
                async with opening as socket:
                    await socket.send("connection_init")
                    assert await socket.receive() == {"type": "connection_ack"}
            else:
                with pytest.raises(InvalidStatus) as refused:
                    await opening.__aenter__()
                assert refused.value.response.status_code == 403
                (error,) = json.loads(refused.value.response.body)["errors"]
                assert error["extensions"]["code"] == "CROSS_SITE_REFUSED"

    async def test_there_is_room_for_so_many(self):
        async with ticking(subscriptions=1) as served:
            async with connect_socket(served.port, key="acme"):
                with pytest.raises(InvalidStatus) as refused:
                    await connect_socket(served.port, key="acme").__aenter__()
                assert refused.value.response.status_code == 503
            await until(lambda: not served.sessions.count)
            async with connect_socket(served.port, key="acme"):
                pass


class TestMessages:
    """What a client sends."""

    @pytest.mark.parametrize(
        "message",
        [
            b'{"type": "ping"}',
            "",
            "no JSON",
            "[]",
            "7",
            '{"type": "ping", "type": "ping"}',
            "{}",
            '{"type": 7}',
            '{"type": "start", "id": "1"}',
            '{"type": "connection_ack"}',
            '{"type": "ping", "payload": 7}',
            '{"type": "complete"}',
            '{"type": "subscribe", "payload": {"query": "{ hello }"}}',
            '{"type": "subscribe", "id": "", "payload": {"query": "{ hello }"}}',
            '{"type": "subscribe", "id": 1, "payload": {"query": "{ hello }"}}',
            '{"type": "subscribe", "id": "%s", "payload": {"query": "{ hello }"}}' % ("i" * 201),
            '{"type": "subscribe", "id": "1", "payload": [{"query": "{ hello }"}]}',
            '{"type": "subscribe", "id": "1", "payload": {"query": 7}}',
            '{"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "variables": []}}',
            '{"type": "ping", "payload": %s1%s}' % ('{"a":' * 100, "}" * 100),
        ],
    )
    async def test_one_that_is_none_closes_the_socket(self, message):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.connection.send(message)
            code, reason = await socket.closed()
            assert code == 4400
            assert reason
            assert len(reason.encode()) <= 123

    async def test_one_that_is_too_large_closes_the_socket(self):
        async with ticking(max_body_bytes=2000) as served, connect_socket(served.port, key="acme") as socket:
            await socket.connection.send('{"type": "ping", "payload": {"a": "%s"}}' % ("ä" * 1500))
            assert (await socket.closed())[0] == 1009

    async def test_pings_are_answered_with_their_payload(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.send("ping", payload={"a": 1})
            assert await socket.receive() == {"type": "pong", "payload": {"a": 1}}
            await socket.send("pong")
            await socket.send("ping")
            assert await socket.receive() == {"type": "pong"}

    async def test_what_is_complete_already_can_be_completed(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.send("complete", id="never there")
            await socket.subscribe("1", "{ hello }")
            assert await socket.receive() == next_("1", {"hello": "world"})


TYPES = st.sampled_from(["connection_init", "connection_ack", "ping", "pong", "subscribe", "next", "error", "complete"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "query": st.sampled_from(["{ hello }", "{", TICKS]) | ANYTHING,
        "variables": ANYTHING,
        "extensions": ANYTHING,
    },
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={"type": TYPES | ANYTHING, "id": st.sampled_from(["1", "2"]) | ANYTHING, "payload": REQUESTS | ANYTHING},
)


class TestFuzz:
    """Whatever is sent, the server's answer is one of the protocol's, and nothing in it is unforeseen."""

    def test_any_messages_in_any_order(self):
        @settings(max_examples=scaled(test=25, soak=3000), deadline=None)
        @given(st.lists(MESSAGES.map(json.dumps) | st.text(max_size=20) | st.binary(max_size=20), max_size=8))
        def send(messages: list[str | bytes]) -> None:
            runner.run(exchange(messages))

        async def exchange(messages: list[str | bytes]) -> None:
            async with connect_socket(served.port, key="acme") as socket:
                with contextlib.suppress(ConnectionClosed):
                    for message in messages:
                        await socket.connection.send(message)
                    await socket.send("ping", payload={"last": True})
                    while (answer := await socket.receive()) != {"type": "pong", "payload": {"last": True}}:
                        assert answer["type"] in {"pong", "next", "error", "complete"}
                        assert "INTERNAL" not in json.dumps(answer)
                assert socket.connection.close_code in {None, 4400, 4409, 4429}

        with asyncio.Runner() as runner:
            serving = ticking()
            served = runner.run(serving.__aenter__())
            try:
                send()
            finally:
                runner.run(serving.__aexit__(None, None, None))


class TestOperations:
    """Several at once on one socket."""

    async def test_queries_and_mutations_are_answered_beside_subscriptions(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", TICKS)
            await served.clock.subscribed(1)
            for id_, query, data in (
                ("2", "{ hello }", {"hello": "world"}),
                ("3", "mutation { write }", {"write": "written"}),
            ):
                await socket.subscribe(id_, query)
                assert [await socket.receive() for _ in range(2)] == [next_(id_, data), complete(id_)]
            await socket.subscribe("4", TICKS)
            await served.clock.subscribed(2)
            served.clock.tick()
            got = [await socket.receive() for _ in range(2)]
            assert sorted(message["id"] for message in got) == ["1", "4"]
            assert {message["payload"]["data"]["ticks"]["number"] for message in got} == {1}
            served.clock.put(None)
            assert sorted([(await socket.receive())["id"] for _ in range(2)]) == ["1", "4"]

    async def test_completing_ends_a_subscription_at_once_and_frees_its_id(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", TICKS)
            await served.clock.subscribed(1)
            await socket.send("complete", id="1")
            await socket.subscribe("1", "{ hello }")
            assert await socket.receive() == next_("1", {"hello": "world"})
            await served.clock.subscribed(0)

    async def test_completing_ends_a_query(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", SLOW)
            await until(lambda: "slow began" in served.clock.log)
            await socket.send("complete", id="1")
            await until(lambda: "slow cancelled" in served.clock.log)

    @pytest.mark.parametrize("how", ["complete", "leave"])
    async def test_a_mutation_that_has_begun_is_not_broken_off(self, how):
        async with ticking() as served:
            async with connect_socket(served.port, key="acme") as socket:
                await socket.subscribe("1", "mutation { write(seconds: 0.2) }")
                await until(lambda: "write began" in served.clock.log)
                if how == "complete":
                    await socket.send("complete", id="1")
            await until(lambda: "write ended" in served.clock.log)

    async def test_an_id_is_used_once_at_a_time(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("twin", TICKS)
            await socket.subscribe("twin", TICKS)
            assert await socket.closed() == (4409, "Subscriber for twin already exists")
            await served.clock.subscribed(0)

    async def test_they_are_bounded(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            for number in range(64):
                await socket.subscribe(str(number), TICKS)
            await socket.subscribe("one more", "{ hello }")
            message = await socket.receive()
            assert (message["id"], message["type"]) == ("one more", "error")
            assert message["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
            await served.clock.subscribed(64)
            await socket.send("complete", id="0")
            await served.clock.subscribed(63)
            await socket.subscribe("one more", "{ hello }")
            assert await socket.receive() == next_("one more", {"hello": "world"})

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
            ("query ($a: Int!) { people(first: $a) { nodes { id } } }", "BAD_USER_INPUT"),
            ("{ people(first: 999999) { nodes { id friends { id } } } }", "LIMIT_EXCEEDED"),
            ("{ __schema { types { name } } }", "INTROSPECTION_DISABLED"),
            ('subscription { ticks(label: "forbidden") { number } }', "FORBIDDEN"),
            ('subscription { ticks(label: "broken") { number } }', "INTERNAL"),
        ],
    )
    async def test_the_guards_hold_here_too(self, query, code):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            with capture_logs():
                await socket.subscribe("1", query)
                message = await socket.receive()
            assert (message["id"], message["type"]) == ("1", "error")
            assert message["payload"][0]["extensions"]["code"] == code
            assert "secret" not in str(message)
            await until(lambda: served.observed)
            assert served.observed[0]["codes"] == [code]
            assert served.observed[0]["has_run"] is False

    async def test_persisted_documents_are_those_of_http(self):
        digest = hashlib.sha256(b"{ hello }").hexdigest()
        persisted = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.send("subscribe", id="1", payload={"extensions": persisted})
            assert (await socket.receive())["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
            for payload in ({"query": "{ hello }", "extensions": persisted}, {"extensions": persisted}):
                await socket.send("subscribe", id="1", payload=payload)
                assert [await socket.receive() for _ in range(2)] == [next_("1", {"hello": "world"}), complete("1")]

    async def test_a_query_has_its_deadline_and_a_mutation_is_left_to_end(self):
        async with ticking(request_deadline=0.1) as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", SLOW)
            await socket.subscribe("2", "mutation { write(seconds: 0.3) }")
            codes = {}
            for _ in range(2):
                message = await socket.receive()
                codes[message["id"]] = message["payload"][0]["extensions"]["code"]
            assert codes == {"1": "DEADLINE_EXCEEDED", "2": "OUTCOME_UNKNOWN"}
            await until(lambda: "write ended" in served.clock.log)

    async def test_an_error_of_the_source_is_the_last_message(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", TICKS)
            await served.clock.subscribed(1)
            served.clock.put(SubscriptionOverflow(7, last_id="evt_1"))
            message = await socket.receive()
            (error,) = message["payload"]
            assert (message["type"], error["extensions"]["code"]) == ("error", "OVERFLOW")
            assert error["extensions"]["lastEventId"] == "evt_1"
            await socket.subscribe("1", "{ hello }")
            assert await socket.receive() == next_("1", {"hello": "world"})


class TestEnding:
    """How a socket ends."""

    async def test_a_client_that_leaves_ends_everything(self):
        async with ticking() as served:
            async with connect_socket(served.port, key="acme") as socket:
                await socket.subscribe("1", TICKS)
                await socket.subscribe("2", SLOW)
                await served.clock.subscribed(1)
            await served.clock.subscribed(0)
            await until(lambda: len(served.observed) == 2 and not served.sessions.count)
            assert "slow cancelled" in served.clock.log

    async def test_a_caller_that_is_no_more_is_told_and_closed_out(self):
        async with ticking(look_seconds=0.05) as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", TICKS)
            await served.clock.subscribed(1)
            served.keys.revoked.add("acme")
            message = await socket.receive()
            assert (message["id"], message["type"]) == ("1", "error")
            assert message["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"
            assert await socket.closed() == (4403, "Forbidden")
            await served.clock.subscribed(0)

    async def test_each_operation_is_of_a_caller_that_is_known_then(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            served.keys.revoked.add("acme")
            await socket.subscribe("1", "{ hello }")
            message = await socket.receive()
            assert message["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_where_the_process_stops_the_client_is_to_connect_again(self):
        async with ticking() as served, connect_socket(served.port, key="acme") as socket:
            await socket.subscribe("1", TICKS)
            await served.clock.subscribed(1)
            served.sessions.stop()
            assert await socket.closed() == (1012, "Service restart")
            await served.clock.subscribed(0)
