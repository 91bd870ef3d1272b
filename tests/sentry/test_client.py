import asyncio
import gc
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    BadInput,
    OutcomeUnknown,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from tests.scale import scaled
from tests.sentry.test_paths import HOSTILE, leaves_the_api
from tests.sentry.upstream import Request, Tokens, Upstream, account_of, answer, client_for, json_answer, serve

PATH = ApiPath.of("organizations", "acme", "members")
OK = answer(b"[]")


# --- where it goes (and nowhere else) ---


class Recording(httpx.AsyncBaseTransport):
    """Answers everything and keeps where it was sent to."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(str(request.url))
        return httpx.Response(200, stream=httpx.ByteStream(b"[]"))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@settings(max_examples=scaled(test=2000, soak=20000), deadline=None)
@given(path=HOSTILE, query=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=3))
def test_no_hostile_path_or_query_sends_the_credential_elsewhere(
    runner: asyncio.Runner, path: str, query: list[tuple[str, str]]
) -> None:
    origin = Origin("https", "sentry.example", 443, "/sentry")
    transport = Recording()
    client = SentryClient(
        transport, policy=EgressPolicy(), deadline=5, attempts=1, max_bytes=100, user_agent="sentry-graph-test"
    )

    async def send() -> None:
        await client.send(account_of(origin), "GET", ApiPath.parse(path), query)

    try:
        runner.run(send())
    except BadInput:
        assert transport.urls == []
    else:
        (url,) = transport.urls
        assert not leaves_the_api(url.partition("?")[0], origin)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_cross", [False, True])
async def test_a_redirect_is_handed_back_and_the_credential_stays(status: int, is_cross: bool) -> None:
    async with serve(OK) as decoy, serve(OK) as upstream, client_for(upstream.origin, decoy.origin) as client:
        location = f"{(decoy if is_cross else upstream).origin.url}/stolen"
        upstream.behave = behaving(answer(status=f"{status} X", headers={"Location": location}))
        account = account_of(upstream.origin)
        response = await client.send(account, "GET", PATH)
        assert (response.status, response.headers["location"]) == (status, location)
        with pytest.raises(UpstreamInvalid):
            await client.get(account, PATH)
        assert len(upstream.requests) == 2
        assert decoy.requests == []


async def test_the_control_origin_is_called_only_when_asked_for() -> None:
    async with serve(OK) as control, serve(OK) as api, client_for(control.origin, api.origin) as client:
        account = account_of(api.origin, control=control.origin)
        await client.get(account, PATH)
        assert (len(control.requests), len(api.requests)) == (0, 1)
        await client.get(account, PATH, control=True)
        assert (len(control.requests), len(api.requests)) == (1, 1)


# --- what is sent ---


def behaving(data: bytes) -> Any:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return behave


async def test_a_read_is_sent_to_the_byte() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        await client.get(account_of(upstream.origin, tokens=Tokens("t0k3n")), PATH, [("query", "id:1 id:2")])
        assert upstream.requests[0].head.decode().split("\r\n") == [
            "GET /api/0/organizations/acme/members/?query=id%3A1+id%3A2 HTTP/1.1",
            f"Host: 127.0.0.1:{upstream.port}",
            "Authorization: Bearer t0k3n",
            "Accept-Encoding: gzip",
            "User-Agent: sentry-graph-test",
            "Accept: application/json",
            "",
            "",
        ]


async def test_a_callers_headers_cannot_override_ours() -> None:
    hostile = {
        "Host": "evil.example",
        "Authorization": "Bearer mine",
        "authorization": "Bearer mine",
        "Cookie": "session=1",
        "User-Agent": "mine",
        "Accept-Encoding": "br",
        "Connection": "upgrade, if-match",
        "Upgrade": "websocket",
        "If-Match": "1",
        "Transfer-Encoding": "chunked",
        "Content-Length": "999",
        "Expect": "100-continue",
        "X-Forwarded-Host": "evil.example",
        "Accept": "text/plain",
    }
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens("t0k3n"))
        await client.send(account, "POST", PATH, body=b"{}", headers=hostile)
        assert upstream.requests[0].head.decode().split("\r\n") == [
            "POST /api/0/organizations/acme/members/ HTTP/1.1",
            f"Host: 127.0.0.1:{upstream.port}",
            "Authorization: Bearer t0k3n",
            "Accept-Encoding: gzip",
            "User-Agent: sentry-graph-test",
            "Accept: text/plain",
            "Content-Type: application/json",
            "Content-Length: 2",
            "Connection: close",
            "",
            "",
        ]
        assert upstream.requests[0].body == b"{}"


@pytest.mark.parametrize("value", ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\r\n\r\nGET /evil HTTP/1.1", "x\x00", "ü"])
async def test_no_header_or_type_breaks_out_of_its_line(value: str) -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        for given_ in ({"headers": {"accept": value}}, {"content_type": value}):
            with pytest.raises(BadInput):
                await client.send(account_of(upstream.origin), "POST", PATH, **given_)
        assert upstream.connections == 0


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "OPTIONS", "get", "get evil", "GET\r\n", ""])
async def test_no_other_method_passes(method: str) -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(BadInput):
            await client.send(account_of(upstream.origin), method, PATH)
        assert upstream.connections == 0


async def test_a_body_goes_with_its_type_or_as_json() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        await client.send(account, "POST", PATH, body=b"\x89PNG", content_type="image/png")
        await client.send(account, "PUT", PATH)
        await client.send(account, "DELETE", PATH)
        sent = [(request.line[:6], dict(request.headers).get("content-type")) for request in upstream.requests]
        assert sent == [("POST /", "image/png"), ("PUT /a", "application/json"), ("DELETE", None)]


async def test_only_listed_headers_come_back() -> None:
    link = '<u>; rel="next"; results="true"; cursor="0:100:0"'
    headers = {"Set-Cookie": "session=1", "Server": "x", "X-Hits": "12", "X-Request-ID": "r1", "Link": link}
    async with serve(answer(headers=headers)) as upstream, client_for(upstream.origin) as client:
        response = await client.get(account_of(upstream.origin), PATH)
        assert response.headers == {
            "content-type": "application/json",
            "x-hits": "12",
            "x-request-id": "r1",
            "link": link,
        }
        assert response.links.next is not None
        assert response.links.next.cursor == "0:100:0"
        assert response.rate_limit is None


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 403, 404, 409, 422])
async def test_sentrys_answers_are_data_to_a_passed_call(status: int) -> None:
    body = b"" if status in {204, 304} else b'{"detail":"x"}'
    data = answer(body, status=f"{status} X")
    async with serve(data) as upstream, client_for(upstream.origin) as client:
        response = await client.send(account_of(upstream.origin), "GET", PATH)
        assert (response.status, response.body) == (status, body)


async def test_a_head_has_headers_and_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nContent-Encoding: gzip\r\nX-Hits: 3\r\n\r\n"
    async with serve(head) as upstream, client_for(upstream.origin) as client:
        response = await client.send(account_of(upstream.origin), "HEAD", PATH)
        assert (response.status, response.headers["x-hits"], response.body) == (200, "3", b"")


# --- reads at the same time ---


class Held(Upstream):
    """Answers once it is let go, with the number of the request."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.arrived = asyncio.Semaphore(0)
        super().__init__(self._hold)

    async def _hold(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.arrived.release()
        await self.released.wait()
        writer.write(json_answer(request.line))


async def test_identical_reads_are_one_call() -> None:
    held = Held()
    async with serve(held.behave) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        reads = [asyncio.create_task(client.get(account, PATH, [("a", "b")])) for _ in range(64)]
        await held.arrived.acquire()
        held.released.set()
        bodies = {(await one).body for one in reads}
        assert len(bodies) == len(upstream.requests) == 1


async def test_reads_that_differ_in_anything_are_calls_of_their_own() -> None:
    held = Held()
    async with (
        serve(held.behave) as upstream,
        serve(held.behave) as other,
        client_for(upstream.origin, other.origin) as client,
    ):
        accounts = [
            account_of(upstream.origin),
            account_of(upstream.origin, tenant="tnt_2"),
            account_of(upstream.origin, connection="con_2"),
            account_of(upstream.origin, fingerprint="f2"),
            account_of(upstream.origin, control=other.origin),
        ]
        held.released.set()
        await asyncio.gather(
            *(client.get(account, PATH) for account in accounts[:4]),
            client.get(accounts[4], PATH, control=True),
            client.get(accounts[0], PATH, [("a", "b")]),
            client.get(accounts[0], ApiPath.of("organizations", "acme", "teams")),
        )
        assert (len(upstream.requests), len(other.requests)) == (6, 1)


async def test_a_read_after_another_is_a_call_of_its_own() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        for _ in range(2):
            await client.get(account_of(upstream.origin), PATH)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize(("which", "calls"), [(0, 2), (1, 1)])
async def test_one_that_goes_away_leaves_the_others_their_answer(which: int, calls: int) -> None:
    """Where it was the one that read, the others read once more."""
    held = Held()
    async with serve(held.behave) as upstream, client_for(upstream.origin) as client:
        reads = [asyncio.create_task(client.get(account_of(upstream.origin), PATH)) for _ in range(3)]
        await held.arrived.acquire()
        gone = reads.pop(which)
        gone.cancel()
        await asyncio.sleep(0)
        if calls == 2:
            await held.arrived.acquire()
        held.released.set()
        assert (await reads[0]).body == (await reads[1]).body
        assert gone.cancelled()
        assert len(upstream.requests) == calls


async def test_when_all_go_away_the_call_is_broken_off() -> None:
    held = Held()
    async with serve(held.behave) as upstream, client_for(upstream.origin) as client:
        reads = [asyncio.create_task(client.get(account_of(upstream.origin), PATH)) for _ in range(3)]
        await held.arrived.acquire()
        for one in reads:
            one.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        again = asyncio.create_task(client.get(account_of(upstream.origin), PATH))
        await held.arrived.acquire()  # not the one that was broken off
        held.released.set()
        assert (await again).status == 200


async def test_an_error_is_everybodys() -> None:
    async with serve(answer(status="404 X")) as upstream, client_for(upstream.origin) as client:
        reads = [client.get(account_of(upstream.origin), PATH) for _ in range(8)]
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(end) for end in ends] == [UpstreamNotFound] * 8
        assert len(upstream.requests) == 1


async def test_closing_breaks_off_what_is_under_way() -> None:
    held = Held()
    async with serve(held.behave) as upstream:
        async with client_for(upstream.origin) as client:
            read = asyncio.create_task(client.get(account_of(upstream.origin), PATH))
            await held.arrived.acquire()
        with pytest.raises(asyncio.CancelledError):
            await read


async def test_leaving_at_any_point_leaks_nothing() -> None:
    body = b"[" + b" " * 200_000 + b"]"

    async def dribble(_request: Request, writer: asyncio.StreamWriter) -> None:
        data = answer(body)
        for start in range(0, len(data), 20_000):
            writer.write(data[start : start + 20_000])
            await writer.drain()
            await asyncio.sleep(0.001)

    dice = random.Random(1)
    unretrieved: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unretrieved.append(context))
    async with serve(dribble) as upstream:
        async with client_for(upstream.origin) as client:
            account = account_of(upstream.origin)
            await client.get(account, PATH)
            before = len(asyncio.all_tasks())
            for number in range(scaled(test=50, soak=1000)):
                path = ApiPath.of("organizations", "acme", "members", str(number))
                calls = [
                    asyncio.create_task(client.get(account, path)),
                    asyncio.create_task(client.get(account, path)),
                    asyncio.create_task(client.send(account, "POST", path, body=b"{}")),
                    asyncio.create_task(drain(client, account, path)),
                ]
                await asyncio.sleep(dice.uniform(0, 0.02))
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            await client.get(account, PATH)  # and still works
            await until(lambda: upstream.open_connections <= 4)
            gc.collect()
            await until(lambda: len(asyncio.all_tasks()) <= before + upstream.open_connections)
        await until(lambda: upstream.open_connections == 0)
    assert unretrieved == []


async def drain(client: SentryClient, account: Account, path: ApiPath) -> int:
    async with client.stream(account, "GET", path) as response:
        return sum([len(piece) async for piece in response.body])


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the other side tells nobody when its sockets are closed)
            await asyncio.sleep(0.01)


# --- streams ---


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (b"Transfer-Encoding: chunked", (b"5\r\nfirst\r\n", b"4\r\nlast\r\n0\r\n\r\n")),
        (b"Content-Length: 9", (b"first", b"last")),
    ],
)
async def test_a_stream_hands_the_body_on_as_it_comes(header: bytes, parts: tuple[bytes, bytes]) -> None:
    first = asyncio.Event()

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Hits: 1\r\n%b\r\n\r\n%b" % (header, parts[0]))
        await first.wait()
        writer.write(parts[1])

    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        async with client.stream(account_of(upstream.origin), "GET", PATH) as response:
            assert (response.status, response.headers) == (200, {"x-hits": "1"})
            pieces = []
            async for piece in response.body:
                pieces.append(piece)
                first.set()
        assert pieces == [b"first", b"last"]


async def test_a_stream_may_be_larger_than_the_cap() -> None:
    async with serve(answer(b"a" * 300_000)) as upstream, client_for(upstream.origin, max_bytes=1000) as client:
        assert await drain(client, account_of(upstream.origin), PATH) == 300_000


CUT = {
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[]",
    "without its last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
    "with its gzip cut off": answer(b"\x1f\x8b\x08\0\0\0\0\0", headers={"Content-Encoding": "gzip"}),
    "in an unknown coding": answer(b"x", headers={"Content-Encoding": "br"}),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_stream_that_is_not_whole_never_ends_as_if_it_were(name: str) -> None:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(CUT[name])
        await writer.drain()
        writer.close()

    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamInvalid):
            await drain(client, account_of(upstream.origin), PATH)


async def test_a_stream_that_stops_ends_at_the_deadline() -> None:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[]")
        await asyncio.sleep(30)

    async with serve(behave) as upstream, client_for(upstream.origin, deadline=0.2) as client:
        with pytest.raises(UpstreamTimeout):
            await drain(client, account_of(upstream.origin), PATH)


async def test_a_stream_that_nobody_reads_to_its_end_frees_its_connection() -> None:
    async with serve(answer(b"a" * 5_000_000)) as upstream, client_for(upstream.origin) as client:
        async with client.stream(account_of(upstream.origin), "GET", PATH) as response:
            await anext(response.body)
        await until(lambda: upstream.open_connections == 0)


@pytest.mark.parametrize("status", ["404 X", "401 X", "429 X"])
async def test_refusals_come_back_with_their_body_to_a_stream(status: str) -> None:
    data = json_answer({"detail": {"code": "sudo-required"}}, status=status)
    async with serve(data) as upstream, client_for(upstream.origin, attempts=1) as client:
        call = client.stream(account_of(upstream.origin), "GET", PATH)
        async with call as response:
            assert str(response.status) == status[:3]
            assert b"".join([piece async for piece in response.body]) == b'{"detail": {"code": "sudo-required"}}'


async def upload(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_body_is_sent_as_it_comes() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        async with client.stream(
            account, "POST", PATH, body=upload(b"ab", b"c"), content_type="text/plain"
        ) as response:
            assert response.status == 200
        async with client.stream(account, "POST", PATH, body=upload(b"ab", b"c"), headers={"content-length": "3"}):
            pass
        assert [request.body for request in upstream.requests] == [b"abc", b"abc"]
        assert dict(upstream.requests[0].headers)["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    ("status", "error"), [("503 X", UpstreamUnavailable), ("502 X", OutcomeUnknown), ("429 X", None), ("401 X", None)]
)
async def test_a_body_that_cannot_be_had_twice_is_sent_once(status: str, error: type[Exception] | None) -> None:
    data = answer(status=status, headers={"Retry-After": "0"})
    async with serve(data) as upstream, client_for(upstream.origin) as client:
        call = client.stream(account_of(upstream.origin), "POST", PATH, body=upload(b"ab"))
        if error is None:
            async with call as response:
                assert str(response.status) == status[:3]
        else:
            with pytest.raises(error):
                await call.__aenter__()
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("error", [ConnectionResetError("the caller is gone"), ValueError("odd")])
async def test_an_upload_that_breaks_off_is_an_unknown_outcome(error: Exception) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"ab"
        raise error

    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(OutcomeUnknown):
            await client.stream(account_of(upstream.origin), "POST", PATH, body=broken()).__aenter__()
