from dataclasses import replace
from typing import Any

import pytest

from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.canary import find_canary
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph

LINK = """
mutation Link($input: LinkConnectionInput!) {
  linkConnection(input: $input) {
    id externalId customerId name status statusReason authentication scopes origin expiresAt
    organization { externalId slug name } projects { externalId slug } missingScopes { feature anyOf }
  }
}
"""
LIST = """
query List($first: Int, $after: String, $last: Int, $before: String, $filter: ConnectionFilterInput) {
  connections(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    totalCount nodes { id name } edges { cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


def link_input(graph: Graph, **changes: Any) -> dict[str, Any]:
    return {"token": DEMO_TOKENS.admin, "origin": graph.sandbox.url, "organization": BIG, **changes}


async def test_linking_by_a_token(graph: Graph) -> None:
    found = (await graph.query(LINK, input=link_input(graph, externalId="c-1", customerId="acme")))["linkConnection"]
    assert found["externalId"] == "c-1"
    assert found["customerId"] == "acme"
    assert found["name"] == "Lumen Labs"
    assert found["status"] == "ACTIVE"
    assert found["statusReason"] is None
    assert found["authentication"] == "USER_TOKEN"
    assert "member:read" in found["scopes"]
    assert found["origin"] == graph.sandbox.url
    assert found["organization"] == {"externalId": "4501", "slug": BIG, "name": "Lumen Labs"}
    assert found["projects"] is None
    assert found["missingScopes"] == []


async def test_several_organizations_are_a_choice(graph: Graph) -> None:
    error = await graph.error(LINK, input=link_input(graph, organization=None))
    assert error["code"] == "ORGANIZATION_REQUIRED"
    assert set(error["organizations"]) == {BIG, MIDDLE, SMALL}
    assert "organization" in error["cure"]


@pytest.mark.parametrize("token", [DEMO_TOKENS.expired, "sntryu_" + "99" * 32, "https://a@o1.ingest.sentry.io/1", "x"])
async def test_a_token_that_will_not_do_is_explained_and_not_repeated(graph: Graph, token: str) -> None:
    answer = await graph.send(LINK, input=link_input(graph, token=token))
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] in {"LINK_REFUSED", "UPSTREAM_UNAUTHORIZED"}
    assert error["extensions"]["cure"]
    assert len(token) < 10 or not find_canary(token, answer.content)
    assert (await graph.query(LIST))["connections"]["totalCount"] == 0


async def test_an_origin_out_of_bounds_is_refused(graph: Graph) -> None:
    for origin in ("http://169.254.169.254", "http://127.0.0.1:1", "https://10.0.0.1", "ftp://sentry.io", "nonsense"):
        error = await graph.error(LINK, input=link_input(graph, origin=origin))
        assert error["code"] in {"EGRESS_REFUSED", "BAD_USER_INPUT"}
    assert graph.calls() == 0


async def test_linking_again_keeps_the_connection(graph: Graph) -> None:
    first = (await graph.query(LINK, input=link_input(graph, externalId="c-1")))["linkConnection"]
    again = link_input(graph, externalId="c-1", token=DEMO_TOKENS.limited)
    second = (await graph.query(LINK, input=again))["linkConnection"]
    assert second["id"] == first["id"]
    assert len(second["missingScopes"]) > 0
    other = link_input(graph, externalId="c-1", organization=MIDDLE)
    assert (await graph.error(LINK, input=other))["code"] == "CONFLICT"


async def test_changing_what_is_given(graph: Graph) -> None:
    connection = await graph.link(BIG, customer_id="acme")
    text = """mutation ($input: UpdateConnectionInput!) {
      updateConnection(input: $input) { name customerId projects { slug } }
    }"""
    project = graph.sandbox.world.organizations[0].projects[0]

    async def update(**changes: Any) -> Any:
        return (await graph.query(text, input={"id": connection.id, **changes}))["updateConnection"]

    assert await update(name="New") == {"name": "New", "customerId": "acme", "projects": None}
    assert await update(customerId=None) == {"name": "New", "customerId": None, "projects": None}
    limited = await update(projects=[project.slug])
    assert limited["projects"] == [{"slug": project.slug}]
    assert await update(customerId="b") == limited | {"customerId": "b"}
    assert (await update(projects=None))["projects"] is None
    error = await graph.error(text, input={"id": connection.id, "projects": ["no-such-project"]})
    assert error["code"] == "BAD_USER_INPUT"
    assert "no-such-project" in error["message"]


async def test_unlinking_destroys_the_token_and_linking_again_revives(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="c-1")
    unlink = """mutation ($id: ID!) {
      unlinkConnection(id: $id) { status statusReason problem cure scopes removal { url instructions } }
    }"""
    found = (await graph.query(unlink, id=connection.id))["unlinkConnection"]
    assert "unlinked" in found.pop("statusReason")
    assert "Link the account again" in found.pop("cure")
    removal = found.pop("removal")
    assert removal["url"] == f"{graph.sandbox.url}/settings/account/api/auth-tokens/"
    assert "User Auth Tokens" in removal["instructions"]
    assert found == {"status": "UNLINKED", "problem": "UNLINKED", "scopes": []}
    users = (await graph.query("{ users { nodes { id } failures { code cure } } }"))["users"]
    assert [failure["code"] for failure in users["failures"]] == ["NEEDS_REAUTH"]
    assert graph.calls() == 0
    revived = (await graph.query(LINK, input=link_input(graph, externalId="c-1")))["linkConnection"]
    assert (revived["id"], revived["status"]) == (connection.id, "ACTIVE")


async def test_pages_of_connections_both_ways(graph: Graph) -> None:
    ids = [(await graph.link(each)).id for each in (BIG, MIDDLE, SMALL)]
    ids += [(await graph.link(BIG, external_id=f"c-{number}")).id for number in range(4)]
    seen: list[str] = []
    after = None
    while True:
        page = (await graph.query(LIST, first=3, after=after))["connections"]
        assert page["totalCount"] == 7
        assert [edge["node"] for edge in page["edges"]] == [{"id": node["id"]} for node in page["nodes"]]
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == ids
    back = (await graph.query(LIST, last=2, before=after))["connections"]
    assert [node["id"] for node in back["nodes"]] == ids[4:6]
    assert back["pageInfo"]["hasPreviousPage"] is True
    rest = (await graph.query(LIST, last=9, before=back["pageInfo"]["startCursor"]))["connections"]
    assert [node["id"] for node in rest["nodes"]] == ids[:4]
    assert rest["pageInfo"]["hasPreviousPage"] is False
    wrong = {"filter": {"name": "x"}, "after": after}
    assert (await graph.error(LIST, **wrong))["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"name": "LUMEN"}, 1),
        ({"name": "%"}, 0),
        ({"organization": SMALL}, 1),
        ({"customerId": "acme"}, 2),
        ({"customerId": "acme", "organization": SMALL}, 0),
        ({"status": "ACTIVE"}, 3),
        ({"status": "UNLINKED"}, 0),
        ({}, 3),
    ],
)
async def test_filters_of_connections(graph: Graph, wanted: dict[str, Any], count: int) -> None:
    await graph.link(BIG, customer_id="acme")
    await graph.link(MIDDLE, customer_id="acme")
    await graph.link(SMALL)
    page = (await graph.query(LIST, filter=wanted))["connections"]
    assert page["totalCount"] == len(page["nodes"]) == count


async def test_api_keys(graph: Graph) -> None:
    allowed = await graph.link(MIDDLE, external_id="m")
    await graph.link(BIG)
    create = """mutation ($input: CreateApiKeyInput!) {
      createApiKey(input: $input) { key apiKey { id prefix role connectionIds externalIds expiresAt revokedAt } }
    }"""
    expires = "2099-01-01T00:00:00"
    made = (await graph.query(create, input={"name": "frontend", "externalIds": ["m"], "expiresAt": expires}))[
        "createApiKey"
    ]
    assert made["key"].startswith("sg_" + made["apiKey"]["prefix"])
    assert made["apiKey"]["role"] == "READ"
    assert made["apiKey"]["expiresAt"] == expires + "+00:00"

    frontend = replace(graph, key=made["key"])
    assert [node["id"] for node in (await frontend.query(LIST))["connections"]["nodes"]] == [allowed.id]
    revoke = "mutation ($id: ID!) { revokeApiKey(id: $id) { id revokedAt } }"
    assert (await graph.query(revoke, id=made["apiKey"]["id"]))["revokeApiKey"]["revokedAt"]
    assert (await graph.error(create, input={"name": " "}))["code"] == "BAD_USER_INPUT"


async def test_pages_of_api_keys(graph: Graph) -> None:
    for _ in range(4):
        await graph.make_key()
    text = """query ($first: Int, $after: String, $last: Int, $before: String) {
      apiKeys(first: $first, after: $after, last: $last, before: $before) {
        totalCount nodes { id } edges { cursor node { id name lastUsedAt } }
        pageInfo { hasNextPage hasPreviousPage endCursor }
      }
    }"""
    whole = (await graph.query(text))["apiKeys"]
    ids = [node["id"] for node in whole["nodes"]]
    assert whole["totalCount"] == len(ids) == 5
    first = (await graph.query(text, first=2))["apiKeys"]
    assert [edge["node"]["id"] for edge in first["edges"]] == ids[:2]
    rest = (await graph.query(text, first=9, after=first["pageInfo"]["endCursor"]))["apiKeys"]
    assert [node["id"] for node in rest["nodes"]] == ids[2:]
    assert rest["pageInfo"]["hasNextPage"] is False
    back = (await graph.query(text, last=3, before=whole["pageInfo"]["endCursor"]))["apiKeys"]
    assert [node["id"] for node in back["nodes"]] == ids[1:4]
    assert back["pageInfo"]["hasPreviousPage"] is True
    other = await graph.as_tenant("Other")
    assert (await other.query(text))["apiKeys"]["totalCount"] == 1


async def test_nodes_of_both_kinds_in_order(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    (user,) = (await graph.query("{ users(first: 1) { nodes { id } } }"))["users"]["nodes"]
    text = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
    found = (await graph.query(text, ids=[user["id"], "nonsense", connection.id]))["nodes"]
    assert found == [{"__typename": "User", "id": user["id"]}, None, {"__typename": "Connection", "id": connection.id}]
    assert (await graph.error(text, ids=["x"] * 101))["code"] == "BAD_USER_INPUT"


async def test_a_reader_cannot_link(graph: Graph) -> None:
    reader = await graph.as_role(Role.WRITE)
    assert (await reader.error(LINK, input=link_input(graph)))["code"] == "FORBIDDEN"
    assert graph.calls() == 0


# --- the profile ---

UPDATE = "mutation ($input: UpdateConnectionInput!) { updateConnection(input: $input) { profile name } }"
POST = """mutation ($id: ID!, $path: String!) {
  proxy(connectionId: $id, method: "POST", path: $path, body: {slug: "made"}) { statusCode }
}"""


async def test_a_profile_is_linked_kept_and_enforced(graph: Graph) -> None:
    fields = "mutation ($input: LinkConnectionInput!) { linkConnection(input: $input) { id profile problem cure } }"
    linked = (await graph.query(fields, input=link_input(graph, externalId="c", profile="READ")))["linkConnection"]
    assert linked | {"id": ""} == {"id": "", "profile": "READ", "problem": None, "cure": None}
    graph.sandbox.requests.clear()
    error = await graph.error(POST, id=linked["id"], path="organizations/{organization}/teams/")
    assert error["code"] == "PROFILE_REFUSED"
    assert "wider profile" in error["cure"]
    assert graph.calls() == 0
    again = (await graph.query(fields, input=link_input(graph, externalId="c")))["linkConnection"]
    assert again["profile"] == "READ"
    wider = (await graph.query(fields, input=link_input(graph, externalId="c", profile="FULL")))["linkConnection"]
    assert wider["profile"] == "FULL"
    assert (await graph.query(POST, id=linked["id"], path="organizations/{organization}/teams/"))["proxy"]


async def test_a_profile_can_be_narrowed_and_never_widened(graph: Graph) -> None:
    connection = await graph.link(BIG)
    for wanted, expected in (("FULL", "FULL"), ("TRIAGE", "TRIAGE"), ("TRIAGE", "TRIAGE"), ("READ", "READ")):
        changed = (await graph.query(UPDATE, input={"id": connection.id, "profile": wanted}))["updateConnection"]
        assert changed["profile"] == expected
    for wanted in ("TRIAGE", "FULL"):
        error = await graph.error(UPDATE, input={"id": connection.id, "profile": wanted, "name": "new"})
        assert error["code"] == "BAD_USER_INPUT"
    kept = await graph.query("query ($id: ID!) { connection(id: $id) { profile name } }", id=connection.id)
    assert kept["connection"] == {"profile": "READ", "name": connection.name}


async def test_a_private_authority_needs_the_operators_leave(graph: Graph) -> None:
    error = await graph.error(LINK, input=link_input(graph, caCertificate="no certificate"))
    assert error["code"] == "LINK_REFUSED"
    assert "SENTRY_GRAPH_PRIVATE_CA" in error["cure"]
