from typing import Any

import pytest
from starlette.datastructures import Headers

from service.graphql_http.origins import check_origin
from service.graphql_http.problems import CrossSite
from tests.graphql_http.small_graph import Anyone, connect, make_app

FRONTEND = "https://app.example"
MUTATION = b'{"query": "mutation { write }"}'
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": FRONTEND},
        {"origin": "http://graph.test:8000", "host": "graph.test:8000"},
        {"origin": "https://graph.test", "host": "graph.test"},
        {"origin": "https://GRAPH.test", "host": "graph.TEST"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_own_pages_allowed_frontends_and_programs_pass(headers: dict[str, str]) -> None:
    check_origin(Headers(headers), {FRONTEND})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "host": "graph.test"},
        {"origin": "null", "host": "null"},
        {"origin": "https://app.example.evil.example"},
        {"origin": "http://app.example"},
        {"origin": "https://app.example:8443"},
        {"origin": "https://graph.test.evil.example", "host": "graph.test"},
        {"origin": "https://graph.test@evil.example", "host": "graph.test"},
        {"origin": "", "host": "graph.test"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_pages_of_other_sites_do_not(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSite):
        check_origin(Headers(headers), {FRONTEND})


@pytest.mark.parametrize(
    ("method", "headers", "content"),
    [
        ("POST", {"content-type": "text/plain"}, MUTATION),
        ("POST", {"content-type": "application/x-www-form-urlencoded"}, b"query=mutation+{write}"),
        ("POST", {"content-type": "multipart/form-data; boundary=x"}, MUTATION),
        ("POST", {}, MUTATION),
        ("POST", {**JSON, "origin": "https://evil.example"}, MUTATION),
        ("POST", {**JSON, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, MUTATION),
        ("GET", {}, b""),
        ("GET", {"x-graphql-csrf": "1"}, b""),
    ],
)
async def test_no_simple_cross_site_request_changes_anything(
    method: str, headers: dict[str, str], content: bytes
) -> None:
    """Even where the browser's cookies would authenticate it."""
    events: list[str] = []
    async with connect(make_app(events=events, authenticator=Anyone()), tenant=None) as client:
        params = {"query": "mutation { write }"} if method == "GET" else None
        response = await client.request(method, "/graphql", headers=headers, content=content, params=params)
    assert 400 <= response.status_code < 500
    assert events == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"x-graphql-csrf": ""}, 403),
        ({"x-graphql-csrf": "1"}, 200),
        ({"apollo-require-preflight": "true"}, 200),
        ({"x-apollo-operation-name": "Q"}, 200),
        ({"authorization": "Bearer x"}, 200),
    ],
)
async def test_a_get_needs_a_header_that_browsers_ask_before_sending(headers: dict[str, str], status: int) -> None:
    async with connect(make_app(authenticator=Anyone()), tenant=None) as client:
        response = await client.get("/graphql", params={"query": "{ hello }"}, headers=headers)
    assert response.status_code == status


def preflight(origin: str) -> dict[str, Any]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-graphql-csrf",
    }


async def test_cors_is_by_allow_list() -> None:
    async with connect(make_app(cors_origins=(FRONTEND,))) as client:
        asked = await client.options("/graphql", headers=preflight(FRONTEND))
        refused = await client.options("/graphql", headers=preflight("https://evil.example"))
        answered = await client.post("/graphql", json={"query": "{ hello }"}, headers={"origin": FRONTEND})
        foreign = await client.post("/graphql", json={"query": "{ hello }"}, headers={"origin": "https://evil.example"})
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == FRONTEND
    assert "access-control-allow-credentials" not in asked.headers
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    assert answered.headers["access-control-allow-origin"] == FRONTEND
    assert foreign.status_code == 403
    assert foreign.json()["errors"][0]["extensions"]["code"] == "CROSS_SITE_REFUSED"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_frontend_may_ask_the_rest_proxy_for_any_of_its_methods(method: str) -> None:
    asking = {
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,idempotency-key",
    }
    async with connect(make_app(cors_origins=(FRONTEND,))) as client:
        asked = await client.options("/proxy/con_1/api/0/organizations/", headers=preflight(FRONTEND) | asking)
        answered = await client.post("/graphql", json={"query": "{ hello }"}, headers={"origin": FRONTEND})
    assert asked.status_code == 200, asked.text
    assert "link" in answered.headers["access-control-expose-headers"].split(", ")
