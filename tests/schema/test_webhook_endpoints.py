"""Webhook endpoints in the graph: made, changed, tested; and their delivery log, which says why one fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import standardwebhooks

from service.events.append import NewEvent, append_events
from service.sandbox.app import Sandbox
from service.tenants.caller import Role
from tests.faults.replicas import until
from tests.graph_fixture import BIG, MIDDLE, Graph, serve_graph
from tests.sentry.upstream import Upstream, answer, serve
from tests.statements import statements

FIELDS = """
  id url name status disabledReason failingSince problem payload types connectionIds projects environments levels
  previousSecretUntil createdAt updatedAt
"""
LOG = """
  id endpointId eventId status replayOf createdAt finishedAt nextAttemptAt error event { type synthetic }
  attempts { number startedAt duration status error answer }
"""
CREATE = (
    "mutation ($input: CreateWebhookEndpointInput!) { createWebhookEndpoint(input: $input) "
    "{ secret webhookEndpoint { %s } } }" % FIELDS
)
UPDATE = "mutation ($input: UpdateWebhookEndpointInput!) { updateWebhookEndpoint(input: $input) { %s } }" % FIELDS
GET = "query ($id: ID!) { webhookEndpoint(id: $id) { %s } }" % FIELDS
LIST = """query ($first: Int, $after: String) {
  webhookEndpoints(first: $first, after: $after) { totalCount nodes { id } pageInfo { hasNextPage endCursor } }
}"""
DELIVERIES = (
    "query ($id: ID!, $status: WebhookDeliveryStatus, $first: Int, $after: String) { webhookEndpoint(id: $id) "
    "{ problem deliveries(status: $status, first: $first, after: $after) "
    "{ nodes { %s } pageInfo { hasNextPage endCursor } } } }" % LOG
)
TEST = "mutation ($id: ID!) { testWebhookEndpoint(id: $id) { %s } }" % LOG
REPLAY = "mutation ($id: ID!) { replayWebhookDelivery(id: $id) { id replayOf eventId status } }"
REPLAY_DEAD = "mutation ($id: ID!) { replayDeadWebhookDeliveries(endpointId: $id) { count lastEventId hasMore } }"
REPLAY_EVENTS = (
    "mutation ($input: ReplayWebhookEventsInput!) { replayWebhookEvents(input: $input) { count lastEventId hasMore } }"
)
URL = "https://consumer.example/hooks"


async def create(graph: Graph, **input_: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await graph.query(CREATE, input={"url": URL} | input_))["createWebhookEndpoint"]
    return made


async def log(graph: Graph, endpoint_id: str, **arguments: Any) -> list[dict[str, Any]]:
    found = (await graph.query(DELIVERIES, id=endpoint_id, **arguments))["webhookEndpoint"]["deliveries"]["nodes"]
    return list(found)


async def happen(graph: Graph, *types: str, connection_id: str | None = None) -> None:
    """Events of the tenant."""
    new = [NewEvent(graph.tenant_id, type_, connection_id, body=b'{"action":"x"}') for type_ in types]
    await graph.runtime.database.run_transaction(lambda session: append_events(session, new))


@asynccontextmanager
async def forwarding(folder: Path, sandbox: Sandbox, url: str, receiver: Upstream) -> AsyncIterator[Graph]:
    """The service, allowed to call a receiver."""
    settings = {"database_url": url, "forward_allow": (receiver.origin.url,)}
    async with serve_graph(folder, sandbox, **settings) as graph:
        yield graph


async def test_an_endpoint_is_made_as_asked(graph: Graph) -> None:
    connection = await graph.link(BIG)
    asked = {
        "url": URL,
        "name": "Billing",
        "payload": "SENTRY",
        "types": ["error.*", "issue.resolved"],
        "connectionIds": [connection.id],
        "projects": ["web"],
        "environments": ["production"],
        "levels": ["error"],
    }
    made = await create(graph, **asked)
    endpoint = made["webhookEndpoint"]
    assert {name: endpoint[name] for name in asked} == asked
    assert made["secret"].startswith("whsec_")
    assert (endpoint["status"], endpoint["problem"], endpoint["previousSecretUntil"]) == ("ENABLED", None, None)
    assert (await graph.query(GET, id=endpoint["id"]))["webhookEndpoint"] == endpoint
    answer_ = await graph.send(GET, id=endpoint["id"])
    assert made["secret"].removeprefix("whsec_") not in answer_.text


async def test_what_is_absent_stays_and_null_lifts_a_limit(graph: Graph) -> None:
    made = (await create(graph, types=["issue.*"], levels=["error"]))["webhookEndpoint"]
    changed = (await graph.query(UPDATE, input={"id": made["id"], "name": "x", "types": None}))["updateWebhookEndpoint"]
    assert (changed["name"], changed["types"], changed["levels"], changed["url"]) == ("x", None, ["error"], URL)
    changed = (await graph.query(UPDATE, input={"id": made["id"], "levels": ["fatal"]}))["updateWebhookEndpoint"]
    assert (changed["name"], changed["levels"]) == ("x", ["fatal"])


async def test_endpoints_are_listed_in_pages(graph: Graph) -> None:
    ids = [(await create(graph))["webhookEndpoint"]["id"] for _ in range(3)]
    first = (await graph.query(LIST, first=2))["webhookEndpoints"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    second = (await graph.query(LIST, first=2, after=first["pageInfo"]["endCursor"]))["webhookEndpoints"]
    assert {node["id"] for page in (first, second) for node in page["nodes"]} == set(ids)
    assert second["pageInfo"]["hasNextPage"] is False


async def test_what_cannot_be_is_refused_with_a_cure(graph: Graph) -> None:
    for input_, code in (
        ({"url": "http://consumer.example/"}, "EGRESS_REFUSED"),
        ({"url": "https://127.0.0.1/"}, "EGRESS_REFUSED"),
        ({"url": "https://user:pass@consumer.example/"}, "BAD_USER_INPUT"),
        ({"types": ["nonsense"]}, "BAD_USER_INPUT"),
    ):
        error = await graph.error(CREATE, input={"url": URL} | input_)
        assert error["code"] == code
        assert error["cure"]
    missing = {"url": URL, "connectionIds": ["con_" + "0" * 26]}
    assert (await graph.error(CREATE, input=missing))["code"] == "NOT_FOUND"


async def test_the_log_says_why_an_endpoint_fails(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> None:
    elsewhere = answer(b"moved \0 away", status="302 Found", headers={"Location": "/x", "Connection": "close"})
    async with serve(elsewhere) as receiver, forwarding(tmp_path, sandbox, sqlite_url, receiver) as graph:
        made = await create(graph, url=f"{receiver.origin}/hook", types=["comment.created"])
        endpoint = made["webhookEndpoint"]
        planned = (await graph.query(TEST, id=endpoint["id"]))["testWebhookEndpoint"]
        assert (planned["status"], planned["endpointId"]) == ("PENDING", endpoint["id"])

        async def is_tried() -> bool:
            return bool((await log(graph, endpoint["id"]))[0]["attempts"])

        await until(is_tried)
        [delivery] = await log(graph, endpoint["id"])
        found = (await graph.query(GET, id=endpoint["id"]))["webhookEndpoint"]

    why = "The endpoint answered 302, a redirect: none is followed. Give the address that it leads to."
    assert (delivery["id"], delivery["status"], delivery["error"]) == (planned["id"], "PENDING", why)
    assert delivery["event"] == {"type": "webhook_endpoint.test", "synthetic": True}
    [attempt] = delivery["attempts"]
    assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 302, why)
    assert attempt["answer"] == "moved \ufffd away"
    assert attempt["duration"] >= 0
    started, next_ = (datetime.fromisoformat(each) for each in (attempt["startedAt"], delivery["nextAttemptAt"]))
    assert timedelta(seconds=4) < next_ - started < timedelta(seconds=15)
    assert (found["problem"], found["status"]) == (why, "ENABLED")
    assert found["failingSince"] is not None
    [request] = receiver.requests
    assert (
        standardwebhooks.Webhook(made["secret"]).verify(request.body, dict(request.headers))["id"]
        == delivery["eventId"]
    )


async def test_what_arrived_and_what_was_given_up_can_be_sent_again(
    tmp_path: Path, sandbox: Sandbox, sqlite_url: str
) -> None:
    close = {"Connection": "close"}
    answers = [answer(b"", status="410 Gone", headers=close), *[answer(b"", headers=close)] * 10]

    async def behave(_: Any, writer: Any) -> None:
        writer.write(answers.pop(0))

    async with serve(behave) as receiver, forwarding(tmp_path, sandbox, sqlite_url, receiver) as graph:
        endpoint_id = (await create(graph, url=f"{receiver.origin}/"))["webhookEndpoint"]["id"]

        async def statuses() -> list[str]:
            return sorted(delivery["status"] for delivery in await log(graph, endpoint_id))

        async def until_statuses(*expected: str) -> None:
            async def are_so() -> bool:
                return await statuses() == sorted(expected)

            await until(are_so)

        await happen(graph, "issue.resolved")
        await until_statuses("DEAD")
        found = (await graph.query(GET, id=endpoint_id))["webhookEndpoint"]
        assert (found["status"], found["disabledReason"]) == ("DISABLED", "gone")
        assert "410" in found["problem"]
        assert (await graph.error(REPLAY_DEAD, id=endpoint_id))["code"] == "CONFLICT"

        enable = "mutation ($id: ID!) { enableWebhookEndpoint(id: $id) { status disabledReason problem } }"
        enabled = (await graph.query(enable, id=endpoint_id))["enableWebhookEndpoint"]
        assert enabled == {"status": "ENABLED", "disabledReason": None, "problem": None}
        replayed = (await graph.query(REPLAY_DEAD, id=endpoint_id))["replayDeadWebhookDeliveries"]
        assert (replayed["count"], replayed["hasMore"]) == (1, False)
        await until_statuses("REPLAYED", "DELIVERED")

        [delivered] = await log(graph, endpoint_id, status="DELIVERED")
        again = (await graph.query(REPLAY, id=delivered["id"]))["replayWebhookDelivery"]
        assert (again["replayOf"], again["eventId"]) == (delivered["id"], delivered["eventId"])
        await until_statuses("REPLAYED", "DELIVERED", "DELIVERED")

        range_ = {"endpointId": endpoint_id, "since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
        replayed = (await graph.query(REPLAY_EVENTS, input=range_))["replayWebhookEvents"]
        assert replayed["count"] == 2  # the endpoint's being disabled is an event, too
        await until_statuses("REPLAYED", *["DELIVERED"] * 4)
    ids = [dict(request.headers)["webhook-id"] for request in receiver.requests]
    assert ids.count(delivered["eventId"]) == 4


async def test_a_secret_is_replaced_and_an_endpoint_deleted(graph: Graph) -> None:
    made = await create(graph)
    endpoint_id = made["webhookEndpoint"]["id"]
    rotate = """mutation ($id: ID!) {
      rotateWebhookEndpointSecret(id: $id) { secret webhookEndpoint { previousSecretUntil } }
    }"""
    rotated = (await graph.query(rotate, id=endpoint_id))["rotateWebhookEndpointSecret"]
    assert rotated["secret"] != made["secret"]
    until_ = datetime.fromisoformat(rotated["webhookEndpoint"]["previousSecretUntil"])
    assert timedelta(hours=23) < until_ - datetime.now(UTC) <= timedelta(hours=24)
    delete = "mutation ($id: ID!) { deleteWebhookEndpoint(id: $id) }"
    assert (await graph.query(delete, id=endpoint_id)) == {"deleteWebhookEndpoint": endpoint_id}
    assert (await graph.query(GET, id=endpoint_id)) == {"webhookEndpoint": None}
    assert (await graph.error(delete, id=endpoint_id))["code"] == "NOT_FOUND"


async def test_the_log_comes_in_pages_with_as_many_statements_for_many_as_for_one(graph: Graph) -> None:
    connection = await graph.link(MIDDLE)
    endpoint_id = (await create(graph, types=["issue.*"]))["webhookEndpoint"]["id"]
    await happen(graph, *["issue.resolved"] * 25, connection_id=connection.id)
    sent = []
    for first in (1, 20):
        with statements() as counted:
            await log(graph, endpoint_id, first=first)
        sent.append(len(counted))
    assert sent[0] == sent[1]
    page = (await graph.query(DELIVERIES, id=endpoint_id, first=20))["webhookEndpoint"]["deliveries"]
    rest = await log(graph, endpoint_id, first=20, after=page["pageInfo"]["endCursor"])
    assert len({delivery["id"] for delivery in [*page["nodes"], *rest]}) == 25
    other = (await create(graph))["webhookEndpoint"]["id"]
    error = await graph.error(DELIVERIES, id=other, after=page["pageInfo"]["endCursor"])
    assert error["code"] == "INVALID_CURSOR"
    assert (await graph.error(DELIVERIES, id=other, first=101))["code"] == "BAD_USER_INPUT"


async def test_a_narrowed_admin_is_shown_its_own_endpoints_and_what_was_done_with_them(graph: Graph) -> None:
    mine, other = await graph.link(BIG), await graph.link(MIDDLE)
    narrowed = await graph.as_role(Role.ADMIN, connection_ids=[mine.id])
    wide = (await create(graph))["webhookEndpoint"]["id"]
    own = (await create(narrowed, connectionIds=[mine.id]))["webhookEndpoint"]["id"]
    assert (await narrowed.query(LIST))["webhookEndpoints"]["nodes"] == [{"id": own}]
    assert (await narrowed.query(GET, id=wide)) == {"webhookEndpoint": None}
    assert (await narrowed.error(CREATE, input={"url": URL}))["code"] == "FORBIDDEN"
    assert (await narrowed.error(CREATE, input={"url": URL, "connectionIds": [other.id]}))["code"] == "NOT_FOUND"
    assert (await narrowed.error(UPDATE, input={"id": own, "connectionIds": None}))["code"] == "FORBIDDEN"
    entries = await narrowed.query(
        '{ auditLog(filter: {action: "webhook_endpoint.create"}) { nodes { connectionId } } }'
    )
    assert entries["auditLog"]["nodes"] == [{"connectionId": mine.id}]
