import asyncio
import base64
import json
from datetime import UTC, datetime

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.world import DEMO_TOKENS
from tests.sandbox.conftest import client_of

_MEMBERS = "organizations/lumen-labs/members/"


async def test_is_the_same_world_every_time() -> None:
    pages = []
    for _ in range(2):
        async with client_of(create_sandbox()) as client:
            pages.append((await client.get(_MEMBERS)).content)
    assert pages[0] == pages[1]


async def test_is_as_large_as_promised(client: httpx.AsyncClient) -> None:
    rows: list[dict[str, object]] = []
    for page in range(3):
        rows += (await client.get(_MEMBERS, params={"cursor": f"100:{page}:0"})).json()
    assert len(rows) > 250
    assert len((await client.get("organizations/lumen-labs/projects/")).json()) == 20
    assert {row["orgRole"] for row in rows} == {"owner", "manager", "admin", "member", "billing"}
    assert {(row["pending"], row["expired"]) for row in rows} == {(False, False), (True, False), (True, True)}
    assert any(dict(row["flags"])["member-limit:restricted"] for row in rows)  # type: ignore[call-overload]  # JSON


async def test_records_what_arrives(app: Sandbox) -> None:
    async with client_of(app) as client:
        await client.get("organizations/", params={"query": "a b", "per_page": "1"})
        await client.post(_MEMBERS, json={"email": "x@x.example"})
    first, second = app.requests
    assert (first.method, first.path, first.query) == (
        "GET",
        "/api/0/organizations/",
        (("query", "a b"), ("per_page", "1")),
    )
    assert first.target == "/api/0/organizations/?query=a+b&per_page=1"
    assert first.headers["authorization"] == f"Bearer {DEMO_TOKENS.admin}"
    assert json.loads(second.body) == {"email": "x@x.example"}
    assert (app.count(), app.count("POST"), app.count(path="members"), app.count("GET", "members")) == (2, 1, 1, 0)


async def test_starts_anew_after_writes(app: Sandbox) -> None:
    async with client_of(app) as client:
        await client.post(_MEMBERS, json={"email": "x@x.example"})
        app.manner = "23.7"
        app.limiter.limit = 0
        app.reset()
        assert not app.requests
        assert (await client.get("users/me/regions/")).status_code == 200
        assert (await client.get(_MEMBERS, params={"query": "email:x@x.example"})).json() == []


async def test_a_token_expires_by_the_clock() -> None:
    app = create_sandbox()
    app.world.tokens[DEMO_TOKENS.app].expires = datetime(2100, 1, 1, tzinfo=UTC)
    async with client_of(app, DEMO_TOKENS.app) as client:
        assert (await client.get("")).status_code == 200
        app.world.tokens[DEMO_TOKENS.app].expires = datetime(2020, 1, 1, tzinfo=UTC)
        assert (await client.get("")).json() == {"detail": "Token expired"}


@pytest.mark.parametrize(
    ("authorization", "detail"),
    [
        ("", "Authentication credentials were not provided."),
        ("Token x", "Authentication credentials were not provided."),
        ("Basic eDo=", "Invalid username/password."),
        ("Bearer x", "Invalid token"),
        ("Bearer sntrys_e30=_nope", "Invalid org token"),
        (f"Bearer {DEMO_TOKENS.expired}", "Token expired"),
    ],
)
async def test_each_kind_of_wrong_credential_is_named(app: Sandbox, authorization: str, detail: str) -> None:
    async with client_of(app, "") as client:
        response = await client.get(_MEMBERS, headers={"Authorization": authorization})
    assert (response.status_code, response.json()) == (401, {"detail": detail})


async def test_a_plain_member_cannot_do_what_its_token_could(app: Sandbox) -> None:
    async with client_of(app, DEMO_TOKENS.member) as client:
        assert "org:admin" in (await client.get("")).json()["auth"]["scopes"]
        assert (await client.get(_MEMBERS)).status_code == 200
        assert (await client.post(_MEMBERS, json={"email": "x@x.example"})).status_code == 403
        assert (await client.get("organizations/paper-boat/members/")).status_code == 403


async def test_an_app_reaches_its_organization_only(app: Sandbox) -> None:
    async with client_of(app, DEMO_TOKENS.app) as client:
        assert (await client.get("organizations/northwind-rail/members/")).status_code == 200
        assert (await client.get(_MEMBERS)).status_code == 403
        assert (await client.get("users/me/regions/")).status_code == 403


async def test_an_organization_token_says_where_it_belongs_and_can_little(app: Sandbox) -> None:
    token = DEMO_TOKENS.organization_token("http://sandbox")
    payload = json.loads(base64.b64decode(token.split("_")[1]))
    assert (payload["org"], payload["url"]) == ("lumen-labs", "http://sandbox")
    async with client_of(app, token) as client:
        root = (await client.get("")).json()
        assert (root["auth"], root["user"]) == ({"scopes": ["org:ci"]}, None)
        assert (await client.get("organizations/")).status_code == 403
        assert (await client.get(_MEMBERS)).status_code == 403
        assert (await client.get("organizations/lumen-labs/releases/")).status_code == 200


async def test_the_region_may_be_elsewhere() -> None:
    app = create_sandbox(SandboxConfig(region_url="https://us.sandbox.example"))
    async with client_of(app) as client:
        assert (await client.get("organizations/")).json()[0]["links"]["regionUrl"] == "https://us.sandbox.example"
        assert (await client.get("users/me/regions/")).json()["regions"][0]["url"] == "https://us.sandbox.example"


async def test_paths_that_are_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("http://sandbox/api/0")).headers["location"] == "/api/0/"
    assert (await client.get("http://sandbox/")).status_code == 302
    empty = await client.get("no/such/thing/")
    assert (empty.status_code, empty.content, empty.headers["content-type"]) == (404, b"", "text/html; charset=utf-8")
    hint = await client.get("organizations")
    assert "did you forget a trailing slash?" in hint.text
    assert (await client.get("http://sandbox/elsewhere/")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "organizations/paper-boat%2Fmembers/",
        "organizations%2Fpaper-boat/members/",
        "organizations/%70aper-boat/members/",
    ],
)
async def test_an_encoded_slash_separates_segments_as_on_a_real_server(client: httpx.AsyncClient, path: str) -> None:
    assert len((await client.get(path)).json()) == 6


@pytest.mark.parametrize(
    "path", ["lumen-labs/../paper-boat", "lumen-labs/./../paper-boat", "../../../api/0/organizations/paper-boat"]
)
async def test_dots_reach_a_neighbour_as_on_a_real_server(sandbox: Sandbox, path: str) -> None:
    # Clients resolve dots themselves, so the bytes are written by hand.
    host, _, port = sandbox.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [
        f"GET /api/0/organizations/{path}/ HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {DEMO_TOKENS.admin}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["slug"] == "paper-boat"


async def test_may_be_mounted_below_a_path() -> None:
    app = create_sandbox()
    mounted = Starlette(routes=[Mount("/sentry", app=app)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://host") as client:
        response = await client.get(
            "/sentry/api/0/organizations/", headers={"Authorization": f"Bearer {DEMO_TOKENS.admin}"}
        )
    assert response.json()[0]["links"]["organizationUrl"] == "http://host/sentry"
    assert "<http://host/sentry/api/0/organizations/?" in response.headers["link"]
    assert app.requests[0].path == "/api/0/organizations/"


async def test_answers_lifespan_and_refuses_other_protocols() -> None:
    app = create_sandbox()
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    await app({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]  # plain dicts, as servers send them
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="http only"):
        await app({"type": "websocket"}, receive, send)  # type: ignore[arg-type]  # plain dicts, as servers send them
