"""Events by subscription: the whole service over real sockets."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.events.append import NewEvent, append_events
from service.sandbox.app import Sandbox
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph, serve_graph
from tests.streaming import EventSource, connect_socket, serving, subscribe_by_sse, until

EVENTS = """subscription Events(
  $connectionIds: [ID!] $types: [String!] $project: String $environment: String $level: String $after: ID
) {
  events(
    connectionIds: $connectionIds types: $types project: $project environment: $environment level: $level after: $after
  ) { __typename id type sequence connection { externalId } ... on IssueResolvedEvent { issue { title } } }
}"""
BODY = {"action": "resolved", "data": {"issue": {"id": "7", "title": "It broke"}}, "installation": {"uuid": "u"}}


async def append(graph: Graph, connection_id: str | None, type_: str = "issue.resolved", **fields: Any) -> str:
    """Store an event, as a webhook would; its id."""
    body = fields.pop("body", json.dumps(BODY).encode())
    event = NewEvent(graph.tenant_id, type_, connection_id, body=body, **fields)
    database = graph.runtime.database
    (record,) = await database.run_transaction(lambda session: append_events(session, [event]))
    return record.id


async def next_id(stream: EventSource) -> str:
    payload = await stream.payload()
    assert "errors" not in payload, payload
    return str(payload["data"]["events"]["id"])


async def error_of(stream: EventSource) -> dict[str, Any]:
    (error,) = (await stream.payload())["errors"]
    extensions: dict[str, Any] = error["extensions"]
    return extensions


@pytest.fixture
async def port(graph: Graph) -> AsyncIterator[int]:
    async with serving(graph.app) as port:
        yield port


async def test_an_event_comes_as_its_type_over_both_transports(graph: Graph, port: int) -> None:
    connection = await graph.link(BIG, external_id="customer-1")
    async with (
        subscribe_by_sse(port, EVENTS, key=graph.key) as stream,
        connect_socket(port, key=graph.key) as socket,
        subscribe_by_sse(port, EVENTS, key=graph.key, types=["comment.*"]) as other,
    ):
        await socket.subscribe("1", EVENTS, types=["issue.*"])
        await until(lambda: len(graph.runtime.services.feed._tails[graph.tenant_id].followers) == 3)
        event_id = await append(graph, connection.id)

        expected = {
            "__typename": "IssueResolvedEvent",
            "id": event_id,
            "type": "issue.resolved",
            "sequence": 2,  # it was linked before
            "connection": {"externalId": "customer-1"},
            "issue": {"title": "It broke"},
        }
        assert (await stream.payload()) == {"data": {"events": expected}}
        assert (await socket.payload()) == {"data": {"events": expected}}
        comment = await append(graph, connection.id, "comment.created")
        assert await next_id(other) == comment


async def test_each_condition_holds(graph: Graph, port: int) -> None:
    big, small = await graph.link(BIG), await graph.link(SMALL)
    fields = {"project_slug": "web", "project_id": "11", "environment": "prod", "level": "fatal"}
    each: list[dict[str, Any]] = [
        {"connectionIds": [big.id]},
        {"types": ["error.*"]},
        {"project": "web"},
        {"project": "11"},
        {"environment": "prod"},
        {"level": "fatal"},
    ]
    for conditions in each:
        async with subscribe_by_sse(port, EVENTS, key=graph.key, **conditions) as stream:
            await append(graph, small.id, "issue.created", level="info")
            wanted = await append(graph, big.id, "error.created", **fields)
            assert await next_id(stream) == wanted


async def test_after_an_event_all_later_ones_come_and_then_the_new_ones(graph: Graph, port: int) -> None:
    connection = await graph.link(BIG)
    ids = [await append(graph, connection.id) for _ in range(3)]
    async with subscribe_by_sse(port, EVENTS, key=graph.key, after=ids[0]) as stream:
        assert [await next_id(stream) for _ in range(2)] == ids[1:]
        new = await append(graph, connection.id)
        assert await next_id(stream) == new


@pytest.mark.parametrize(
    "after", ["evt_00000000000000000000000000", "junk", "", "con_00000000000000000000000000", "\0"]
)
async def test_after_an_event_that_is_not_there_nothing_can_be_sent(graph: Graph, port: int, after: str) -> None:
    async with subscribe_by_sse(port, EVENTS, key=graph.key, after=after) as stream:
        error = await error_of(stream)
        assert error["code"] == "UNKNOWN_EVENT"
        assert "events" in error["cure"]


async def test_conditions_that_can_match_nothing_are_refused(graph: Graph, port: int) -> None:
    async with subscribe_by_sse(port, EVENTS, key=graph.key, types=["no type!"]) as stream:
        assert (await error_of(stream))["code"] == "BAD_USER_INPUT"
    async with subscribe_by_sse(port, EVENTS, key=graph.key, connectionIds=["x"]) as stream:
        assert (await error_of(stream))["code"] == "NOT_FOUND"


@pytest.mark.parametrize("after", ["the beginning", None])
async def test_a_narrowed_caller_is_told_of_its_own_connections_and_of_those_that_become_its_own(
    graph: Graph, port: int, after: str | None
) -> None:
    mine, foreign = await graph.link(BIG, external_id="mine"), await graph.link(SMALL, external_id="foreign")
    first = await append(graph, mine.id)
    narrowed = await graph.make_key(external_ids=["mine", "late"])
    async with subscribe_by_sse(port, EVENTS, key=narrowed, after=first if after else None) as stream:
        await append(graph, foreign.id)
        await append(graph, None, "webhook_endpoint.test")
        seen = await append(graph, mine.id)
        assert await next_id(stream) == seen
        late = await graph.link(MIDDLE, external_id="late")
        payload = (await stream.payload())["data"]["events"]
        assert (payload["type"], payload["connection"]) == ("connection.linked", {"externalId": "late"})
        of_late = await append(graph, late.id)
        assert await next_id(stream) == of_late


async def test_a_connection_that_is_narrowed_to_by_id_is_seen_once_it_is_there(graph: Graph, port: int) -> None:
    mine = await graph.link(BIG, external_id="mine")
    by_id = await graph.make_key(connection_ids=[mine.id])
    async with subscribe_by_sse(port, EVENTS, key=by_id) as stream:
        foreign = await graph.link(SMALL)
        await append(graph, foreign.id)
        seen = await append(graph, mine.id)
        assert await next_id(stream) == seen


async def test_events_of_an_external_id_go_to_who_has_it_now(graph: Graph, port: int) -> None:
    old = await graph.link(BIG, external_id="mine")
    narrowed = await graph.make_key(external_ids=["mine"])
    async with subscribe_by_sse(port, EVENTS, key=narrowed) as stream:
        await graph.runtime.services.connections.unlink(graph.caller, old.id)
        assert (await stream.payload())["data"]["events"]["type"] == "connection.unlinked"
        new = await graph.link(SMALL, external_id="mine")
        assert new.id != old.id
        assert (await stream.payload())["data"]["events"]["type"] == "connection.linked"
        event = await append(graph, new.id)
        assert await next_id(stream) == event


async def test_who_reads_too_slowly_is_ended_and_goes_on_after_the_last_event(
    tmp_path: Path, sandbox: Sandbox, sqlite_url: str
) -> None:
    query = "subscription ($after: ID) { events(after: $after) { id payload } }"
    body = json.dumps(BODY | {"padding": "x" * 900_000}).encode()
    async with (
        serve_graph(tmp_path, sandbox, database_url=sqlite_url, subscription_buffer=2) as graph,
        serving(graph.app) as port,
        subscribe_by_sse(port, EVENTS, key=graph.key) as fast,
    ):
        async with subscribe_by_sse(port, query, key=graph.key) as slow:
            ids = []
            for _ in range(18):
                ids.append(await append(graph, None, body=body))
                assert await next_id(fast) == ids[-1]
            got = []
            while "errors" not in (payload := await slow.payload()):
                got.append(payload["data"]["events"]["id"])
            assert await slow.end() == "complete"
        extensions = payload["errors"][0]["extensions"]
        assert (extensions["code"], extensions["retryable"]) == ("OVERFLOW", True)
        assert 0 < len(got) < 18
        assert extensions["lastEventId"] == got[-1]
        async with subscribe_by_sse(port, query, key=graph.key, after=got[-1]) as again:
            assert got + [await next_id(again) for _ in range(18 - len(got))] == ids


async def test_a_key_that_is_revoked_ends_what_it_opened(graph: Graph) -> None:
    key = await graph.make_key(Role.READ)
    keys = await graph.runtime.services.tenants.list_keys(graph.tenant_id)
    (record,) = [each for each in keys if each.role is Role.READ]
    async with serving(graph.app) as port, subscribe_by_sse(port, EVENTS, key=key) as stream:
        await graph.runtime.services.tenants.revoke_key(graph.tenant_id, record.id)
        assert (await error_of(stream))["code"] == "UNAUTHENTICATED"
        assert await stream.end() == "complete"


async def test_what_is_asked_over_a_websocket_is_logged_and_counted(graph: Graph, port: int) -> None:
    with capture_logs() as logs:
        async with connect_socket(port, key=graph.key) as socket:
            await socket.subscribe("1", EVENTS)
            await socket.subscribe("2", "query Nothing { nothing }")
            assert (await socket.receive())["type"] == "error"
            metrics = graph.runtime.observer.metrics.render()[0].decode()
            assert "sentry_graph_streams_open 1.0" in metrics
        await until(lambda: len([line for line in logs if line["event"] == "operation"]) == 2)
    lines = [line for line in logs if line["event"] == "operation"]
    assert [line.get("operation") for line in lines] == [None, "subscription Events"]
    assert lines[0]["codes"] == ("GRAPHQL_VALIDATION_FAILED",)
    metrics = graph.runtime.observer.metrics.render()[0].decode()
    assert 'sentry_graph_graphql_requests_total{outcome="OK",type="subscription"} 1.0' in metrics
    assert 'outcome="GRAPHQL_VALIDATION_FAILED",type="unknown"} 1.0' in metrics


async def test_nothing_is_left_behind(graph: Graph, port: int) -> None:
    for _ in range(3):
        async with subscribe_by_sse(port, EVENTS, key=graph.key), connect_socket(port, key=graph.key) as socket:
            await socket.subscribe("1", EVENTS)
    await until(lambda: not graph.runtime.sessions.count and not graph.runtime.services.feed._tails)
