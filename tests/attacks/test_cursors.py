"""Cursors that were tampered with, taken elsewhere, or poisoned by the Sentry behind, through the whole service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.connections.linking import LinkRequest
from service.connections.models import ConnectionRecord
from service.sandbox.app import Sandbox
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, Graph, serve_graph
from tests.scale import scaled
from tests.sentry.upstream import Request, Upstream, json_answer, serve

MEMBERS = "organizations/{organization}/members/"
PROXY = """query ($id: ID!, $path: String!, $query: [ProxyParameter!], $first: Int, $after: String) {
  proxy(connectionId: $id, path: $path, query: $query, first: $first, after: $after) {
    statusCode resultCount pageInfo { hasNextPage endCursor }
  }
}"""
USERS = """query ($ids: [ID!], $first: Int, $after: String, $order: UserOrderInput) {
  users(connectionIds: $ids, first: $first, after: $after, orderBy: $order) {
    nodes { email } failures { code } pageInfo { hasNextPage endCursor }
  }
}"""
CONNECTIONS = "query ($after: String) { connections(first: 1, after: $after) { nodes { id } pageInfo { endCursor } } }"
KEYS = "query ($after: String) { apiKeys(first: 1, after: $after) { nodes { id } pageInfo { endCursor } } }"


async def test_a_cursor_is_good_for_its_own_list_only(graph: Graph) -> None:
    one, other = await graph.link(BIG), await graph.link(MIDDLE)
    stranger = await graph.as_tenant("Other")
    lists: dict[str, tuple[str, dict[str, Any], str]] = {
        "proxy": (PROXY, {"id": one.id, "path": MEMBERS, "first": 2}, "proxy"),
        "proxy of another": (PROXY, {"id": other.id, "path": MEMBERS, "first": 2}, "proxy"),
        "proxy elsewhere": (PROXY, {"id": one.id, "path": "organizations/{organization}/teams/", "first": 2}, "proxy"),
        "users": (USERS, {"first": 2}, "users"),
        "users of one": (USERS, {"ids": [one.id], "first": 2}, "users"),
        "users of another": (USERS, {"ids": [other.id], "first": 2}, "users"),
        "users in order": (USERS, {"first": 2, "order": {"field": "EMAIL"}}, "users"),
        "connections": (CONNECTIONS, {}, "connections"),
        "keys": (KEYS, {}, "apiKeys"),
    }
    cursors = {
        name: (await graph.query(text, **variables))[root]["pageInfo"]["endCursor"]
        for name, (text, variables, root) in lists.items()
    }
    graph.sandbox.requests.clear()
    for name, cursor in cursors.items():
        for elsewhere, (text, variables, _) in lists.items():
            for caller in (graph, stranger):
                if (caller, name) != (graph, elsewhere):
                    error = await caller.error(text, **variables, after=cursor)
                    is_named = caller is stranger and "ids" in variables  # then the connection is not there
                    assert error["code"] == ("NOT_FOUND" if is_named else "INVALID_CURSOR"), (name, elsewhere)
    assert graph.calls() == 0
    for name, (text, variables, _) in lists.items():
        assert "errors" not in await graph.ask(text, **variables, after=cursors[name])


async def test_a_cursor_of_the_whole_tenant_shows_a_narrowed_caller_only_its_own(graph: Graph) -> None:
    connections = [await graph.link(BIG), await graph.link(MIDDLE)]
    narrowed = await graph.as_role(Role.READ, connection_ids=[connections[1].id])
    own = {each["email"] for each in (await narrowed.query(USERS, first=1000))["users"]["nodes"]}
    for first in (1, 100, 260):
        cursor = (await graph.query(USERS, first=first))["users"]["pageInfo"]["endCursor"]
        seen = {each["email"] for each in (await narrowed.query(USERS, first=1000, after=cursor))["users"]["nodes"]}
        assert seen <= own
    cursor = (await graph.query(CONNECTIONS))["connections"]["pageInfo"]["endCursor"]
    found = (await narrowed.query(CONNECTIONS, after=cursor))["connections"]["nodes"]
    assert found == [{"id": connections[1].id}]


@settings(
    max_examples=scaled(test=150, soak=10_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_no_change_to_a_cursor_is_accepted(walked: tuple[Graph, str, str], data: st.DataObject) -> None:
    graph, connection_id, cursor = walked
    place = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("ABCXYZabcxyz019-_=+/ %\n\0é"))
    changed = data.draw(
        st.sampled_from([cursor[:place] + letter + cursor[place + 1 :], cursor[:place], cursor + letter, letter])
    )
    if changed == cursor:
        return
    error = await graph.error(PROXY, id=connection_id, path=MEMBERS, after=changed)
    assert error["code"] == "INVALID_CURSOR"
    assert graph.calls() == 0


@pytest.fixture
async def walked(graph: Graph) -> tuple[Graph, str, str]:
    connection = await graph.link(BIG)
    cursor = (await graph.query(PROXY, id=connection.id, path=MEMBERS, first=2))["proxy"]["pageInfo"]["endCursor"]
    graph.sandbox.requests.clear()
    return graph, connection.id, cursor


# --- a Sentry that poisons its links ---

ROOT = {"version": "0", "auth": {"scopes": ["org:read", "member:read"]}, "user": {"id": "1", "email": "a@b.example"}}


@asynccontextmanager
async def poisoned(
    folder: Path, sandbox: Sandbox, rows: list[Any] | None = None
) -> AsyncIterator[tuple[Graph, ConnectionRecord, Upstream, list[str]]]:
    """The service with a Sentry linked that answers every list with the header that the test puts into the list."""
    link = [""]

    async def behave(request: Request, writer: Any) -> None:
        target = request.line.split(" ")[1]
        if target == "/api/0/":
            writer.write(json_answer(ROOT))
        elif target.partition("?")[0] == "/api/0/organizations/acme/":
            writer.write(json_answer({"id": "7", "slug": "acme", "name": "Acme"}))
        else:
            found = [{"id": "1", "email": "someone@acme.example"}] if rows is None else rows
            writer.write(json_answer(found, headers={"Link": link[0]} if link[0] else {}))

    async with (
        serve(behave) as upstream,
        serve_graph(folder, sandbox, egress_allow=(upstream.origin.url,)) as graph,
    ):
        request = LinkRequest(token="poisoned-token-1234", origin=upstream.origin.url, organization="acme")
        connection = await graph.runtime.services.linker.link(graph.caller, request)
        upstream.requests.clear()
        yield graph, connection, upstream, link


POISON = {
    "another host": '<https://evil.example/api/0/x/?cursor=1:0:0>; rel="next"; results="true"; cursor="0:1:0"',
    "a relative address": '<//evil.example/>; rel="next"; results="true"; cursor="0:1:0"',
    "a path": '<u>; rel="next"; results="true"; cursor="../../users/me/?x="',
    "more parameters": '<u>; rel="next"; results="true"; cursor="1:0:0&project=1&per_page=9999#x"',
    "an address": '<u>; rel="next"; results="true"; cursor="https://evil.example/"',
    "a part of a header": '<u>; rel="next"; results="true"; cursor="1 HTTP/1.1 Host: evil.example"',
}
DROPPED = {
    "a link": '<u>; rel="next"; results="true"; cursor="1, <https://evil.example/>; rel=next; results=true"',
    "a giant": f'<u>; rel="next"; results="true"; cursor="{"9" * 5000}"',
    "nothing": '<u>; rel="next"; results="true"; cursor=""',
    "many parts": ", ".join('<u>; rel="x"' for _ in range(500)),
}


async def test_a_poisoned_link_leads_nowhere_else(tmp_path: Path, sandbox: Sandbox) -> None:
    async with poisoned(tmp_path, sandbox) as (graph, connection, upstream, link):
        base = f"/api/0/organizations/{connection.organization_slug}/members/?"
        for name, header in (POISON | DROPPED).items():
            link[0] = header
            page = (await graph.query(PROXY, id=connection.id, path=MEMBERS, first=1))["proxy"]["pageInfo"]
            assert page["hasNextPage"] == (name in POISON), name
            if page["hasNextPage"]:
                link[0] = ""
                await graph.query(PROXY, id=connection.id, path=MEMBERS, after=page["endCursor"])
                link[0] = header
                users = (await graph.query(USERS, ids=[connection.id], first=1))["users"]
                assert users["pageInfo"]["hasNextPage"], name
                link[0] = ""
                await graph.query(USERS, ids=[connection.id], first=1, after=users["pageInfo"]["endCursor"])
            link[0] = header
            rest = await graph.http.get(
                f"/proxy/{connection.id}/api/0/organizations/acme/members/",
                headers={"authorization": f"Bearer {graph.key}"},
            )
            for part in rest.headers.get("link", "").split("<")[1:]:
                own = f"http://service.test/proxy/{connection.id}/api/0/organizations/acme/members/?cursor="
                assert part.startswith(own), name
        assert len(upstream.requests) > 20
        for request in upstream.requests:
            method, target, _ = request.line.split(" ")
            assert method == "GET"
            assert target == base.rstrip("?") or target.startswith(base)
            names = [pair.partition("=")[0] for pair in target.partition("?")[2].split("&") if pair]
            assert set(names) <= {"cursor", "per_page"}, target
            assert len(names) == len(set(names)), target
            assert dict(request.headers)["host"] == upstream.origin.authority


@pytest.mark.parametrize("rows", [[{"id": "1", "email": "someone@acme.example"}], []])
async def test_a_list_without_an_end_is_an_error_at_once(tmp_path: Path, sandbox: Sandbox, rows: list[Any]) -> None:
    """The same cursor again and again, or an empty page that promises more."""
    async with poisoned(tmp_path, sandbox, rows) as (graph, connection, upstream, link):
        link[0] = '<u>; rel="next"; results="true"; cursor="0:1:0"'
        for arguments in ({"first": 50}, {"first": 5, "order": {"field": "EMAIL"}}):
            answer = await graph.query(USERS, ids=[connection.id], **arguments)
            assert answer["users"]["failures"] == [{"code": "UPSTREAM_INVALID"}]
        assert len(upstream.requests) <= 4
