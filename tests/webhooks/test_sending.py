"""One POST to receivers of every kind, over real sockets; hostile ones are in `tests/attacks`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.webhooks.answers import Answer, Problem
from service.webhooks.message import Message
from service.webhooks.sending import Sender
from tests.sentry.authority import Authority
from tests.sentry.upstream import _NO_TLS, Request, Upstream, answer, serve
from tests.serving import free_port

MESSAGE = Message({"Content-Type": "application/json", "webhook-id": "evt_1"}, b'{"a":1}')


@asynccontextmanager
async def sender(*allowed: Origin, deadline: float = 5.0) -> AsyncIterator[Sender]:
    made = Sender(EgressPolicy(allowed), limit=10, user_agent="sentry-graph/test", deadline=deadline, tls=_NO_TLS)
    try:
        yield made
    finally:
        await made.aclose()


async def send(receiver: Upstream, path: str = "/hook", *, deadline: float = 5.0) -> Answer:
    async with sender(receiver.origin, deadline=deadline) as made:
        return await made.send(f"{receiver.origin}{path}", MESSAGE)


async def test_what_arrives() -> None:
    async with serve(answer(b'{"ok":true}')) as receiver:
        assert await send(receiver, "/hook?a=b%20c") == Answer(status=200, text='{"ok":true}')
    [request] = receiver.requests
    assert request.line == "POST /hook?a=b%20c HTTP/1.1"
    assert request.body == MESSAGE.body
    headers = dict(request.headers)
    assert (
        headers.items()
        >= {
            "content-type": "application/json",
            "webhook-id": "evt_1",
            "user-agent": "sentry-graph/test",
            "accept-encoding": "identity",
            "content-length": "7",
        }.items()
    )
    assert not {"cookie", "authorization"} & headers.keys()


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "400 Bad Request", "410 Gone", "500 Oh"])
async def test_any_status_is_an_answer(status: str) -> None:
    async with serve(answer(b"", status=status)) as receiver:
        found = await send(receiver)
    assert found == Answer(status=int(status[:3]))


async def test_what_a_busy_receiver_asks_for_is_heard() -> None:
    async with serve(answer(b"later", status="429 Slow", headers={"Retry-After": "30"})) as receiver:
        assert await send(receiver) == Answer(status=429, text="later", asked=30.0)


async def test_a_compressed_answer_is_kept_as_it_is() -> None:
    async with serve(answer(b"\x1f\x8b\0\0", headers={"Content-Encoding": "gzip"})) as receiver:
        assert (await send(receiver)).text == "\x1f\ufffd\ufffd\ufffd"


async def test_nobody_listening() -> None:
    origin = Origin("http", "127.0.0.1", free_port(), "")
    async with sender(origin) as made:
        assert await made.send(f"{origin}/", MESSAGE) == Answer(problem=Problem.UNREACHABLE)


async def test_no_answer_in_time() -> None:
    async def wait(_: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serve(wait) as receiver:
        assert await send(receiver, deadline=0.2) == Answer(problem=Problem.TIMEOUT)


async def test_a_connection_that_breaks() -> None:
    async def hang_up(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serve(hang_up) as receiver:
        assert await send(receiver) == Answer(problem=Problem.LOST)
        assert len(receiver.requests) == 1


async def test_what_is_not_http() -> None:
    async with serve(b"220 mail.example ESMTP\r\n\r\n") as receiver:
        assert await send(receiver) == Answer(problem=Problem.GARBLED)


async def test_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    async with serve(answer(b""), tls=Authority("Nobody").certify(tmp_path)) as receiver:
        assert await send(receiver) == Answer(problem=Problem.CERTIFICATE)
        assert receiver.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://10.0.0.1/", "http://consumer.example/", "nonsense"])
async def test_an_address_that_may_not_be_called_any_more(url: str) -> None:
    async with sender() as made:
        assert await made.send(url, MESSAGE) == Answer(problem=Problem.REFUSED)


async def test_a_name_that_leads_to_a_private_address() -> None:
    async with sender() as made:
        assert await made.send("https://localhost:8443/", MESSAGE) == Answer(problem=Problem.REFUSED)


async def test_an_answer_that_is_cut_off_has_said_its_status() -> None:
    async def cut(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        writer.close()

    async with serve(cut) as receiver:
        assert await send(receiver) == Answer(status=200, text="begun")
