import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.connections.keyring import Keyring
from service.db import Database
from service.last_used import LastUsed
from service.proxy.rest import LARGEST_WHOLE, LONGEST_KEYED_BODY, create_proxy_route
from service.sandbox.faults import Delay, Drip, Fail, Huge, Redirect, Throttle, Truncate
from service.sentry.links import parse_link
from service.sentry.profiles import Profile
from service.tenants.authenticator import Authenticator
from service.tenants.caller import Role
from service.tenants.store import TenantStore
from tests.proxy.conftest import Linked
from tests.proxy.recording import Recorder
from tests.serving import NO_TLS

UPLOAD_LIMIT = 2 * 2**20


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[int]:
    """A real uvicorn on this event loop, which the database's connections belong to; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110  (it has no event)
            await asyncio.sleep(0.005)
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


@dataclass(frozen=True, slots=True)
class Served:
    """A linked connection behind a real server, and a client with its tenant's API key."""

    linked: Linked
    port: int
    key: str
    client: httpx.AsyncClient

    @property
    def base(self) -> str:
        return f"/proxy/{self.linked.connection.id}/api/0/"

    async def get(self, path: str, **details) -> httpx.Response:
        return await self.client.get(self.base + path, **details)

    @property
    def own(self) -> str:
        return f"organizations/{self.linked.connection.organization_slug}/"

    async def raw(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request.replace(b"AUTH", f"Authorization: Bearer {self.key}\r\nHost: x".encode()))
        return reader, writer


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve_proxy(database: Database, keyring: Keyring) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve_proxy(linked: Linked, public_url: str | None = None, role: Role = Role.WRITE) -> Served:
            pepper = keyring.api_key_pepper
            tenants = TenantStore(database)
            _, shown = await tenants.create_key(linked.caller.tenant_id, name="rest", role=role, pepper=pepper)
            authenticator = Authenticator(database, pepper=pepper, last_used=LastUsed(database))
            route = create_proxy_route(
                linked.engine, linked.client, authenticator, max_upload_bytes=UPLOAD_LIMIT, public_url=public_url
            )
            port = await stack.enter_async_context(serve(Starlette(routes=[route])))
            headers = {"authorization": f"Bearer {shown}"}
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20, verify=NO_TLS)
            await stack.enter_async_context(client)
            return Served(linked, port, shown, client)

        yield serve_proxy


@pytest.fixture
async def served(linked: Linked, serve_proxy: Serve) -> Served:
    return await serve_proxy(linked)


# --- one call ---


async def test_a_read_comes_as_sentry_sent_it(served, sandbox):
    answer = await served.get(served.own + "projects/")
    assert answer.status_code == 200
    assert len(answer.json()) == 20
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-sentry-rate-limit-limit"] == "10000"
    assert sandbox.count() == 1


async def test_placeholders_work_and_encoded_segments_stay_one(served, sandbox):
    assert (await served.get("organizations/{organization}/releases/web%401.0/")).status_code == 404
    assert sandbox.requests[-1].target.endswith("/releases/web%401.0/")
    assert (await served.get(served.own + "releases/a%2Fb/")).json()["error"]["code"] == "PATH_REFUSED"
    assert sandbox.count() == 1


async def test_nobody_can_run_sentrys_content_on_our_origin(served):
    headers = (await served.get(served.own + "projects/")).headers
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-cache"


async def test_links_lead_to_ourselves_and_walk_the_list(served, sandbox):
    path, seen = served.base + served.own + "members/?per_page=100&query=", []
    while True:
        answer = await served.client.get(path)
        seen += [member["id"] for member in answer.json()]
        following = parse_link(answer.headers["link"]).next
        path = answer.links["next"]["url"]
        assert path.startswith(
            f"http://127.0.0.1:{served.port}{served.base}{served.own}members/?per_page=100&query=&cursor="
        )
        if following is None or not following.results:
            break
    assert len(seen) == len(set(seen)) >= 250
    assert 'rel="previous"; results="true"' in answer.headers["link"]


async def test_links_begin_with_the_public_address(linked, serve_proxy):
    served = await serve_proxy(linked, public_url="https://graph.example/sentry/")
    answer = await served.get(served.own + "members/?cursor=0:100:0", headers={"host": "evil.example"})
    assert answer.links["next"]["url"].startswith(
        f"https://graph.example/sentry{served.base}{served.own}members/?cursor="
    )
    assert "evil" not in str(answer.headers)


async def test_a_list_that_comes_whole_has_no_link(served):
    assert "link" not in (await served.get(served.own + "environments/")).headers


async def test_head_has_no_body(served, sandbox):
    answer = await served.client.head(served.base + served.own + "projects/")
    assert answer.status_code == 403  # no scope of Sentry's covers HEAD
    assert (answer.content, sandbox.requests[-1].method) == (b"", "HEAD")


async def test_sentrys_refusals_pass(served):
    answer = await served.get(served.own + "issues/404404/")
    assert (answer.status_code, answer.json()) == (404, {"detail": "The requested resource does not exist"})


async def test_a_redirect_is_handed_back_where_no_client_follows_it(served, sandbox):
    sandbox.faults.add(Redirect(location="https://elsewhere.example/", status=307))
    answer = await served.client.get(served.base + served.own + "projects/", follow_redirects=True)
    assert answer.status_code == 307
    assert "location" not in answer.headers
    assert answer.headers["x-sentry-location"] == "https://elsewhere.example/"


# --- errors ---


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic eDp5"])
async def test_without_a_key_there_is_nothing(served, sandbox, header):
    answer = await served.get(served.own, headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert error["code"] == "UNAUTHENTICATED"
    assert "Authorization" in error["cure"]
    assert sandbox.count() == 0


async def test_errors_say_what_to_do(served, sandbox):
    refused = (await served.get("organizations/small/members/")).json()["error"]
    assert (refused["code"], "{organization}" in refused["cure"]) == ("PATH_REFUSED", True)
    missing = await served.client.get(f"/proxy/con_{'0' * 26}/api/0/{served.own}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    strange = await served.client.request("TRACE", served.base + served.own)
    assert (strange.status_code, strange.json()["error"]["code"]) == (400, "BAD_USER_INPUT")
    sandbox.faults.add(Fail(status=503, headers={"retry-after": "7"}))
    down = await served.get(served.own + "projects/")
    assert (down.status_code, down.json()["error"]["code"], down.headers["retry-after"]) == (
        502,
        "UPSTREAM_UNAVAILABLE",
        "7",
    )


async def test_a_429_passes_with_its_headers(served, sandbox):
    sandbox.faults.add(Throttle(headers={"retry-after": "0"}))
    answer = await served.get(served.own + "projects/")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "0"


async def test_reading_is_for_readers_and_writing_for_writers(linked, serve_proxy, sandbox):
    served = await serve_proxy(linked, role=Role.READ)
    assert (await served.get(served.own + "projects/")).status_code == 200
    answer = await served.client.post(served.base + served.own + "teams/", json={"name": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert sandbox.count("POST") == 0


async def test_the_profile_holds_here_too(link, serve_proxy):
    recorder = Recorder()
    served = await serve_proxy(await link(recorder, profile=Profile.READ))
    assert (await served.get(served.own + "projects/")).status_code == 200
    for headers in ({}, {"idempotency-key": "k"}):
        answer = await served.client.post(served.base + served.own + "teams/", json={"name": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "PROFILE_REFUSED")
    assert [request.method for request in recorder.requests] == ["GET"]


@pytest.mark.parametrize("target", [b"\xc3\xa9/", b"%ff/", b"..%2f", b"%252e%252e/", b"/etc", b"a;b/../c", b"\\x"])
async def test_hostile_paths_get_a_coded_error(served, sandbox, target):
    reader, writer = await served.raw(
        b"GET " + served.base.encode() + target + b" HTTP/1.1\r\nAUTH\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
    assert sandbox.count() == 0


# --- headers and bodies on their way up ---


async def test_a_callers_own_headers_stay_with_us(served, sandbox):
    await served.get(
        served.own + "projects/",
        headers={
            "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "connection": "accept-language", "accept-language": "de",
            "te": "trailers", "proxy-authorization": "x", "accept": "text/csv", "x-sentry-token": "x",
        },
    )  # fmt: skip
    sent = sandbox.requests[-1].headers
    assert sent["accept"] == "text/csv"
    assert served.key not in str(sent)
    assert not {"cookie", "x-forwarded-for", "accept-language", "te", "proxy-authorization", "x-sentry-token"} & set(
        sent
    )


class Upstream:
    """A Sentry that takes files and gives them back."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.types: list[str | None] = []
        self.broken_off = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.begun.set()
        if request.method == "POST":
            try:
                self.bodies.append(await request.body())
            except Exception:
                self.broken_off.set()
                raise
            self.types.append(request.headers.get("content-type"))
        packed = gzip.compress(b"file" * 1_000_000)
        names = {"content-type": "text/html", "content-encoding": "gzip", "content-disposition": "attachment"}
        headers = [(k.encode(), v.encode()) for k, v in {**names, "set-cookie": "a=b", "x-secret": "b"}.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": packed})


@pytest.fixture
async def files(link, serve_proxy) -> AsyncIterator[tuple[Upstream, Served]]:
    upstream = Upstream()
    async with serve(upstream) as port:
        yield upstream, await serve_proxy(await link(origin=f"http://127.0.0.1:{port}"))


FILES = "projects/acme/web/files/dsyms/"


async def test_files_go_up_and_down_in_pieces(files):
    upstream, served = files

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b"x" * 65_536

    answer = await served.client.post(
        served.base + FILES, content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert upstream.bodies == [b"x" * 2**20]
    assert upstream.types == ["multipart/form-data; boundary=b"]
    assert answer.content == b"file" * 1_000_000
    assert answer.headers["content-disposition"] == "attachment"
    assert not {"set-cookie", "content-encoding", "content-length", "x-secret"} & set(answer.headers)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("keyed", "limit"), [(False, UPLOAD_LIMIT), (True, LONGEST_KEYED_BODY)])
async def test_an_upload_over_the_limit_is_refused(files, announced, keyed, limit):
    upstream, served = files

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 65_536):
            yield b"x" * 65_536
        yield b"x"

    content = b"x" * (limit + 1) if announced else chunks()
    headers = {"idempotency-key": "k"} if keyed else {}
    answer = await served.client.post(served.base + FILES, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "LIMIT_EXCEEDED")
    assert upstream.bodies == []


async def test_an_upload_that_the_caller_breaks_off_never_ends_well(files):
    upstream, served = files
    head = b"POST " + served.base.encode() + FILES.encode() + b" HTTP/1.1\r\nAUTH\r\nContent-Length: 100000\r\n\r\n"
    _, writer = await served.raw(head + b"x" * 50_000)
    await writer.drain()
    await asyncio.wait_for(upstream.begun.wait(), 10)
    writer.close()
    await asyncio.wait_for(upstream.broken_off.wait(), 10)
    assert upstream.bodies == []


# --- answers that are cut off ---


async def read_all(served: Served, version: bytes, path: str) -> bytes:
    target = (served.base + path).encode()
    reader, writer = await served.raw(b"GET " + target + b" HTTP/" + version + b"\r\nAUTH\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_was_cut_off_never_ends_as_a_whole_one(served, sandbox, chunked):
    sandbox.faults.add(Truncate(chunked=chunked))
    received = await read_all(served, b"1.1", served.own + "projects/")
    assert received.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in received
    assert not received.endswith(b"0\r\n\r\n")
    with pytest.raises(httpx.RemoteProtocolError):
        await served.get(served.own + "projects/")


async def test_to_http_1_0_an_answer_is_whole_or_an_error(served, sandbox):
    received = await read_all(served, b"1.0", served.own + "projects/")
    head, _, body = received.partition(b"\r\n\r\n")
    assert len(json.loads(body)) == 20
    assert f"content-length: {len(body)}".encode() in head.lower()
    sandbox.faults.add(Truncate())
    received = await read_all(served, b"1.0", served.own + "projects/")
    assert received.startswith(b"HTTP/1.1 502")
    assert b"UPSTREAM_INVALID" in received


async def test_an_answer_too_large_for_http_1_0_is_an_error(served, sandbox):
    sandbox.faults.add(Huge(size=LARGEST_WHOLE + 2**20))
    received = await read_all(served, b"1.0", served.own + "projects/")
    assert b"UPSTREAM_TOO_LARGE" in received


async def test_an_answer_comes_while_sentry_still_sends_it(served, sandbox):
    sandbox.faults.add(Drip(seconds=0.01, piece=5000))
    async with served.client.stream("GET", served.base + served.own + "projects/") as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 1
    assert len(json.loads(b"".join(pieces))) == 20


# --- callers who leave ---


@pytest.mark.parametrize("fault", [Delay(seconds=30), Drip(seconds=0.2, piece=1)])
async def test_a_caller_who_leaves_takes_the_call_along(served, sandbox, fault):
    sandbox.faults.add(fault)
    target = (served.base + served.own + "projects/").encode()
    reader, writer = await served.raw(b"GET " + target + b" HTTP/1.1\r\nAUTH\r\n\r\n")
    while not sandbox.requests:  # noqa: ASYNC110  (it is filled in another thread)
        await asyncio.sleep(0.01)
    if isinstance(fault, Drip):
        await reader.readuntil(b"[")
    before = {task for task in asyncio.all_tasks() if "_serve" in repr(task.get_coro())}
    assert before
    writer.close()
    await asyncio.wait(before, timeout=10)
    assert all(task.cancelled() for task in before)


# --- idempotency ---


async def test_a_keyed_write_happens_once(served, sandbox):
    path, details = (
        served.base + served.own + "teams/",
        {"headers": {"idempotency-key": "k"}, "json": {"name": "Once", "slug": "once"}},
    )
    first = await served.client.post(path, **details)
    again = await served.client.post(path, **details)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert sandbox.count("POST") == 1
    other = await served.client.post(path, headers={"idempotency-key": "k"}, json={"name": "Other"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    read = await served.get(served.own, headers={"idempotency-key": "k"})
    assert (read.status_code, read.json()["error"]["code"]) == (400, "BAD_USER_INPUT")
