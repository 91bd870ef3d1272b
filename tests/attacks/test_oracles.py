"""Foreign and missing things cannot be told apart by the work that they cause either: the database is asked alike."""

import pytest

from service.ids import build_user_id, new_id
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, Graph
from tests.statements import statements

BY_ID = {
    "connection": "query ($id: ID!) { connection(id: $id) { name } }",
    "users": "query ($id: ID!) { users(connectionIds: [$id]) { nodes { email } } }",
    "proxy": 'query ($id: ID!) { proxy(connectionId: $id, path: "organizations/{organization}/") { result } }',
    "write": 'mutation ($id: ID!) { proxy(connectionId: $id, method: "POST", '
    'path: "organizations/{organization}/teams/", idempotencyKey: "k") { result } }',
    "diagnosis": "query ($id: ID!) { connection(id: $id) { diagnosis { problems { code } } } }",
    "audit": "query ($id: ID!) { auditLog(filter: {connectionId: $id}) { nodes { action } } }",
    "unlink": "mutation ($id: ID!) { unlinkConnection(id: $id) { name } }",
}
BY_EXTERNAL_ID = (
    'query ($id: ID!) { _entities(representations: [{__typename: "Connection", externalId: $id}]) '
    "{ ... on Connection { name } } }"
)


@pytest.fixture(params=["other tenant", "narrowed"])
async def stranger(graph: Graph, request: pytest.FixtureRequest) -> tuple[Graph, str, str]:
    """A caller, and the id and externalId of a connection that it must not see, and that is in the cache."""
    secret = await graph.link(BIG, external_id="customer-1")
    if request.param == "narrowed":
        own = await graph.link(MIDDLE)
        caller = await graph.as_role(Role.ADMIN, connection_ids=[own.id])
    else:
        caller = await graph.as_tenant("Other")
    # From here on the caller is known, and which connections it sees.
    await caller.query("{ connections { totalCount } auditLog(first: 1) { nodes { action } } }")
    await graph.query(BY_ID["connection"], id=secret.id)
    return caller, secret.id, secret.external_id


async def work(caller: Graph, text: str, id_: str) -> list[str]:
    with statements() as sent:
        await caller.send(text, id=id_)
    return sent


@pytest.mark.parametrize("name", BY_ID)
async def test_a_foreign_id_is_looked_up_like_a_missing_one(stranger: tuple[Graph, str, str], name: str) -> None:
    caller, connection_id, _ = stranger
    there = await work(caller, BY_ID[name], connection_id)
    nowhere = await work(caller, BY_ID[name], new_id("con"))
    assert there == nowhere
    assert there


async def test_a_foreign_external_id_is_looked_up_like_a_missing_one(stranger: tuple[Graph, str, str]) -> None:
    caller, _, external_id = stranger
    there, nowhere = await work(caller, BY_EXTERNAL_ID, external_id), await work(caller, BY_EXTERNAL_ID, "customer-2")
    assert there == nowhere
    assert there


async def test_a_foreign_user_is_looked_up_like_a_missing_one(stranger: tuple[Graph, str, str]) -> None:
    caller, connection_id, _ = stranger
    text = "query ($id: ID!) { user(id: $id) { email } }"
    there = await work(caller, text, build_user_id(connection_id, "1"))
    assert there == await work(caller, text, build_user_id(new_id("con"), "1"))
    assert there
