"""The doctor through the graph, over the stand-in Sentry: health, roles, scopes, and what a look costs."""

from typing import Any

import pytest

from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.graph_fixture import BIG, Graph

DIAGNOSE = """
query ($id: ID!) {
  connection(id: $id) {
    diagnosis {
      checkedAt isLive isRefreshable scopes access role clockSkew rateLimit { limit remaining }
      features { name isAvailable isLimitedByRole anyOf }
      problems { code severity message cure }
    }
  }
}
"""


async def diagnose(graph: Graph, connection_id: str) -> Any:
    graph.sandbox.requests.clear()
    found = (await graph.query(DIAGNOSE, id=connection_id))["connection"]["diagnosis"]
    assert graph.calls() <= 6
    return found


async def test_a_healthy_connection(graph: Graph) -> None:
    connection = await graph.link(BIG)
    found = await diagnose(await graph.as_role(Role.READ), connection.id)
    assert found["problems"] == []
    assert (found["isLive"], found["isRefreshable"], found["role"]) == (True, False, "owner")
    assert found["scopes"] == connection.scopes
    assert abs(found["clockSkew"]) < 5
    assert found["rateLimit"]["limit"] == 10_000
    assert all(feature["isAvailable"] for feature in found["features"])
    assert graph.calls() == 2


async def test_a_token_that_lacks_scopes(graph: Graph) -> None:
    connection = await graph.link(BIG, DEMO_TOKENS.limited)
    found = await diagnose(graph, connection.id)
    assert {problem["code"] for problem in found["problems"]} == {"MISSING_SCOPE"}
    missing = {feature["name"]: feature["anyOf"] for feature in found["features"] if not feature["isAvailable"]}
    assert set(missing) == {"users", "groups", "issues"}
    assert missing["users"][0] == "member:read"
    assert all(problem["severity"] == "WARNING" and problem["cure"] for problem in found["problems"])


async def test_a_role_that_is_less_than_the_token(graph: Graph) -> None:
    """Every scope, of a plain member: what the profile asks for is more than the role allows."""
    connection = await graph.link(BIG, DEMO_TOKENS.member)
    found = await diagnose(graph, connection.id)
    assert found["role"] == "member"
    assert "org:write" in found["scopes"]
    assert "org:write" not in found["access"]


@pytest.mark.parametrize("token", [DEMO_TOKENS.internal])
async def test_an_integration_has_no_role(graph: Graph, token: str) -> None:
    found = await diagnose(graph, (await graph.link(BIG, token)).id)
    assert found["role"] is None
    assert {problem["code"] for problem in found["problems"]} <= {"MISSING_SCOPE"}


async def test_a_revoked_token_and_an_unlinked_connection(graph: Graph) -> None:
    connection = await graph.link(BIG, DEMO_TOKENS.internal)
    graph.sandbox.revoke(DEMO_TOKENS.internal)
    found = await diagnose(graph, connection.id)
    assert [problem["code"] for problem in found["problems"]] == ["TOKEN_REVOKED"]
    assert found["problems"][0]["severity"] == "ERROR"
    assert "same externalId" in found["problems"][0]["cure"]
    await graph.query("mutation ($id: ID!) { unlinkConnection(id: $id) { id } }", id=connection.id)
    found = await diagnose(graph, connection.id)
    assert (found["isLive"], [problem["code"] for problem in found["problems"]]) == (False, ["UNLINKED"])
    assert graph.calls() == 0
