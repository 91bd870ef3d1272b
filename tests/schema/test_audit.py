"""The audit log in the graph: pages, filters, who sees what, and that every use of an admin's rights is in it."""

from typing import Any

import pytest

from service.journal import Outcome, note_audit
from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.canary import find_canary
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph

LOG = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: AuditFilterInput) {
  auditLog(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    nodes { id at actor action outcome connectionId details }
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


async def log(graph: Graph, **arguments: Any) -> Any:
    return (await graph.query(LOG, **arguments))["auditLog"]


async def add(graph: Graph, count: int, connection_id: str | None = None, tenant_id: str | None = None) -> None:
    async def work(session: Any) -> None:
        for number in range(count):
            note_audit(
                session,
                "test.one" if number % 2 else "test.two",
                tenant_id or graph.tenant_id,
                actor="somebody",
                connection_id=connection_id,
                outcome=Outcome.FAILED if number % 3 == 0 else Outcome.SUCCEEDED,
                details={"number": number},
            )

    await graph.runtime.database.run_transaction(work)


async def test_every_use_of_an_admins_rights_is_in_it_and_no_secret(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="cust")
    project = graph.sandbox.world.organizations[0].projects[0].slug
    shown = []
    for text in (
        'mutation ($id: ID!) { updateConnection(input: {id: $id, name: "New"}) { id } }',
        f'mutation ($id: ID!) {{ updateConnection(input: {{id: $id, projects: ["{project}"]}}) {{ id }} }}',
        "mutation ($id: ID!) { updateConnection(input: {id: $id, profile: READ}) { id } }",
        'mutation { createLinkSession(input: {externalId: "cust"}) { url linkSession { id } } }',
        'mutation { createApiKey(input: {name: "k"}) { key apiKey { id } } }',
        "mutation ($id: ID!) { unlinkConnection(id: $id) { id } }",
    ):
        answer = await graph.query(text, **({"id": connection.id} if "$id" in text else {}))
        shown.append(answer)
    session, key = shown[3]["createLinkSession"], shown[4]["createApiKey"]
    await graph.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", id=key["apiKey"]["id"])
    await graph.query("mutation ($id: ID!) { cancelLinkSession(id: $id) { id } }", id=session["linkSession"]["id"])
    link = "mutation ($t: String!, $o: String!) { linkConnection(input: {token: $t, origin: $o}) { id } }"
    await graph.error(link, t=DEMO_TOKENS.expired, o=graph.sandbox.url)

    entries = (await log(graph, first=100))["nodes"]
    done = [(entry["action"], entry["outcome"]) for entry in entries if entry["actor"].startswith("key:key_")][::-1]
    assert [action for action, outcome in done if outcome == "SUCCEEDED"] == [
        "connection.update",
        "connection.update",
        "connection.set_projects",
        "connection.update",
        "link_session.create",
        "api_key.create",
        "connection.unlink",
        "api_key.revoke",
        "link_session.cancel",
    ]
    assert done[-1] == ("connection.link", "FAILED")
    of_connection = (await log(graph, filter={"connectionId": connection.id}))["nodes"]
    assert {entry["action"] for entry in of_connection} >= {"connection.link", "connection.unlink"}
    assert {entry["connectionId"] for entry in of_connection} == {connection.id}
    written = (await graph.send(LOG, first=100)).content
    for secret in (DEMO_TOKENS.admin, DEMO_TOKENS.expired, key["key"].rpartition("_")[2], session["url"][-43:]):
        assert find_canary(secret, written) == []


async def test_pages_both_ways_from_the_newest(graph: Graph) -> None:
    await add(graph, 7)
    ids = [node["id"] for node in (await log(graph))["nodes"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 9  # and the tenant and the key of the fixture
    first = await log(graph, first=4)
    assert [edge["node"]["id"] for edge in first["edges"]] == ids[:4]
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    rest = await log(graph, first=9, after=first["pageInfo"]["endCursor"])
    assert [node["id"] for node in rest["nodes"]] == ids[4:]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)
    back = await log(graph, last=2, before=rest["pageInfo"]["startCursor"])
    assert [node["id"] for node in back["nodes"]] == ids[2:4]
    assert (back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (True, True)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"action": "test.one"}, [5, 3, 1]),
        ({"outcome": "FAILED"}, [6, 3, 0]),
        ({"action": "test.one", "outcome": "FAILED"}, [3]),
        ({"action": "test"}, []),
        ({"connectionId": "con_" + "0" * 26}, []),
        ({"connectionId": "\u0000"}, []),
        ({"action": "x" * 300}, []),
    ],
)
async def test_filters_hold_together(graph: Graph, wanted: dict[str, Any], numbers: list[int]) -> None:
    await add(graph, 7)
    found = (await log(graph, filter=wanted))["nodes"]
    assert sorted((node["details"]["number"] for node in found), reverse=True) == numbers  # made in one millisecond


async def test_a_cursor_belongs_to_its_filter_and_tenant(graph: Graph) -> None:
    await add(graph, 7)
    cursor = (await log(graph, first=1))["pageInfo"]["endCursor"]
    assert (await graph.error(LOG, after=cursor, filter={"action": "test.one"}))["code"] == "INVALID_CURSOR"
    other = await graph.as_tenant("Other")
    assert (await other.error(LOG, after=cursor))["code"] == "INVALID_CURSOR"


async def test_each_tenant_has_its_own(graph: Graph) -> None:
    other = await graph.as_tenant("Other")
    await add(graph, 3)
    entries = (await log(other))["nodes"]
    assert {entry["action"] for entry in entries} == {"tenant.create", "api_key.create"}


async def test_a_narrowed_admin_sees_what_was_done_to_its_connections(graph: Graph) -> None:
    own, other = await graph.link(MIDDLE, external_id="own"), await graph.link(BIG)
    by_external_id = await graph.link(SMALL, external_id="too")
    for narrowed in (
        await graph.as_role(Role.ADMIN, connection_ids=[own.id]),
        await graph.as_role(Role.ADMIN, external_ids=["own"]),
    ):
        entries = (await log(narrowed))["nodes"]
        assert [(entry["action"], entry["connectionId"]) for entry in entries] == [("connection.link", own.id)]
        assert (await log(narrowed, filter={"connectionId": other.id}))["nodes"] == []
    both = await graph.as_role(Role.ADMIN, connection_ids=[own.id], external_ids=["too"])
    assert {entry["connectionId"] for entry in (await log(both))["nodes"]} == {own.id, by_external_id.id}
    nothing = await graph.as_role(Role.ADMIN, connection_ids=[])
    assert (await log(nothing))["nodes"] == []
