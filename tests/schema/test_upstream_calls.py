"""How many calls to Sentry a query costs: the promise of the loaders, shape by shape."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from service.sandbox.app import Sandbox
from service.sandbox.faults import Delay
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph, serve_graph

USERS = "query ($ids: [ID!], $first: Int = 100) { users(connectionIds: $ids, first: $first) { %s } }"
NODE = "edges { node { id name email status roles { name } lastActiveAt } }"
GROUPS = "edges { node { id groups { id name } groupRoles { name } } }"


async def user_ids(graph: Graph, connection_id: str, count: int) -> list[str]:
    users = (await graph.query(USERS % "nodes { id }", ids=[connection_id], first=count))["users"]
    graph.sandbox.requests.clear()
    return [node["id"] for node in users["nodes"]]


@pytest.mark.parametrize(
    ("selection", "first", "calls"),
    [
        (NODE, 100, 1),
        (NODE, 10, 1),
        (NODE + " totalCount pageInfo { endCursor }", 100, 1),
        ("failures { code }", 100, 1),
        ("edges { node { id remoteData } }", 100, 1),
        ("edges { node { id connection { id name } } }", 100, 1),
        (NODE, 250, 3),
        ("edges { node { id remoteDetail } }", 5, 6),
    ],
)
async def test_a_page_of_users(graph: Graph, selection: str, first: int, calls: int) -> None:
    connection = await graph.link(BIG)
    users = (await graph.query(USERS % selection, ids=[connection.id], first=first))["users"]
    assert graph.calls() == calls
    assert len(users.get("edges", ())) in {0, first}


async def test_a_hundred_users_by_id_are_one_call(graph: Graph) -> None:
    connection = await graph.link(BIG)
    ids = await user_ids(graph, connection.id, 100)
    nodes = (await graph.query("query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on User { email } } }", ids=ids))[
        "nodes"
    ]
    assert [node["id"] for node in nodes] == ids
    assert graph.calls() == 1


async def test_a_hundred_entities_are_one_call(graph: Graph) -> None:
    connection = await graph.link(BIG)
    ids = await user_ids(graph, connection.id, 100)
    entities = await graph.query(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { id email } } }",
        r=[{"__typename": "User", "id": each} for each in ids],
    )
    assert [entity["id"] for entity in entities["_entities"]] == ids
    assert graph.calls() == 1


async def test_addresses_too_long_for_one_call_are_spread_over_several(graph: Graph) -> None:
    connection = await graph.link(BIG)
    addresses = [f"{number:0>188}@example.com" for number in range(60)]  # 29 of them in 6000 characters
    entities = await graph.query(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { id } } }",
        r=[{"__typename": "User", "connectionId": connection.id, "email": each} for each in addresses],
    )
    assert entities["_entities"] == [None] * 60
    assert graph.calls() == 3


async def test_entities_of_two_connections_are_a_call_each(graph: Graph) -> None:
    one, other = await graph.link(BIG), await graph.link(MIDDLE)
    ids = [*await user_ids(graph, one.id, 10), *await user_ids(graph, other.id, 10)]
    await graph.query(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { email } } }",
        r=[{"__typename": "User", "id": each} for each in ids],
    )
    assert graph.calls() == 2


async def test_connections_by_either_key_cost_nothing(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="customer-1")
    entities = await graph.query(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on Connection { name } } }",
        r=[{"__typename": "Connection", "id": connection.id}, {"__typename": "Connection", "externalId": "customer-1"}],
    )
    assert [entity["name"] for entity in entities["_entities"]] == [connection.name] * 2
    assert graph.calls() == 0


async def test_equal_look_ups_in_a_request_are_one_call(graph: Graph) -> None:
    connection = await graph.link(BIG)
    (user_id,) = await user_ids(graph, connection.id, 1)
    await graph.query(
        "query ($id: ID!) { a: user(id: $id) { name } b: user(id: $id) { email } n: node(id: $id) { id } }", id=user_id
    )
    assert graph.calls() == 1


async def test_sixty_four_equal_queries_at_once_share_their_calls(graph: Graph) -> None:
    connection = await graph.link(BIG)
    graph.sandbox.faults.add(Delay(seconds=0.3))  # as far away as a real Sentry
    await asyncio.gather(*(graph.query(USERS % NODE, ids=[connection.id]) for _ in range(64)))
    assert max(Counter(request.target for request in graph.sandbox.requests).values()) <= 2


async def test_equal_reads_through_the_proxy_share_their_call(graph: Graph) -> None:
    connection = await graph.link(BIG)
    graph.sandbox.faults.add(Delay(seconds=0.3))
    text = 'query ($id: ID!) { proxy(connectionId: $id, path: "organizations/{organization}/projects/") { result } }'
    await asyncio.gather(*(graph.query(text, id=connection.id) for _ in range(64)))
    assert graph.calls() <= 2


async def test_groups_of_a_page_are_the_teams_and_a_walk_of_each(graph: Graph) -> None:
    connection = await graph.link(BIG)
    users = (await graph.query(USERS % GROUPS, ids=[connection.id]))["users"]
    lumen = graph.sandbox.world.organizations[0]
    walks = sum(1 for team in lumen.teams if graph.calls(f"/teams/{BIG}/{team.slug}/members/"))
    assert walks == graph.calls(f"/teams/{BIG}/")
    assert graph.calls() == 1 + 1 + walks
    assert any(edge["node"]["groups"] for edge in users["edges"])
    await graph.query(USERS % GROUPS, ids=[connection.id])
    assert graph.calls() == 1 + 1 + walks + 1


async def test_a_request_asks_for_teams_once_though_nothing_is_remembered(tmp_path: Path, sandbox: Sandbox) -> None:
    async with serve_graph(tmp_path, sandbox, group_cache_seconds=0) as graph:
        connection = await graph.link(BIG)
        for asked in (1, 2):
            await graph.query(USERS % GROUPS, ids=[connection.id])
            assert graph.calls(f"/organizations/{BIG}/teams/") == asked


async def test_groups_of_a_few_are_asked_for_one_by_one(graph: Graph) -> None:
    connection = await graph.link(BIG)
    await graph.query(USERS % GROUPS, ids=[connection.id], first=2)
    assert graph.calls(rf"/organizations/{BIG}/members/\d+/") == 2
    assert graph.calls() == 1 + 1 + 2


async def test_several_connections_stop_where_the_page_is_full(graph: Graph) -> None:
    for organization in (BIG, MIDDLE, SMALL):
        await graph.link(organization)
    await graph.query(USERS % NODE, first=50)
    assert graph.calls() == 1


async def test_connections_side_by_side_are_read_together(graph: Graph) -> None:
    for organization in (BIG, MIDDLE, SMALL):
        await graph.link(organization)
    await graph.query("{ connections { nodes { users(first: 5) { nodes { name } } } } }")
    assert graph.calls() == 3


async def test_a_page_through_the_proxy_is_one_call(graph: Graph) -> None:
    await graph.link(BIG)
    await graph.query(
        '{ connections { nodes { proxy(path: "organizations/{organization}/issues/", first: 10) { result } } } }'
    )
    assert graph.calls() == 1


async def test_users_by_address_are_one_call(graph: Graph) -> None:
    connection = await graph.link(BIG)
    users = (await graph.query(USERS % "nodes { email }", ids=[connection.id], first=20))["users"]["nodes"]
    graph.sandbox.requests.clear()
    entities = await graph.query(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { email } } }",
        r=[{"__typename": "User", "connectionId": connection.id, "email": user["email"].upper()} for user in users],
    )
    assert entities["_entities"] == users
    assert graph.calls() == 1


async def test_fields_of_the_connection_cost_nothing(graph: Graph) -> None:
    await graph.link(BIG)
    await graph.query(
        "{ connections { totalCount nodes { id name scopes missingScopes { feature } rateLimit { limit } } } }"
    )
    assert graph.calls() == 0
