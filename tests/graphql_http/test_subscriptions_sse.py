"""GraphQL over server-sent events, in distinct connections mode, over real sockets."""

import asyncio
import json
import socket

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.graphql_http.negotiation import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, accepts_event_stream
from service.graphql_http.sse import encode_next
from tests.graphql_http.ticking_graph import Ticking, ticking
from tests.streaming import subscribe_by_sse, until

TICKS = "subscription Ticks { ticks { number } }"
KEY = {"authorization": "Bearer acme"}


async def ask(served: Ticking, body: object, *, method: str = "POST", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{served.port}/graphql"
        sent = KEY | {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "GET":
            return await client.get(url, params=body, headers=sent)  # type: ignore[arg-type]  # the tests' own
        return await client.post(url, json=body, headers=sent)


async def test_a_stream_says_that_it_is_one_and_begins_at_once():
    async with ticking() as served, subscribe_by_sse(served.port, TICKS, key="acme") as stream:
        headers = stream.response.headers
        assert stream.response.status_code == 200
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert "content-length" not in headers
        served.clock.put(None)
        assert await stream.end() == "complete"
        assert stream.comments == 1


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "text/*", "application/json, text/event-stream;q=0.1"])
async def test_a_subscription_streams_wherever_the_client_takes_streams(accept):
    async with ticking() as served, subscribe_by_sse(served.port, TICKS, key="acme", accept=accept) as stream:
        served.clock.tick()
        assert (await stream.payload())["data"]["ticks"]["number"] == 1


async def test_a_client_that_takes_no_streams_is_told_what_to_accept():
    async with ticking() as served:
        response = await ask(served, {"query": TICKS}, accept=GRAPHQL_RESPONSE)
        (error,) = response.json()["errors"]
        assert (response.status_code, error["extensions"]["code"]) == (406, "NOT_ACCEPTABLE")
        assert "text/event-stream" in error["extensions"]["cure"]


async def test_a_subscription_can_be_a_get_but_not_one_that_another_site_could_cause():
    async with ticking() as served, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{served.port}/graphql"
        accepting = {"accept": EVENT_STREAM}
        async with client.stream("GET", url, params={"query": TICKS}, headers=KEY | accepting) as response:
            assert response.status_code == 200
        from_elsewhere = KEY | accepting | {"origin": "https://evil.example"}
        refused = await client.get(url, params={"query": TICKS}, headers=from_elsewhere)
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (403, "CROSS_SITE_REFUSED")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { ticks { number } countdown }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { ticks(label: "forbidden") { number } }', "FORBIDDEN"),
    ],
)
async def test_what_cannot_run_is_said_in_the_stream_to_those_who_only_read_streams(query, code):
    async with ticking() as served, subscribe_by_sse(served.port, query, key="acme") as stream:
        assert stream.response.status_code == 200
        payload = await stream.payload()
        assert ("data" in payload, payload["errors"][0]["extensions"]["code"]) == (False, code)
        assert await stream.end() == "complete"
        response = await ask(served, {"query": query}, accept=f"{GRAPHQL_RESPONSE}, {EVENT_STREAM}")
        assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (400, code)


async def test_an_unforeseen_failure_to_open_is_masked():
    query = 'subscription { ticks(label: "broken") { number } }'
    async with ticking() as served:
        with capture_logs():
            response = await ask(served, {"query": query}, accept=EVENT_STREAM)
        assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (500, "INTERNAL")
        assert "secret" not in response.text


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"authorization": "Bearer"}, {"query": TICKS}, 401),
        ({}, ["not", "one"], 400),
        ({"content_type": "text/plain"}, {"query": TICKS}, 415),
    ],
)
async def test_a_request_that_is_none_is_refused_by_its_status(headers, body, status):
    async with ticking() as served:
        response = await ask(served, body, accept=EVENT_STREAM, **headers)
        assert response.status_code == status
        assert response.headers["content-type"].startswith(JSON)
        assert response.json()["errors"]


async def test_queries_and_mutations_can_be_streams_of_one_result():
    async with ticking() as served:
        for query, data in (("{ hello }", {"hello": "world"}), ("mutation { write }", {"write": "written"})):
            response = await ask(served, {"query": query}, accept=EVENT_STREAM)
            result = json.dumps({"data": data}, separators=(",", ":"))
            assert response.text == f"event: next\ndata: {result}\n\nevent: complete\ndata:\n\n"
            response = await ask(served, {"query": query}, accept=f"{EVENT_STREAM}, {JSON}")
            assert response.json() == {"data": data}


async def test_a_client_that_leaves_ends_its_subscription():
    async with ticking() as served:
        async with subscribe_by_sse(served.port, TICKS, key="acme"):
            await served.clock.subscribed(1)
        await served.clock.subscribed(0)
        await until(lambda: served.observed and not served.sessions.count)
        assert served.observed[0]["codes"] == []


async def test_silence_is_broken_by_comments():
    async with (
        ticking(heartbeat_seconds=0.02) as served,
        subscribe_by_sse(served.port, TICKS, key="acme") as stream,
    ):
        reading = asyncio.create_task(stream.payload())
        await until(lambda: stream.comments >= 4)
        served.clock.tick()
        assert (await reading)["data"]["ticks"]["number"] == 1


async def test_where_the_process_stops_the_stream_just_ends_so_that_the_client_connects_again():
    async with ticking() as served, subscribe_by_sse(served.port, TICKS, key="acme") as stream:
        served.clock.tick()
        await stream.payload()
        served.sessions.stop()
        assert await stream.end() == ""


async def test_a_client_that_does_not_read_holds_up_nobody_else():
    query = "subscription { ticks { text(size: 500000) } }"
    async with ticking(max_cost=10**9) as served, subscribe_by_sse(served.port, TICKS, key="acme") as fast:
        with socket.create_connection(("127.0.0.1", served.port)) as silent:
            body = json.dumps({"query": query})
            silent.sendall(
                f"POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer acme\r\naccept: {EVENT_STREAM}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
            )
            await served.clock.subscribed(2)
            for number in range(1, 31):
                served.clock.tick()
                assert (await fast.payload())["data"]["ticks"]["number"] == number
            slow = max(each.queue.qsize() for each in served.clock.subscribers)
            assert slow > 0  # they wait in its own buffer, which is its source's matter
        await served.clock.subscribed(1)


@given(st.binary())
def test_any_text_passes_through_the_lines_of_an_event(text):
    lines = encode_next(text).split(b"\n")
    assert lines[0] == b"event: next"
    assert lines[-2:] == [b"", b""]
    data = [line.removeprefix(b"data: ") for line in lines[1:-2]]
    assert all(line.startswith(b"data: ") and b"\r" not in line for line in lines[1:-2])
    assert b"\n".join(data) == text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (None, True),
        ("", True),
        ("*/*", True),
        ("text/event-stream;q=0", False),
        ("application/json", False),
        ("application/json, TEXT/Event-Stream", True),
        ("text/html, */*;q=0.1", True),
        ("*/*;q=0", False),
    ],
)
def test_who_takes_streams(accept, takes):
    assert accepts_event_stream(accept) == takes
