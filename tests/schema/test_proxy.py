import json

import httpx
import pytest

from service.sandbox.faults import Reset
from service.tenants.caller import Role
from tests.graph_fixture import BIG, SMALL, Graph
from tests.serving import NO_TLS

READ = """
query Read($id: ID!, $path: String!, $query: [ProxyParameter!], $first: Int, $after: String) {
  proxy(connectionId: $id, path: $path, query: $query, first: $first, after: $after) {
    statusCode result resultCount totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    headers { name value } rateLimit { limit remaining resetAt }
  }
}
"""
WRITE = """
mutation Write($id: ID!, $method: String!, $path: String!, $body: JSON, $key: String) {
  proxy(connectionId: $id, method: $method, path: $path, body: $body, idempotencyKey: $key) { statusCode result }
}
"""
MEMBERS = "organizations/{organization}/members/"
ISSUES = "organizations/{organization}/issues/"


async def test_walking_a_list(graph: Graph) -> None:
    connection = await graph.link(BIG)
    seen: list[str] = []
    after = None
    while True:
        page = (await graph.query(READ, id=connection.id, path=MEMBERS, first=100, after=after))["proxy"]
        assert page["statusCode"] == 200
        assert page["resultCount"] == len(page["result"])
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        seen += [row["id"] for row in page["result"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert after is None
    assert len(seen) == len(set(seen)) > 200
    assert graph.calls() == 3


async def test_the_page_size_is_sentrys_own(graph: Graph) -> None:
    connection = await graph.link(BIG)
    everywhere = [{"name": "project", "value": "-1"}]
    page = (await graph.query(READ, id=connection.id, path=ISSUES, query=everywhere, first=7))["proxy"]
    assert page["resultCount"] == 7
    assert page["totalCount"] >= 7
    assert ("limit", "7") in graph.sandbox.requests[-1].query
    await graph.query(READ, id=connection.id, path=MEMBERS, first=7)
    assert ("per_page", "7") in graph.sandbox.requests[-1].query


async def test_a_cursor_keeps_its_page_size(graph: Graph) -> None:
    connection = await graph.link(BIG)
    cursor = (await graph.query(READ, id=connection.id, path=MEMBERS, first=5))["proxy"]["pageInfo"]["endCursor"]
    page = (await graph.query(READ, id=connection.id, path=MEMBERS, after=cursor))["proxy"]
    assert page["resultCount"] == 5
    error = await graph.error(READ, id=connection.id, path=MEMBERS, first=6, after=cursor)
    assert error["code"] == "INVALID_CURSOR"
    assert "page size" in error["message"]
    for other in ({"path": ISSUES}, {"path": MEMBERS, "query": [{"name": "query", "value": "a"}]}):
        assert (await graph.error(READ, id=connection.id, after=cursor, **other))["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize("first", [0, 101, -1])
async def test_a_page_size_that_sentry_does_not_have(graph: Graph, first: int) -> None:
    connection = await graph.link(SMALL)
    assert (await graph.error(READ, id=connection.id, path=MEMBERS, first=first))["code"] == "BAD_USER_INPUT"
    assert graph.calls() == 0


async def test_sentrys_bytes_arrive_as_they_came(graph: Graph) -> None:
    connection = await graph.link(BIG)
    answer = await graph.send(READ, id=connection.id, path=MEMBERS, first=3)
    token = "Bearer sntryu_" + "5a" * 32

    async with httpx.AsyncClient(headers={"authorization": token}, verify=NO_TLS) as http:
        raw = (await http.get(f"{graph.sandbox.url}/api/0/organizations/{BIG}/members/?per_page=3")).content
    assert raw in answer.content


async def test_sentrys_refusals_are_answers(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    page = (await graph.query(READ, id=connection.id, path="organizations/{organization}/issues/999999/"))["proxy"]
    assert page["statusCode"] == 404
    assert page["result"] == {"detail": "The requested resource does not exist"}
    assert page["resultCount"] is None


async def test_a_list_without_pages_comes_whole(graph: Graph) -> None:
    connection = await graph.link(BIG)
    path = "organizations/{organization}/environments/"
    page = (await graph.query(READ, id=connection.id, path=path))["proxy"]
    assert page["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert page["resultCount"] == len(page["result"])


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/api/0/organizations/",
        "//evil.example/",
        "organizations/{organization}/../../users/me/",
        "organizations/northwind-rail/members/",
        "organizations/{organization}/org-auth-tokens/",
        "api-tokens/",
        "users/me/",
        "organizations/{organization}/%2e%2e/%2e%2e/",
    ],
)
async def test_paths_out_of_reach(graph: Graph, path: str) -> None:
    connection = await graph.link(BIG)
    error = await graph.error(READ, id=connection.id, path=path)
    assert error["code"] == "PATH_REFUSED"
    assert graph.calls() == 0


async def test_a_write_needs_the_role_and_happens_once_a_key(graph: Graph) -> None:
    connection = await graph.link(BIG)
    arguments = {
        "id": connection.id,
        "method": "POST",
        "path": "organizations/{organization}/teams/",
        "body": {"slug": "night-watch", "name": "Night Watch"},
    }
    reader = await graph.as_role(Role.READ)
    assert (await reader.error(WRITE, **arguments))["code"] == "FORBIDDEN"
    writer = await graph.as_role(Role.WRITE)
    first = (await writer.query(WRITE, **arguments, key="k1"))["proxy"]
    assert first["statusCode"] == 201
    assert (await writer.query(WRITE, **arguments, key="k1"))["proxy"] == first
    assert graph.sandbox.count("POST") == 1
    changed = arguments | {"body": {"slug": "other"}}
    assert (await writer.error(WRITE, **changed, key="k1"))["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_write_whose_answer_is_lost_is_not_repeated(graph: Graph) -> None:
    connection = await graph.link(BIG)
    graph.sandbox.faults.add(Reset(method="POST", commits=True))
    arguments = {
        "id": connection.id,
        "method": "POST",
        "path": "organizations/{organization}/teams/",
        "body": {"slug": "night-watch", "name": "Night Watch"},
    }
    assert (await graph.error(WRITE, **arguments))["code"] == "OUTCOME_UNKNOWN"
    assert graph.sandbox.count("POST") == 1


async def test_methods_are_named(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    for method in ("TRACE", "CONNECT", "", "G ET"):
        error = await graph.error(WRITE, id=connection.id, method=method, path=MEMBERS)
        assert error["code"] == "BAD_USER_INPUT"
    page = await graph.query(WRITE, id=connection.id, method="get", path="organizations/{organization}/")
    assert page["proxy"]["result"]["slug"] == SMALL


async def test_a_null_body_is_not_no_body(graph: Graph) -> None:
    connection = await graph.link(BIG)
    path = "organizations/{organization}/teams/"
    text = (
        'mutation ($id: ID!, $path: String!) { proxy(connectionId: $id, method: "POST", path: $path%s) { statusCode } }'
    )
    await graph.query(text % "", id=connection.id, path=path)
    await graph.query(text % ", body: null", id=connection.id, path=path)
    assert [request.body for request in graph.sandbox.requests] == [b"", b"null"]


async def test_of_a_connection(graph: Graph) -> None:
    await graph.link(SMALL)
    text = '{ connections { nodes { proxy(path: "organizations/{organization}/") { statusCode result } } } }'
    (node,) = (await graph.query(text))["connections"]["nodes"]
    assert node["proxy"]["result"]["slug"] == SMALL


async def test_headers_and_rate_limit(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    page = (await graph.query(READ, id=connection.id, path=MEMBERS))["proxy"]
    names = {header["name"] for header in page["headers"]}
    assert "content-type" in names
    assert not names & {"set-cookie", "link", "authorization", "transfer-encoding"}
    assert page["rateLimit"]["limit"] == 10_000
    limit = await graph.query(
        "query ($id: ID!) { connection(id: $id) { rateLimit { limit concurrentLimit } } }", id=connection.id
    )
    assert limit["connection"]["rateLimit"] == {"limit": 10_000, "concurrentLimit": 10_000}


async def test_a_project_constraint_holds(graph: Graph) -> None:
    project = graph.sandbox.world.organizations[0].projects[0]
    connection = await graph.link(BIG, projects=[project.slug])
    page = (await graph.query(READ, id=connection.id, path="projects/{organization}/{project}/"))["proxy"]
    assert page["result"]["slug"] == project.slug
    other = graph.sandbox.world.organizations[0].projects[1].slug
    calls = graph.calls()
    for path in (f"projects/{{organization}}/{other}/", "organizations/{organization}/releases/"):
        assert (await graph.error(READ, id=connection.id, path=path))["code"] == "CONSTRAINED"
    assert graph.calls() == calls
    issues = (await graph.query(READ, id=connection.id, path=ISSUES))["proxy"]
    assert {issue["project"]["slug"] for issue in issues["result"]} == {project.slug}


async def test_json_of_every_kind_passes_the_scalar(graph: Graph) -> None:
    connection = await graph.link(BIG)
    body = {"slug": "s", "name": "n", "extra": [1, 2.5, None, True, {"ü": "\u2028"}], "big": 2**53}
    await graph.query(WRITE, id=connection.id, method="POST", path="organizations/{organization}/teams/", body=body)
    assert json.loads(graph.sandbox.requests[-1].body) == body


async def test_rate_limits_on_request(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    text = "query ($id: ID!, $path: String!) { proxy(connectionId: $id, path: $path) { statusCode } }"
    request = {"query": text, "variables": {"id": connection.id, "path": MEMBERS}}
    headers = {"authorization": f"Bearer {graph.key}"}
    plain = (await graph.http.post("/graphql", json=request, headers=headers)).json()
    assert "extensions" not in plain
    asked = request | {"extensions": {"rateLimits": True}}
    (limits,) = (await graph.http.post("/graphql", json=asked, headers=headers)).json()["extensions"]["rateLimits"]
    assert limits["connectionId"] == connection.id
    assert limits["limit"] == 10_000
    nothing = asked | {"query": "{ connections { totalCount } }", "variables": {}}
    answer = (await graph.http.post("/graphql", json=nothing, headers=headers)).json()
    assert answer["extensions"] == {"rateLimits": []}
