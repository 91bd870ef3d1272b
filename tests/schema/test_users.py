from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph

PAGE = """
query Page($ids: [ID!], $first: Int, $after: String, $last: Int, $before: String, $filter: UserFilterInput, $orderBy: UserOrderInput) {
  users(connectionIds: $ids, first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) {
    totalCount
    edges { cursor node { id email name status connectionId } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    failures { connectionId code }
  }
}
"""


async def test_a_page_of_users(graph: Graph) -> None:
    connection = await graph.link(BIG)
    data = await graph.query(PAGE, ids=[connection.id], first=100)
    assert len(data["users"]["edges"]) == 100
    assert graph.calls() == 1
    assert data["users"]["failures"] == []
    assert data["users"]["totalCount"] is None


async def test_walking_every_user_of_every_connection(graph: Graph) -> None:
    for organization in (BIG, MIDDLE, SMALL):
        await graph.link(organization)
    seen: list[str] = []
    after = None
    while True:
        users = (await graph.query(PAGE, first=70, after=after))["users"]
        seen += [edge["node"]["id"] for edge in users["edges"]]
        if not users["pageInfo"]["hasNextPage"]:
            break
        after = users["pageInfo"]["endCursor"]
    expected = sum(len(organization.members) for organization in graph.sandbox.world.organizations)
    assert len(seen) == len(set(seen))
    assert 0 < len(seen) <= expected
