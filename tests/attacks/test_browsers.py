"""What pages of other sites can make a browser do: nothing. Over a real `demo`, and the service with CORS on."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from service.ids import new_id
from service.sandbox.app import Sandbox
from service.sandbox.faults import Garble
from tests.attacks.process import running
from tests.graph_fixture import BIG, Graph, serve_graph
from tests.serving import free_port
from tests.streaming import open_socket, serving

FRONTEND = "https://app.example"
EVIL = "https://evil.example"
MUTATION = 'mutation { createApiKey(input: {name: "stolen", role: ADMIN}) { key } }'
KEYS = "{ apiKeys { totalCount } }"
JSON = "application/json"


async def test_no_request_that_a_page_can_cause_changes_anything(tmp_path: Path, sandbox: Sandbox) -> None:
    """Even with the key, as where a proxy in front adds it: only what a browser asks for beforehand passes."""
    async with serve_graph(tmp_path, sandbox, cors_origins=(FRONTEND,)) as graph:
        key = {"authorization": f"Bearer {graph.key}"}
        body = json.dumps({"query": MUTATION}).encode()
        form = {"query": MUTATION}
        refused: list[httpx.Response] = []
        for headers in (
            {},
            {"origin": EVIL},
            {"origin": FRONTEND},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
            {"referer": EVIL},
        ):
            known = key | headers
            refused += [
                await graph.http.get("/graphql", params=form, headers=known),
                await graph.http.get("/graphql", params=form, headers=known | {"accept": "text/html"}),
                await graph.http.get("/graphql", params=form, headers=known | {"x-graphql-csrf": "1"}),
                await graph.http.post("/graphql", params=form, headers=known),
                await graph.http.post("/graphql", content=body, headers=known),
                await graph.http.post("/graphql", content=body, headers=known | {"content-type": "text/plain"}),
                await graph.http.post("/graphql", content=body, headers=known | {"content-type": "TEXT/PLAIN; a=b"}),
                await graph.http.post(
                    "/graphql", content=body, headers=known | {"content-type": "text/plain; x=application/json"}
                ),
                await graph.http.post("/graphql", data=form, headers=known),
                await graph.http.post("/graphql", files={"query": MUTATION}, headers=known),
                await graph.http.post(
                    "/graphql", content=body, headers={**known, "content-type": f"{JSON}; charset=utf-16"}
                ),
                await graph.http.post(
                    "/graphql", params={"query": MUTATION}, content=b"{}", headers={**known, "content-type": JSON}
                ),
            ]
        refused += [
            await graph.http.post("/graphql", content=body, headers={**key, **headers, "content-type": JSON})
            for headers in (
                {"origin": EVIL},
                {"origin": "null"},
                {"origin": f"{FRONTEND}.evil.example"},
                {"origin": f"{FRONTEND}:8443"},
                {"origin": FRONTEND.replace("https", "http")},
                {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
            )
        ]
        for answer in refused:
            assert 400 <= answer.status_code < 500 or "errors" in answer.json(), answer.request
            assert answer.headers.get("access-control-allow-origin") in {None, FRONTEND}
            assert "access-control-allow-credentials" not in answer.headers
            assert "set-cookie" not in answer.headers
        assert (await graph.query(KEYS))["apiKeys"]["totalCount"] == 1
        passed = await graph.http.post(
            "/graphql", content=body, headers={**key, "origin": FRONTEND, "content-type": JSON}
        )
        assert passed.json()["data"]["createApiKey"]["key"]
        assert (await graph.query(KEYS))["apiKeys"]["totalCount"] == 2


async def test_a_page_of_another_site_may_ask_for_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    async with serve_graph(tmp_path, sandbox, cors_origins=(FRONTEND,)) as graph:
        for origin, allowed in ((FRONTEND, True), (EVIL, False), ("null", False), (f"{FRONTEND}.evil.example", False)):
            for path in ("/graphql", f"/proxy/{new_id('con')}/api/0/organizations/x/"):
                preflight = await graph.http.options(
                    path,
                    headers={
                        "origin": origin,
                        "access-control-request-method": "POST",
                        "access-control-request-headers": "authorization,content-type",
                    },
                )
                assert (preflight.headers.get("access-control-allow-origin") == origin) is allowed
                assert "access-control-allow-credentials" not in preflight.headers


async def test_a_page_of_another_site_opens_no_websocket(tmp_path: Path, sandbox: Sandbox) -> None:
    """Browsers send no preflight for one. Even with the key, as where a proxy in front adds it."""
    async with serve_graph(tmp_path, sandbox, cors_origins=(FRONTEND,)) as graph, serving(graph.app) as port:
        for origin in (EVIL, "null", f"{FRONTEND}.evil.example", f"{FRONTEND}:8443", "http://app.example"):
            with pytest.raises(InvalidStatus) as refused:
                await open_socket(port, origin=origin, authorization=f"Bearer {graph.key}").__aenter__()
            assert refused.value.response.status_code == 403
        async with open_socket(port, origin=FRONTEND, authorization=f"Bearer {graph.key}") as socket:
            await socket.send("connection_init")
            assert await socket.receive() == {"type": "connection_ack"}
        async with open_socket(port, origin=FRONTEND) as socket:  # a page has no key by itself
            await socket.send("connection_init")
            assert await socket.closed() == (4403, "Forbidden")


# --- what Sentry holds, shown under our address ---

HTML = "<!doctype html><script>fetch('/graphql/demo-key', {method: 'POST'})</script>"


@pytest.mark.parametrize(
    "content_type", ["text/html", "text/html; charset=utf-8", "image/svg+xml", "application/xhtml+xml", "text/xml", ""]
)
async def test_an_attachment_that_is_a_page_cannot_run_on_our_origin(graph: Graph, content_type: str) -> None:
    connection = await graph.link(BIG)
    graph.sandbox.faults.add(Garble(body=HTML, content_type=content_type))
    url = f"/proxy/{connection.id}/api/0/organizations/{BIG}/events/1/attachments/1/"
    for http_headers in ({}, {"accept": "text/html"}, {"idempotency-key": "x"}):
        method = "POST" if http_headers.get("idempotency-key") else "GET"
        answer = await graph.http.request(
            method, url, headers={"authorization": f"Bearer {graph.key}", "accept": "*/*", **http_headers}
        )
        assert answer.text == HTML
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "private" in answer.headers["cache-control"]
    assert (await graph.http.get(url)).status_code == 401


# --- the demo's key (DNS rebinding) ---


def post(port: int, target: str, *lines: str) -> bytes:
    """A request as raw bytes, and the whole answer."""
    head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, "Content-Length: 0", "Connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


async def test_a_real_demo_hands_its_key_to_its_own_page_only(tmp_path: Path) -> None:
    port, path = free_port(), "/graphql/demo-key"
    settings: dict[str, Any] = {
        "port": port,
        "database_url": f"sqlite:///{tmp_path / 'demo.db'}",
        "keyring_file": tmp_path / "keyring.json",
    }
    own = f"127.0.0.1:{port}"
    page = (f"Host: {own}", f"Origin: http://{own}", "Sec-Fetch-Site: same-origin")
    async with running(tmp_path, "demo", **settings) as http:
        given = post(port, path, *page)
        assert given.startswith(b"HTTP/1.1 200 ")
        key: str = json.loads(given.partition(b"\r\n\r\n")[2])["key"]
        found = await http.post("/graphql", json={"query": KEYS}, headers={"authorization": f"Bearer {key}"})
        assert "errors" not in found.json()
        hostile: list[tuple[str, tuple[str, ...]]] = [
            (path, (f"Host: {host}", f"Origin: http://{origin}", "Sec-Fetch-Site: same-origin"))
            for host in (
                f"evil.example:{port}",
                "evil.example",
                f"127.0.0.1.evil.example:{port}",
                f"[::1]:{port}",
                f"0.0.0.0:{port}",
                f"127.0.0.1.:{port}",
                f"LOCALHOST:{port}",
                "127.0.0.1",
                "127.0.0.1:80",
                f"127.1:{port}",
                f"2130706433:{port}",
                f"x@127.0.0.1:{port}",
                f"{own},evil.example",
                "",
            )
            for origin in (host, own)
        ]
        hostile += [
            (path, (*page, f"{name}: 127.0.0.1"))
            for name in ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "Via", "x-FORWARDED-proto")
        ]
        hostile += [
            (path, (page[0], page[1])),
            (path, (page[0], page[2])),
            (path, (page[1], page[2])),
            (path, (page[0], *page)),
            (path, (*page, f"Host: evil.example:{port}")),
            (path, (page[0], "Origin: null", page[2])),
            (path, (page[0], f"Origin: https://{own}", page[2])),
            (path, (page[0], f"Origin: http://localhost:{port}", page[2])),
            *((path, (page[0], page[1], f"Sec-Fetch-Site: {site}")) for site in ("none", "same-site", "cross-site")),
            # A browser that takes us for its proxy names the other host in both places.
            (f"http://evil.example:{port}{path}", (f"Host: evil.example:{port}", *page[1:])),
            (f"//{own}{path}", page),
        ]
        for target, lines in hostile:
            answer = post(port, target, *lines)
            assert key.encode() not in answer, (target, lines)
            assert answer[9:12] in {b"403", b"400", b"404", b"405"}, (target, lines)
        for method in ("GET", "PUT", "OPTIONS", "HEAD"):
            assert key not in (await http.request(method, path, headers={"origin": f"http://{own}"})).text
        # The key is in no page, script, or setting of GraphiQL.
        shown = await http.get("/graphql", headers={"accept": "text/html"})
        assert shown.status_code == 200
        assert key not in shown.text
        assert key not in (await http.get("/graphql/ui/settings.json")).text
    assert key not in (tmp_path / "output").read_text() + (tmp_path / "errors").read_text()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"/link/start/{'A' * 43}/"), ("GET", "/link/oauth/x/callback/?code=c&state=s"), ("POST", "/graphql/")],
)
async def test_no_slash_too_many_leads_to_a_host_that_the_request_names(graph: Graph, method: str, path: str) -> None:
    """Nor from https, which ends before us, to plain http: with a link's token, or a code, in the address."""
    answer = await graph.http.request(method, path, headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
