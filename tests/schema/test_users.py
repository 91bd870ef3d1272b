from pathlib import Path

import pytest

from service.sandbox.app import Sandbox
from service.sandbox.faults import Fail
from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph, serve_graph

PAGE = """
query Page(
  $ids: [ID!], $first: Int, $after: String, $last: Int, $before: String, $filter: UserFilterInput
  $orderBy: UserOrderInput
) {
  users(
    connectionIds: $ids, first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy
  ) {
    totalCount
    edges { cursor node { id email name status connectionId } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    failures { connectionId code message cure retryable extensions }
  }
}
"""


def emails(users: dict) -> list[str]:
    return [edge["node"]["email"] for edge in users["edges"]]


async def walk(graph: Graph, **arguments) -> list[str]:
    """Every user's address, page by page."""
    found: list[str] = []
    after = None
    while True:
        users = (await graph.query(PAGE, after=after, **arguments))["users"]
        found += emails(users)
        if not users["pageInfo"]["hasNextPage"]:
            return found
        after = users["pageInfo"]["endCursor"]


async def test_a_page_says_where_it_stands(graph: Graph) -> None:
    connection = await graph.link(BIG)
    users = (await graph.query(PAGE, ids=[connection.id]))["users"]
    assert len(users["edges"]) == 50
    assert users["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": users["edges"][0]["cursor"],
        "endCursor": users["edges"][-1]["cursor"],
    }
    assert users["totalCount"] is None
    assert users["failures"] == []


async def test_walking_meets_everybody_once(graph: Graph) -> None:
    for organization in (BIG, MIDDLE, SMALL):
        await graph.link(organization)
    whole = (await graph.query(PAGE, first=1000))["users"]
    assert len({edge["node"]["id"] for edge in whole["edges"]}) == len(whole["edges"]) > 260
    assert await walk(graph, first=70) == emails(whole)


async def test_walking_back_meets_the_same(graph: Graph) -> None:
    for organization in (BIG, SMALL):
        await graph.link(organization)
    whole = (await graph.query(PAGE, first=1000))["users"]
    before = whole["edges"][-1]["cursor"]
    back: list[str] = [emails(whole)[-1]]
    while True:
        users = (await graph.query(PAGE, last=90, before=before))["users"]
        back = emails(users) + back
        assert users["pageInfo"]["hasNextPage"]
        if not users["pageInfo"]["hasPreviousPage"]:
            break
        before = users["pageInfo"]["startCursor"]
    assert back == emails(whole)


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_filters(graph: Graph, manner) -> None:
    graph.sandbox.manner = manner
    connection = await graph.link(BIG)
    everybody = (await graph.query(PAGE, first=1000))["users"]["edges"]
    by_status: dict[str, list[str]] = {}
    for edge in everybody:
        by_status.setdefault(edge["node"]["status"], []).append(edge["node"]["email"])
    assert set(by_status) == {"ACTIVE", "INVITED", "EXPIRED", "RESTRICTED"}
    for status, expected in by_status.items():
        assert await walk(graph, ids=[connection.id], filter={"statuses": [status]}, first=9) == expected
    invited = [edge["node"]["email"] for edge in everybody if edge["node"]["status"] in {"INVITED", "EXPIRED"}]
    assert await walk(graph, filter={"statuses": ["INVITED", "EXPIRED"]}, first=7) == invited

    named = [edge["node"]["email"] for edge in everybody if "gita" in (edge["node"]["name"] or "").casefold()]
    assert named
    assert await walk(graph, filter={"name": "GITA"}, first=2) == named
    users = (await graph.query(PAGE, filter={"email": named[0].upper()}))["users"]
    assert emails(users) == [named[0]]
    assert users["totalCount"] == 1
    assert await walk(graph, filter={"email": "nobody@nowhere.example"}) == []


async def test_filters_by_role_go_to_sentry_in_one_call(graph: Graph) -> None:
    await graph.link(BIG)
    text = '{ users(first: 20, filter: {roles: ["owner", "manager"]}) { nodes { roles { externalId } } } }'
    nodes = (await graph.query(text))["users"]["nodes"]
    assert {node["roles"][0]["externalId"] for node in nodes} == {"owner", "manager"}
    assert graph.calls() == 1
    assert ("query", "role:owner role:manager") in graph.sandbox.requests[0].query


async def test_filters_by_group_read_the_groups_own_list(graph: Graph) -> None:
    await graph.link(BIG)
    text = """query ($filter: UserFilterInput) {
      users(first: 1000, filter: $filter) {
        totalCount nodes { email roles { externalId } groups { id slug } groupRoles { externalId group } }
      }
    }"""
    whole = (await graph.query(text))["users"]["nodes"]
    group = next(node["groups"][0]["id"] for node in whole if node["groups"])
    expected = [node for node in whole if group in {each["id"] for each in node["groups"]}]
    users = (await graph.query(text, filter={"groupIds": [group]}))["users"]
    assert users["nodes"] == expected
    assert users["totalCount"] == len(expected)
    for node in users["nodes"]:
        assert [role["group"] for role in node["groupRoles"]] == [each["slug"] for each in node["groups"]]
        assert {role["externalId"] for role in node["groupRoles"]} <= {"admin", "contributor"}
    members = [node for node in expected if node["roles"][0]["externalId"] == "member"]
    assert (await graph.query(text, filter={"groupIds": [group], "roles": ["member"]}))["users"]["nodes"] == members
    assert (await graph.query(text, filter={"groupIds": ["0"]}))["users"]["nodes"] == []


async def test_filters_by_date(graph: Graph) -> None:
    await graph.link(BIG)
    text = "query ($filter: UserFilterInput) { users(first: 1000, filter: $filter) { nodes { createdAt } } }"
    dates = sorted(node["createdAt"] for node in (await graph.query(text))["users"]["nodes"])
    middle = dates[len(dates) // 2]
    later = (await graph.query(text, filter={"createdAt": {"from": middle}}))["users"]["nodes"]
    earlier = (await graph.query(text, filter={"createdAt": {"until": middle}}))["users"]["nodes"]
    assert sorted(node["createdAt"] for node in earlier + later) == dates
    assert min(node["createdAt"] for node in later) == middle
    naive = middle.split("+")[0]
    assert (await graph.query(text, filter={"createdAt": {"from": naive}}))["users"]["nodes"] == later


async def test_an_order_pages_over_the_whole_list(graph: Graph) -> None:
    for organization in (BIG, SMALL):
        await graph.link(organization)
    order = {"field": "EMAIL", "direction": "DESC"}
    whole = (await graph.query(PAGE, first=1000, orderBy=order))["users"]
    assert emails(whole) == sorted(emails(whole), key=str.casefold, reverse=True)
    assert whole["totalCount"] == len(whole["edges"])
    assert await walk(graph, first=100, orderBy=order) == emails(whole)
    tenth = whole["edges"][10]["cursor"]
    back = (await graph.query(PAGE, last=4, before=tenth, orderBy=order))["users"]
    assert emails(back) == emails(whole)[6:10]


async def test_a_list_too_long_to_order_says_what_to_do(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> None:
    async with serve_graph(tmp_path, sandbox, database_url=sqlite_url, max_scan=100) as graph:
        await graph.link(BIG)
        error = await graph.error("{ users(orderBy: {field: NAME}, first: 1) { totalCount } }")
        assert error["code"] == "SCAN_LIMIT_EXCEEDED"
        assert "Add a filter" in error["cure"]


async def test_a_failing_connection_is_named_and_the_others_are_served(graph: Graph) -> None:
    bad = await graph.link(MIDDLE)
    good = await graph.link(SMALL)
    graph.sandbox.faults.add(Fail(path=f"organizations/{MIDDLE}/", status=500))
    users = (await graph.query(PAGE))["users"]
    assert {edge["node"]["connectionId"] for edge in users["edges"]} == {good.id}
    (failure,) = users["failures"]
    assert failure["connectionId"] == bad.id
    assert failure["code"] == "UPSTREAM_UNAVAILABLE"
    assert failure["retryable"] is True
    assert failure["extensions"]["upstream"]["status"] == 500


async def test_a_failing_connection_nulls_its_own_field_only(graph: Graph) -> None:
    await graph.link(MIDDLE)
    await graph.link(SMALL)
    graph.sandbox.faults.add(Fail(path=f"organizations/{MIDDLE}/", status=500))
    answer = await graph.ask("{ connections { nodes { name users(first: 1) { nodes { id } } } } }")
    nodes = answer["data"]["connections"]["nodes"]
    assert [node["users"] is None for node in nodes] == [True, False]
    (error,) = answer["errors"]
    assert error["path"] == ["connections", "nodes", 0, "users"]
    assert error["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"


async def test_groups_that_cannot_be_read_leave_the_users_alone(graph: Graph) -> None:
    connection = await graph.link(BIG)
    graph.sandbox.faults.add(Fail(path="/teams/", status=500))
    answer = await graph.ask(
        "query ($ids: [ID!]) { users(connectionIds: $ids, first: 20) { nodes { id groups { id } } } }",
        ids=[connection.id],
    )
    assert len(answer["data"]["users"]["nodes"]) == 20
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"UPSTREAM_UNAVAILABLE"}


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_a_token_without_member_rights_is_explained(graph: Graph, manner) -> None:
    graph.sandbox.manner = manner
    connection = await graph.link(BIG, DEMO_TOKENS.limited)
    missing = await graph.query(
        "query ($id: ID!) { connection(id: $id) { missingScopes { feature anyOf } } }", id=connection.id
    )
    assert "users" in [each["feature"] for each in missing["connection"]["missingScopes"]]
    error = await graph.error("query ($id: ID!) { connection(id: $id) { users { nodes { id } } } }", id=connection.id)
    assert error["code"] == "MISSING_SCOPE"
    assert "member:read" in error["missingScopes"]
    assert "scope" in error["cure"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"first": -1}, "BAD_USER_INPUT", "from 0 to 1000"),
        ({"first": 1001}, "BAD_USER_INPUT", "from 0 to 1000"),
        ({"last": 3}, "BAD_USER_INPUT", "needs `before`"),
        ({"before": "x"}, "BAD_USER_INPUT", "needs `last`"),
        ({"after": "nonsense"}, "INVALID_CURSOR", "cursor"),
        ({"last": 1, "before": "nonsense"}, "INVALID_CURSOR", "cursor"),
        ({"after": "nonsense", "orderBy": {"field": "NAME"}}, "INVALID_CURSOR", "cursor"),
    ],
)
async def test_arguments_that_make_no_sense_say_what_to_change(graph: Graph, arguments, code, words) -> None:
    await graph.link(SMALL)
    error = await graph.error(PAGE, **arguments)
    assert error["code"] == code
    assert words in error["message"]
    assert graph.calls() == 0


async def test_a_cursor_belongs_to_its_arguments(graph: Graph) -> None:
    connection = await graph.link(BIG)
    cursor = (await graph.query(PAGE, first=1))["users"]["pageInfo"]["endCursor"]
    for other in ({"filter": {"name": "a"}}, {"orderBy": {"field": "NAME"}}, {"ids": [connection.id]}):
        assert (await graph.error(PAGE, after=cursor, **other))["code"] == "INVALID_CURSOR"
    assert emails((await graph.query(PAGE, after=cursor, first=3))["users"])


async def test_nothing_linked_is_an_empty_list(graph: Graph) -> None:
    users = (await graph.query(PAGE))["users"]
    assert users["edges"] == []
    assert users["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}


async def test_one_user_by_each_key(graph: Graph) -> None:
    connection = await graph.link(BIG)
    text = """query ($id: ID!, $email: String!, $externalId: ID!, $user: ID!) {
      connection(id: $id) {
        byEmail: user(email: $email) { id }
        byUserId: user(externalId: $externalId) { id }
        nobody: user(email: "nobody@nowhere.example") { id }
        notAnId: user(externalId: "1 role:owner") { id }
        tooLarge: user(externalId: "9223372036854775808") { id }
        both: user { id }
      }
      byId: user(id: $user) { id sentryMemberId connection { id } }
      unknown: user(id: "usr_nonsense") { id }
    }"""
    nodes = (await graph.query("{ users(first: 3) { nodes { id email externalId } } }"))["users"]["nodes"]
    wanted = nodes[2]
    answer = await graph.ask(
        text, id=connection.id, email=wanted["email"].upper(), externalId=wanted["externalId"], user=wanted["id"]
    )
    found = answer["data"]["connection"]
    assert found["byEmail"] == found["byUserId"] == {"id": wanted["id"]}
    assert found["nobody"] is None
    assert found["notAnId"] is None
    assert found["tooLarge"] is None
    assert answer["data"]["byId"]["connection"] == {"id": connection.id}
    assert answer["data"]["unknown"] is None
    (error,) = answer["errors"]
    assert error["path"] == ["connection", "both"]
    assert "either `email` or `externalId`" in error["message"]


async def test_details_hold_no_invitation_link(graph: Graph) -> None:
    await graph.link(BIG)
    reader = await graph.as_role(Role.READ)
    text = "{ users(first: 3, filter: {statuses: [INVITED, EXPIRED]}) { nodes { remoteData remoteDetail } } }"
    answer = await reader.send(text)
    details = [node["remoteDetail"] for node in answer.json()["data"]["users"]["nodes"]]
    assert all("teams" in detail for detail in details)
    assert "invite_link" not in answer.text


async def test_several_users_of_one_address_are_an_error_not_a_guess(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    members = graph.sandbox.world.organizations[2].members
    graph.sandbox.world.changed()
    one, other = [member for member in members if member.user][:2]
    assert one.user
    assert other.user
    other.user.email = one.user.email
    error = await graph.error(
        "query ($id: ID!, $email: String!) { connection(id: $id) { user(email: $email) { id } } }",
        id=connection.id,
        email=one.user.email,
    )
    assert error["code"] == "BAD_USER_INPUT"
    assert "2 users" in error["message"]
