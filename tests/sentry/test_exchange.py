"""What Sentry, or the way to it, can do to a call; and what becomes of the call."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import httpx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    EgressRefused,
    NeedsReauth,
    OutcomeUnknown,
    RateLimited,
    ServiceError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from service.sentry.account import Applicant, Token
from service.sentry.calls import Call, CallObservation
from service.sentry.egress import EgressPolicy
from service.sentry.exchange import Exchange
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from service.sentry.payloads import Member, decode
from tests.scale import scaled
from tests.sentry.upstream import (
    Behave,
    Request,
    Tokens,
    account_of,
    answer,
    client_for,
    json_answer,
    serve,
    serve_silence,
)

PATH = ApiPath.of("organizations", "acme", "members")
OK = answer(b'[{"id":"1"}]')


def write(*parts: bytes | float, close: bool = True) -> Behave:
    """Write bytes and wait seconds, in turn."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        if close:
            writer.close()

    return behave


def reset(before: bytes) -> Behave:
    """Write bytes, then break the connection with a TCP reset."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()

    return behave


def forever(before: bytes, piece: bytes, pause: float) -> Behave:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LOST = (UpstreamUnavailable, UpstreamInvalid)
PACKED = gzip.compress(b'[{"id":"1"}]')
GZIP = {"Content-Encoding": "gzip"}

MISBEHAVIOURS: dict[str, tuple[Behave, type[ServiceError] | tuple[type[ServiceError], ...]]] = {
    "closes at once": (write(), LOST),
    "resets at once": (reset(b""), LOST),
    "resets amid the status line": (reset(b"HTTP/1.1 2"), LOST),
    "resets amid the headers": (reset(HEAD), LOST),
    "resets before the body": (reset(HEAD + b"Content-Length: 5\r\n\r\n"), LOST),
    "resets amid the body": (reset(HEAD + b"Content-Length: 50\r\n\r\n[1,"), LOST),
    "a status line that is none": (write(b"HELLO\r\n\r\n"), UpstreamInvalid),
    "a status that is no number": (write(b"HTTP/1.1 abc OK\r\n\r\n"), UpstreamInvalid),
    "a status out of range": (write(b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"), UpstreamInvalid),
    "another protocol": (write(b"SSH-2.0-OpenSSH_9.6\r\n"), UpstreamInvalid),
    "switches protocols": (write(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), UpstreamInvalid),
    "a flood of headers": (write(HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(5000))), UpstreamInvalid),
    "an endless header": (write(HEAD + b"X: " + b"y" * 100_000), UpstreamInvalid),
    "a header without a colon": (write(HEAD + b"nonsense\r\nContent-Length: 2\r\n\r\n[]"), UpstreamInvalid),
    "a body shorter than its length": (write(HEAD + b"Content-Length: 50\r\n\r\n[]"), UpstreamInvalid),
    "a body longer than its length": (write(HEAD + b"Content-Length: 1\r\n\r\n[]"), UpstreamInvalid),
    "a negative length": (write(HEAD + b"Content-Length: -1\r\n\r\n[]"), UpstreamInvalid),
    "a length that is no number": (write(HEAD + b"Content-Length: two\r\n\r\n[]"), UpstreamInvalid),
    "two lengths": (write(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"), UpstreamInvalid),
    "a length and chunks": (write(CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n2\r\n[]\r\n0\r\n\r\n"), UpstreamInvalid),
    "chunks without an end": (write(CHUNKED + b"2\r\n[]\r\n"), UpstreamInvalid),
    "chunks of garbage": (write(CHUNKED + b"zz\r\n[]\r\n0\r\n\r\n"), UpstreamInvalid),
    "a chunk longer than said": (write(CHUNKED + b"1\r\n[]\r\n0\r\n\r\n"), UpstreamInvalid),
    "a gzip that is none": (write(answer(b"[]", headers=GZIP)), UpstreamInvalid),
    "a gzip that is cut off": (write(answer(PACKED[:-5], headers=GZIP)), UpstreamInvalid),
    "a gzip with more behind it": (write(answer(PACKED + b"[]", headers=GZIP)), UpstreamInvalid),
    "a coding nobody asked for": (write(answer(b"[]", headers={"Content-Encoding": "br"})), UpstreamInvalid),
    "no JSON": (write(answer(b"<html>")), UpstreamInvalid),
    "no body": (write(b"HTTP/1.1 204 No Content\r\n\r\n"), UpstreamInvalid),
    "a body where none may be": (write(b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n[]"), UpstreamInvalid),
    "an empty body": (write(answer(b"")), UpstreamInvalid),
    "JSON of another shape": (write(answer(b'{"id":"1"}')), UpstreamInvalid),
    "JSON of another type": (write(answer(b'[{"id":1}]')), UpstreamInvalid),
    "invalid UTF-8": (write(answer(b'[{"id":"\xff"}]')), UpstreamInvalid),
    "deep nesting": (write(answer(b'[{"id":"1","x":' + b"[" * 200_000)), UpstreamInvalid),
    "NaN": (write(answer(b'[{"id":NaN}]')), UpstreamInvalid),
    "a huge number": (write(answer(b'[{"id":' + b"9" * 100_000 + b"}]")), UpstreamInvalid),
    "a lone surrogate": (write(answer(b'[{"id":"\\ud800"}]')), UpstreamInvalid),
    "over the size cap": (write(answer(b"[" + b" " * 2**20 + b"]")), UpstreamTooLarge),
    "over the size cap when unpacked": (write(answer(gzip.compress(b" " * 2**26), headers=GZIP)), UpstreamTooLarge),
    "an endless body": (forever(CHUNKED, b"10000\r\n" + b" " * 2**16 + b"\r\n", 0), UpstreamTooLarge),
    "a dripping body": (forever(CHUNKED, b"1\r\n \r\n", 0.05), UpstreamTimeout),
    "dripping headers": (forever(HEAD, b"X: y\r\n", 0.05), UpstreamTimeout),
    "a flood of interim answers": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), UpstreamTimeout),
    "silence": (write(30.0), UpstreamTimeout),
    "silence after the headers": (write(HEAD + b"Content-Length: 2\r\n\r\n", 30.0), UpstreamTimeout),
    "a redirect": (write(answer(status="302 Found", headers={"Location": "/elsewhere/"})), UpstreamInvalid),
    "an error page": (
        write(answer(b"<html>", status="500 X", headers={"Content-Type": "text/html"})),
        UpstreamUnavailable,
    ),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_whatever_the_other_side_does_the_call_ends_in_time_with_a_typed_error(name: str) -> None:
    behave, expected = MISBEHAVIOURS[name]
    async with serve(behave) as upstream, client_for(upstream.origin, deadline=0.7, attempts=2) as client:
        async with asyncio.timeout(5):
            with pytest.raises(expected):
                decode((await client.get(account_of(upstream.origin), PATH)).body, list[Member])


ODD_BUT_WHOLE: dict[str, Behave] = {
    "interim answers before it": write(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK),
    "packed": write(answer(PACKED, headers=GZIP)),
    "packed and dripping": write(
        *[part for byte in answer(PACKED, headers=GZIP) for part in (bytes([byte]), 0.0)], close=False
    ),
    "in chunks with extensions": write(CHUNKED + b'6;a=b\r\n[{"id"\r\n6\r\n:"1"}]\r\n0\r\nTrailer: x\r\n\r\n'),
    "without a length, to the end of the connection": write(HEAD + b'\r\n[{"id":"1"}]'),
    "in HTTP/1.0": write(b'HTTP/1.0 200 OK\r\n\r\n[{"id":"1"}]'),
    "without a reason": write(OK.replace(b"200 OK", b"200 ")),
    "with headers twice": write(OK.replace(b"\r\n\r\n", b"\r\nX-Hits: 1\r\nX-Hits: 2\r\n\r\n")),
    "with bytes in headers": write(OK.replace(b"\r\n\r\n", b"\r\nX-Odd: \xff\xfe\r\nETag: \xff\r\n\r\n")),
}


@pytest.mark.parametrize("name", ODD_BUT_WHOLE)
async def test_odd_answers_that_are_whole_are_taken(name: str) -> None:
    async with serve(ODD_BUT_WHOLE[name]) as upstream, client_for(upstream.origin) as client:
        response = await client.get(account_of(upstream.origin), PATH)
        assert response.body == b'[{"id":"1"}]'


async def test_a_transport_that_loses_the_connection_amid_the_body_is_believed() -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"["
            raise httpx.ReadError("lost")

    origin = Origin("https", "sentry.example", 443, "")
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, stream=Broken()))
    exchange = Exchange(transport, policy=EgressPolicy(), deadline=1, attempts=1, max_bytes=9, observe=None)
    url = f"{origin.url}/api/0/x/"
    with pytest.raises(UpstreamUnavailable):
        await exchange.fetch(Call(account_of(origin), origin, "GET", "{}/", url, ()))
    with pytest.raises(OutcomeUnknown) as caught:
        await exchange.fetch(Call(account_of(origin), origin, "POST", "{}/", url, ()))
    assert caught.value.upstream_status == 200


async def test_a_bomb_costs_less_than_32_mebibytes() -> None:
    bomb = answer(gzip.compress(b" " * 2**28, compresslevel=9), headers=GZIP)
    async with serve(bomb) as upstream, client_for(upstream.origin, max_bytes=2**24) as client:
        process = psutil.Process()
        before = process.memory_info().rss
        with pytest.raises(UpstreamTooLarge):
            await client.get(account_of(upstream.origin), PATH)
        assert process.memory_info().rss - before < 32 * 2**20


# --- retries ---


def failing(times: int, with_: bytes, then: bytes = OK) -> Behave:
    left = times

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        writer.write(with_ if left >= 0 else then)

    return behave


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X"])
async def test_a_read_that_fails_twice_succeeds_in_the_end(status: str) -> None:
    async with serve(failing(2, answer(status=status))) as upstream, client_for(upstream.origin) as client:
        assert (await client.get(account_of(upstream.origin), PATH)).status == 200
        assert len(upstream.requests) == 3


async def test_attempts_are_counted() -> None:
    async with serve(answer(status="503 X")) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnavailable):
            await client.get(account_of(upstream.origin), PATH)
        assert len(upstream.requests) == 3


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    behave = answer(status="503 X", headers={"Retry-After": "60"})
    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnavailable) as caught:
            await client.get(account_of(upstream.origin), PATH)
        assert caught.value.retry_after == 60.0
        assert len(upstream.requests) == 1


WRITES = ["POST", "PUT", "PATCH", "DELETE"]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    "behave",
    [
        write(),
        reset(HEAD),
        write(HEAD + b"Content-Length: 50\r\n\r\n[]"),
        write(b"nonsense\r\n\r\n"),
        write(30.0),
        write(answer(status="502 Bad Gateway")),
        write(answer(status="504 Gateway Timeout")),
    ],
    ids=["closes", "resets", "cuts off", "garbles", "is silent", "502", "504"],
)
async def test_a_write_whose_answer_is_lost_is_sent_once_and_its_outcome_is_unknown(
    method: str, behave: Behave
) -> None:
    async with serve(behave) as upstream, client_for(upstream.origin, deadline=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(account_of(upstream.origin), method, PATH, body=b"{}")
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_refused_for_its_pace_is_sent_again(method: str) -> None:
    refused = answer(b'"too frequently"', status="429 X", headers={"Content-Type": "text/html", "Retry-After": "0"})
    async with serve(failing(1, refused)) as upstream, client_for(upstream.origin) as client:
        assert (await client.send(account_of(upstream.origin), method, PATH, body=b"{}")).status == 200
        assert [request.body for request in upstream.requests] == [b"{}", b"{}"]


async def test_a_write_that_never_left_is_no_unknown_outcome() -> None:
    origin = Origin("http", "127.0.0.1", 1, "")
    async with client_for(origin) as client:
        with pytest.raises(UpstreamUnavailable):
            await client.send(account_of(origin), "POST", PATH, body=b"{}")


async def test_a_write_that_sentry_itself_fails_is_not_sent_again() -> None:
    async with serve(answer(status="500 X")) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnavailable):
            await client.send(account_of(upstream.origin), "POST", PATH)
        assert len(upstream.requests) == 1


async def test_total_failure_brings_sentry_a_tenth_more_at_most() -> None:
    calls = scaled(test=300, soak=3000)
    async with serve(answer(status="500 X")) as upstream, client_for(upstream.origin, attempts=4) as client:

        async def one(number: int) -> None:
            with pytest.raises(UpstreamUnavailable):
                await client.get(
                    account_of(upstream.origin), ApiPath.of("organizations", "acme", "members", str(number))
                )

        for start in range(0, calls, 50):
            await asyncio.gather(*(one(number) for number in range(start, start + 50)))
        assert calls <= len(upstream.requests) <= calls * 1.1 + 10  # the reserve


# --- tokens ---


def guarded(good: str) -> Behave:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        is_good = dict(request.headers)["authorization"] == f"Bearer {good}"
        writer.write(OK if is_good else json_answer({"detail": "Token expired"}, status="401 X"))

    return behave


async def test_a_rejected_token_is_replaced_once() -> None:
    async with serve(guarded("new")) as upstream, client_for(upstream.origin) as client:
        tokens = Tokens("old", fresh="new")
        assert (await client.get(account_of(upstream.origin, tokens=tokens), PATH)).status == 200
        assert [token.value for token in tokens.rejected] == ["old"]


async def test_a_write_too_since_a_401_was_not_carried_out() -> None:
    async with serve(guarded("new")) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens("old", fresh="new"))
        assert (await client.send(account, "POST", PATH, body=b"{}")).status == 200
        assert [request.body for request in upstream.requests] == [b"{}", b"{}"]


async def test_a_second_401_stands() -> None:
    async with serve(guarded("other")) as upstream, client_for(upstream.origin) as client:
        tokens = Tokens("old", fresh="new")
        with pytest.raises(UpstreamUnauthorized):
            await client.get(account_of(upstream.origin, tokens=tokens), PATH)
        assert len(upstream.requests) == 2


async def test_without_another_token_sentrys_401_stands() -> None:
    async with serve(guarded("other")) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens("old", fresh=UpstreamUnauthorized("none")))
        with pytest.raises(UpstreamUnauthorized, match="Token expired"):
            await client.get(account, PATH)
        assert (await client.send(account, "GET", PATH)).status == 401


async def test_a_connection_that_needs_linking_again_says_so() -> None:
    async with serve(guarded("other")) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens("old", fresh=NeedsReauth("gone")))
        with pytest.raises(NeedsReauth):
            await client.send(account, "GET", PATH)


async def test_a_401_that_no_token_cures_asks_for_none() -> None:
    behave = json_answer({"detail": {"code": "sso-required", "message": "x", "extra": {}}}, status="401 X")
    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnauthorized, match="single sign-on"):
            await client.get(account_of(upstream.origin), PATH)


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX: y", "ü", "a\x00"])
async def test_a_token_that_is_none_is_not_sent(value: str) -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnauthorized):
            await client.get(account_of(upstream.origin, tokens=Tokens(value)), PATH)
        assert upstream.requests == []


def test_a_token_does_not_show_itself() -> None:
    assert "secret" not in repr(Tokens("secret").current)
    assert "secret" not in repr(account_of(Origin("https", "sentry.io", 443, ""), tokens=Tokens("secret").current))


async def test_errors_hold_no_request() -> None:
    async with serve(write()) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnavailable) as caught:
            await client.get(account_of(upstream.origin, tokens=Tokens("sec" + "ret" * 20)), PATH)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


# --- pace ---


class Window:
    """A real fixed-window limiter, as Sentry's: it counts by the clock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = self.second = self.served = self.refused = 0

    async def behave(self, _request: Request, writer: asyncio.StreamWriter) -> None:
        second = int(time.time())
        self.count = self.count + 1 if second == self.second else 1
        self.second = second
        headers = {
            "X-Sentry-Rate-Limit-Limit": str(self.limit),
            "X-Sentry-Rate-Limit-Remaining": str(max(self.limit - self.count, 0)),
            "X-Sentry-Rate-Limit-Reset": str(second + 1),
            "X-Sentry-Rate-Limit-ConcurrentLimit": "25",
            "X-Sentry-Rate-Limit-ConcurrentRemaining": "None",
        }
        if self.count > self.limit:
            self.refused += 1
            writer.write(answer(b'"too frequently"', status="429 X", headers=headers | {"Content-Type": "text/html"}))
        else:
            self.served += 1
            writer.write(answer(b"{}", headers=headers))


async def test_one_process_is_refused_at_most_once_in_a_hundred_calls() -> None:
    calls = scaled(test=200, soak=4000)
    window = Window(limit=60)
    async with serve(window.behave) as upstream, client_for(upstream.origin, deadline=300.0) as client:
        account = account_of(upstream.origin)
        paths = [ApiPath.of("organizations", "acme", "members", str(number)) for number in range(calls)]
        await asyncio.gather(*(client.get(account, path) for path in paths))
        assert window.served == calls
        assert window.refused <= calls / 100
        state = client.rate_limit(account)
        assert state is not None
        assert (state.limit, state.concurrent_limit, state.concurrent_remaining) == (60, 25, None)
        assert client.rate_limit(account_of(upstream.origin, fingerprint="another")) is None


async def test_a_429_beyond_the_deadline_is_told_at_once_and_then_without_asking() -> None:
    behave = json_answer("too frequently", status="429 X", headers={"Retry-After": "60"})
    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin)
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await client.get(account, PATH)
            assert caught.value.retry_after == pytest.approx(60, abs=1)
        assert len(upstream.requests) == 1


async def test_a_429_that_outlasts_the_attempts_comes_back_as_data_from_a_passed_call() -> None:
    behave = json_answer("too frequently", status="429 X", headers={"Retry-After": "0"})
    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        response = await client.send(account_of(upstream.origin), "GET", PATH)
        assert (response.status, response.body) == (429, b'"too frequently"')
        assert len(upstream.requests) == 3


async def test_waiting_for_a_turn_counts_towards_the_deadline() -> None:
    headers = {
        "X-Sentry-Rate-Limit-Limit": "100",
        "X-Sentry-Rate-Limit-Remaining": "99",
        "X-Sentry-Rate-Limit-Reset": str(int(time.time()) + 60),
        "X-Sentry-Rate-Limit-ConcurrentLimit": "1",
    }
    slow = asyncio.Event()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        if "slow" in request.line:
            slow.set()
            await asyncio.sleep(30)
        writer.write(answer(headers=headers))

    class Late(Tokens):
        async def token(self) -> Token:
            await slow.wait()
            return self.current

    async with serve(behave) as upstream, client_for(upstream.origin, deadline=0.6) as client:
        account = account_of(upstream.origin)
        await client.get(account, PATH)
        waiting = asyncio.create_task(client.get(account_of(upstream.origin, tokens=Late()), PATH, [("a", "b")]))
        await asyncio.sleep(0.2)
        holding = asyncio.create_task(client.get(account, PATH, [("slow", "1")]))
        with pytest.raises(UpstreamTimeout):
            await waiting
        assert len(upstream.requests) == 2
        with pytest.raises(UpstreamTimeout):
            await holding


async def test_a_turn_that_does_not_come_in_time_is_the_limits_doing() -> None:
    window = Window(limit=1)
    async with serve(window.behave) as upstream, client_for(upstream.origin, deadline=1.3) as client:
        account = account_of(upstream.origin)
        calls = [client.get(account, PATH, [("number", str(number))]) for number in range(6)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        failed = [end for end in ends if isinstance(end, BaseException)]
        assert {type(end) for end in failed} == {RateLimited}
        assert len(failed) < 6
        assert all(isinstance(end, RateLimited) and end.retry_after is not None for end in failed)


# --- breaker ---


async def test_a_sentry_that_is_down_is_left_alone_and_neighbours_are_not() -> None:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        is_broken = dict(request.headers)["authorization"] == "Bearer broken"
        writer.write(answer(status="503 X") if is_broken else OK)

    async with serve(behave) as upstream, client_for(upstream.origin, attempts=1) as client:
        broken = account_of(upstream.origin, tokens=Tokens("broken"))
        neighbour = account_of(upstream.origin, tenant="tnt_2", tokens=Tokens("fine"))
        for _ in range(20):
            with pytest.raises(UpstreamUnavailable) as caught:
                await client.get(broken, PATH)
        assert caught.value.retry_after is not None
        asked = len(upstream.requests)
        assert asked < 20
        with pytest.raises(UpstreamUnavailable):
            await client.get(broken, PATH)
        assert len(upstream.requests) == asked
        assert (await client.get(neighbour, PATH)).status == 200


async def test_it_is_tried_again_after_a_pause() -> None:
    async with serve(answer(status="503 X")) as upstream, client_for(upstream.origin, attempts=1) as client:
        account = account_of(upstream.origin)
        for _ in range(10):
            with pytest.raises(UpstreamUnavailable) as caught:
                await client.get(account, PATH)
        upstream.behave = write(OK, close=False)
        assert caught.value.retry_after is not None
        await asyncio.sleep(caught.value.retry_after)
        for _ in range(3):
            assert (await client.get(account, PATH)).status == 200


async def test_silence_opens_it_as_well() -> None:
    async with serve(write(30.0)) as upstream, client_for(upstream.origin, deadline=0.05, attempts=1) as client:
        account = account_of(upstream.origin)
        errors: list[type[UpstreamUnavailable]] = []
        for _ in range(12):
            with pytest.raises(UpstreamUnavailable) as caught:
                await client.get(account, PATH)
            errors.append(type(caught.value))
        assert errors[0] is UpstreamTimeout
        assert errors[-1] is UpstreamUnavailable
        assert len(upstream.requests) < 12


# --- checks around the call ---


async def test_an_origin_that_is_not_allowed_is_not_called() -> None:
    async with serve(OK) as upstream, client_for() as client:
        with pytest.raises(EgressRefused):
            await client.get(account_of(upstream.origin), PATH)
        assert upstream.connections == 0


async def test_a_url_that_is_not_below_the_origin_is_not_sent() -> None:
    async with serve(OK) as upstream, serve(OK) as decoy:
        policy = EgressPolicy([upstream.origin, decoy.origin])
        transport = httpx.MockTransport(lambda _request: pytest.fail("sent"))
        exchange = Exchange(transport, policy=policy, deadline=1, attempts=1, max_bytes=1, observe=None)
        for url in (f"{decoy.origin.url}/api/0/x/", f"{upstream.origin.url}/x/", f"{upstream.origin.url}.evil/api/0/"):
            with pytest.raises(EgressRefused):
                await exchange.fetch(Call(account_of(upstream.origin), upstream.origin, "GET", "x/", url, ()))


ORIGIN = Origin("https", "sentry.example", 443, "/x")
GRANTS = [
    "https://sentry.example/x/oauth/token/",
    f"https://sentry.example/x/api/0/sentry-app-installations/{'0' * 8}-0000-4000-8000-{'f' * 12}/authorizations/",
]
NEAR_MISSES = [
    *(f"{url}{tail}" for url in GRANTS for tail in ("?a=b", "#a", "/", "..", "%2e%2e/", "\n", "x/")),
    *(url.replace(*change) for url in GRANTS for change in (
        ("https", "http"), ("/x/", "/"), ("/x/", "/x/x/"), ("/x/", "/x//"), ("sentry.example", "sentry.example.evil"),
        ("sentry.example", "evil.example"), ("sentry.example", "sentry.example:8443"), ("/x/", "@evil.example/"),
        ("sentry.example", "a@sentry.example"), ("token", "revoke"), ("0000", "000g"), ("authorizations", "x"),
        ("f" * 12, "F" * 12), ("oauth", "oauth/../oauth"),
    )),
    "https://sentry.example/x/api/0/",
    "https://sentry.example/x/api/0/organizations/acme/",
    "https://sentry.example/x/oauth/authorize/",
]  # fmt: skip
NEAR_MISSES = [url for url in NEAR_MISSES if url not in GRANTS]  # what a change left as it was


async def send_as_applicant(method: str, url: str) -> list[str]:
    sent: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        sent.append(str(request.url))
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    exchange = Exchange(
        httpx.MockTransport(note), policy=EgressPolicy(), deadline=1, attempts=1, max_bytes=9, observe=None
    )
    try:
        await exchange.fetch(Call(Applicant("tnt_1", "client:1"), ORIGIN, method, "x/", url, (), b"secret"))
    except EgressRefused:
        assert sent == []
    return sent


@pytest.mark.parametrize("url", GRANTS)
async def test_without_an_accounts_token_only_a_grant_is_sent(url: str) -> None:
    assert await send_as_applicant("POST", url) == [url]
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        assert await send_as_applicant(method, url) == []


@pytest.mark.parametrize("url", NEAR_MISSES)
async def test_a_grant_goes_nowhere_else(url: str) -> None:
    assert await send_as_applicant("POST", url) == []


PIECES = st.sampled_from(
    ["https://", "http://", "sentry.example", "evil.example", "@", "/", "x", "oauth", "token", "api", "0", "..", "?",
     "#", "sentry-app-installations", "authorizations", f"{'0' * 8}-0000-4000-8000-{'f' * 12}", "%2f", "\\", "\t"]
)  # fmt: skip


@settings(max_examples=scaled(test=500, soak=20000), deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=80).map(lambda text: f"{GRANTS[0]}{text}"))
def test_no_url_at_all_gets_past_the_last_look(url: str) -> None:
    assert asyncio.run(send_as_applicant("POST", url)) in ([], [url] if url in GRANTS else [])


async def test_an_accounts_token_does_not_go_where_tokens_are_given() -> None:
    async with serve(OK) as upstream:
        transport = httpx.MockTransport(lambda _request: pytest.fail("sent"))
        exchange = Exchange(
            transport, policy=EgressPolicy([upstream.origin]), deadline=1, attempts=1, max_bytes=1, observe=None
        )
        url = f"{upstream.origin.url}/oauth/token/"
        with pytest.raises(EgressRefused):
            await exchange.fetch(Call(account_of(upstream.origin), upstream.origin, "POST", "x/", url, ()))


# --- what never left ---


async def test_a_write_that_time_ran_out_on_before_it_had_a_connection_did_not_happen() -> None:
    async with serve_silence() as origin, client_for(origin, deadline=0.3) as client:
        with pytest.raises(UpstreamTimeout):
            await client.send(account_of(origin), "POST", PATH, body=b"{}")


async def test_a_write_that_time_ran_out_on_once_it_had_a_connection_may_have_happened() -> None:
    async with serve(SILENT) as upstream, client_for(upstream.origin, deadline=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(account_of(upstream.origin), "POST", PATH, body=b"{}")


# --- the servers' clocks ---


async def test_the_servers_clock_is_read_off_every_answer() -> None:
    skews = [600.0, -600.0]

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        date = formatdate(time.time() + skews[0], usegmt=True)
        writer.write(answer(b"[]", status="404 X" if len(skews) == 1 else "200 OK", headers={"Date": date}))

    async with serve(behave) as upstream, serve(OK) as other, client_for(upstream.origin, other.origin) as client:
        assert client.clock_skew(upstream.origin) is None
        await client.get(account_of(upstream.origin), PATH)
        assert client.clock_skew(upstream.origin) == pytest.approx(600, abs=2)
        skews.pop(0)
        await client.send(account_of(upstream.origin), "PUT", PATH)
        assert client.clock_skew(upstream.origin) == pytest.approx(-600, abs=2)
        await client.get(account_of(other.origin), PATH)
        assert client.clock_skew(other.origin) is None  # it does not tell the time


async def observe_a_read(behave: Behave | bytes) -> CallObservation:
    seen: list[CallObservation] = []
    async with serve(behave) as upstream, client_for(upstream.origin, observe=seen.append, deadline=0.5) as client:
        read = client.get(account_of(upstream.origin), PATH, [("query", "secret@example.com")])
        task = asyncio.create_task(read)
        await asyncio.wait([task], timeout=0.3 if behave is SILENT else None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
    (one,) = seen
    return one


SILENT = write(30.0)


@pytest.mark.parametrize(
    ("behave", "outcome", "attempts"),
    [
        (OK, "200", 1),
        (answer(status="404 X"), "404", 1),
        (failing(1, answer(status="503 X")), "200", 2),
        (write(), "UPSTREAM_UNAVAILABLE", 3),
        (SILENT, "CANCELLED", 1),
    ],
    ids=["answered", "refused", "repeated", "lost", "left"],
)
async def test_every_call_is_observed_once_without_names_in_it(
    behave: Behave | bytes, outcome: str, attempts: int
) -> None:
    one = await observe_a_read(behave)
    assert (one.host, one.template, one.method) == ("127.0.0.1", "organizations/{}/members/", "GET")
    assert (one.outcome, one.attempts) == (outcome, attempts)
    assert one.seconds > 0


# --- a server that quotes what it was sent ---


async def test_no_header_quotes_the_token() -> None:
    token = "an-opaque.token"
    link = f'<u>; rel="next"; results="true"; cursor="{token}"'
    quoting = answer(headers={"X-Sentry-Error": f"Bearer {token}", "Link": link})
    async with serve(quoting) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens(token))
        assert token not in repr(await client.get(account, PATH))
        async with client.stream(account, "GET", PATH) as streamed:
            assert token not in repr(streamed)


@pytest.mark.parametrize("status", ["302 X", "400 X", "401 X", "403 X", "404 X", "500 X", "503 X"])
@pytest.mark.parametrize("token", ["a" * 64, "an-opaque.token_of~no/known+form", "sntryu_" + "5a" * 32])
async def test_a_refusal_that_quotes_the_token_is_handed_on_without_it(status: str, token: str) -> None:
    said = {"detail": f"Bad credential: {token}", "field": [token]}
    quoting = json_answer(said, status=status, headers={"X-Sentry-Error": token, "Location": f"/x?{token}"})
    async with serve(quoting) as upstream, client_for(upstream.origin, attempts=1) as client:
        account = account_of(upstream.origin, tokens=Tokens(token, fresh=UpstreamUnauthorized("none")))
        written: list[str] = []
        for call in (client.get(account, PATH), client.send(account, "POST", PATH, body=b"{}")):
            try:
                written.append(repr(await call))
            except ServiceError as error:
                written.append(f"{error.message} {error.extensions()}")
    assert len(written) == 2
    assert not any(token in text for text in written)
    assert dict(upstream.requests[0].headers)["authorization"] == f"Bearer {token}"
