"""Webhook receivers and the quarantine in the graph, with webhooks that come to them over HTTP."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.sentry.signatures import sign
from service.tenants.caller import Role
from tests.canary import find_canary
from tests.graph_fixture import BIG, MIDDLE, Graph, serve_graph
from tests.webhooks.receiving import OTHER_UUID, SECRET, issue, service_hook, signed

FIELDS = "id kind url createdAt lastUsedAt previousSecretUntil connection { id }"
CREATE = """mutation ($input: CreateWebhookReceiverInput!) { createWebhookReceiver(input: $input) { %s } }""" % FIELDS
ROTATE = (
    """mutation ($input: RotateWebhookReceiverSecretInput!) { rotateWebhookReceiverSecret(input: $input) { %s } }"""
    % FIELDS
)
DELETE = "mutation ($id: ID!) { deleteWebhookReceiver(id: $id) }"
LIST = "query ($id: ID!) { webhookReceivers(connectionId: $id) { %s } }" % FIELDS
QUARANTINE = """query ($first: Int, $after: String, $last: Int, $before: String) {
  webhookQuarantine(first: $first, after: $after, last: $last, before: $before) {
    nodes { id reason type connectionId receiverId installationId receivedAt }
    edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""
EVENTS = 'query ($id: ID!) { events(connectionIds: [$id], types: ["issue.*", "event.*"]) { nodes { type } } }'


async def create(
    graph: Graph, connection_id: str, kind: str = "INTERNAL_INTEGRATION", secret: str | None = SECRET
) -> Any:
    made = await graph.query(CREATE, input={"connectionId": connection_id, "kind": kind, "secret": secret})
    return made["createWebhookReceiver"]


async def post(graph: Graph, url: str, body: bytes, secret: str = SECRET, **headers: str) -> int:
    given = signed(body, secret, "issue") | headers
    return (await graph.http.post(url, content=body, headers=given)).status_code


async def test_a_receiver_from_its_making_to_its_end(graph: Graph) -> None:
    connection = await graph.link(BIG)
    made = await create(graph, connection.id)
    assert made["kind"] == "INTERNAL_INTEGRATION"
    assert made["url"].startswith(f"http://service.test/webhooks/in/{made['id']}/")
    assert made["connection"]["id"] == connection.id
    assert made["lastUsedAt"] is made["previousSecretUntil"] is None
    assert await post(graph, made["url"], issue(1)) == 200

    fresh = "a9" * 32
    rotated = (await graph.query(ROTATE, input={"id": made["id"], "secret": fresh}))["rotateWebhookReceiverSecret"]
    assert rotated["url"] == made["url"]
    assert rotated["previousSecretUntil"] is not None
    assert await post(graph, made["url"], issue(2)) == 200
    assert await post(graph, made["url"], issue(3), fresh) == 200
    await graph.query(ROTATE, input={"id": made["id"], "secret": fresh, "keepPreviousFor": 0})
    assert await post(graph, made["url"], issue(4)) == 401

    await graph.runtime.last_used.flush()
    hook = await create(graph, connection.id, "SERVICE_HOOK")
    listed = (await graph.query(LIST, id=connection.id))["webhookReceivers"]
    assert [each["id"] for each in listed] == [made["id"], hook["id"]]
    assert listed[0]["lastUsedAt"] is not None
    assert listed[0]["previousSecretUntil"] is None
    assert await graph.query(DELETE, id=made["id"]) == {"deleteWebhookReceiver": made["id"]}
    assert await post(graph, made["url"], issue(5)) == 401
    body = service_hook(organization=BIG)
    assert await post(graph, hook["url"], body, **{"x-servicehook-signature": sign(body, SECRET)}) == 200
    nodes = (await graph.query(EVENTS, id=connection.id))["events"]["nodes"]
    assert [node["type"] for node in nodes] == ["issue.created"] * 3 + ["event.created"]


async def test_no_answer_no_log_line_and_no_row_tells_a_secret(
    graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = await graph.link(BIG)
    variables = {"connectionId": connection.id, "kind": "INTERNAL_INTEGRATION", "secret": SECRET}
    answers = [await graph.send(CREATE, input=variables)]
    url = answers[0].json()["data"]["createWebhookReceiver"]["url"]
    answers.append(await graph.send(CREATE, input=variables | {"secret": SECRET * 9}))
    answers.append(await graph.send(LIST, id=connection.id))
    answers.append(await graph.http.post(url, content=issue(), headers=signed(issue(), SECRET, "issue")))
    answers.append(await graph.send("{ auditLog { nodes { details } } }"))
    written = b"".join(answer.content for answer in answers) + "".join(capfd.readouterr()).encode()
    assert find_canary(SECRET, written) == []
    assert find_canary(sign(issue(), SECRET), written) == []
    metrics = (await graph.http.get("/metrics")).text
    token = url.rpartition("/")[2]
    assert 'sentry_graph_webhooks_received_total{address="receiver",outcome="accepted"} 1.0' in metrics
    assert token not in metrics
    stored = b"".join((tmp_path / name).read_bytes() for name in ("test.db", "test.db-wal"))
    assert find_canary(SECRET, stored) == find_canary(token, stored) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "LEGACY_PLUGIN"}, "BAD_USER_INPUT"),
        ({"kind": "LEGACY_PLUGIN", "secret": None}, "BAD_USER_INPUT"),  # the operator does not allow it
        ({"secret": None}, "BAD_USER_INPUT"),
        ({"secret": "short"}, "BAD_USER_INPUT"),
    ],
)
async def test_what_cannot_be_a_receiver(graph: Graph, change: dict[str, Any], code: str) -> None:
    connection = await graph.link(BIG)
    wanted = {"connectionId": connection.id, "kind": "INTERNAL_INTEGRATION", "secret": SECRET} | change
    assert (await graph.error(CREATE, input=wanted))["code"] == code


@pytest.mark.parametrize("seconds", [-1, int(timedelta(days=30).total_seconds()) + 1])
async def test_an_overlap_has_bounds(graph: Graph, seconds: int) -> None:
    made = await create(graph, (await graph.link(BIG)).id)
    error = await graph.error(ROTATE, input={"id": made["id"], "secret": SECRET, "keepPreviousFor": seconds})
    assert error["code"] == "BAD_USER_INPUT"


async def test_without_a_public_address_there_is_none(tmp_path, sandbox) -> None:
    async with serve_graph(tmp_path, sandbox, public_url=None, legacy_webhooks=True) as graph:
        connection = await graph.link(BIG)
        wanted = {"connectionId": connection.id, "kind": "LEGACY_PLUGIN"}
        error = await graph.error(CREATE, input=wanted)
        assert error["code"] == "ADDRESS_UNAVAILABLE"
        assert "SENTRY_GRAPH_PUBLIC_URL" in error["cure"]


async def test_the_quarantine_in_pages_for_whom_it_came_to(graph: Graph) -> None:
    first = await graph.link(BIG, projects=["checkout"])
    second = await graph.link(MIDDLE)
    receivers = [await create(graph, connection.id) for connection in (first, second)]
    for number in range(3):
        body = issue(number, uuid=OTHER_UUID, project={"id": "999", "slug": "elsewhere"})
        assert await post(graph, receivers[0]["url"], body) == 200
    assert await post(graph, receivers[1]["url"], issue(9)) == 200
    page = (await graph.query(QUARANTINE, first=2))["webhookQuarantine"]
    assert page["pageInfo"]["hasNextPage"]
    rest = (await graph.query(QUARANTINE, first=5, after=page["pageInfo"]["endCursor"]))["webhookQuarantine"]
    nodes = page["nodes"] + rest["nodes"]
    assert len({node["id"] for node in nodes}) == len(nodes) == 3
    for node in nodes:
        assert (node["reason"], node["type"]) == ("OTHER_PROJECT", "issue.created")
        assert (node["connectionId"], node["receiverId"]) == (first.id, receivers[0]["id"])
        assert node["installationId"] == OTHER_UUID
    back = (await graph.query(QUARANTINE, last=1, before=rest["pageInfo"]["startCursor"]))["webhookQuarantine"]
    assert back["nodes"] == page["nodes"][-1:]
    narrowed = await graph.as_role(Role.ADMIN, connection_ids=[second.id])
    assert (await narrowed.query(QUARANTINE))["webhookQuarantine"]["nodes"] == []
    other = await graph.as_tenant("Other")
    assert (await other.query(QUARANTINE))["webhookQuarantine"]["nodes"] == []
    assert (await other.error(QUARANTINE, after=page["pageInfo"]["endCursor"]))["code"] == "INVALID_CURSOR"
