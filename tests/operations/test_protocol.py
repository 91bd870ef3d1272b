import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.operations.protocol import JoiningTransport, Protocol
from service.operations.server import GracefulServer


class Wire(asyncio.Transport):
    """Notes each call of the kernel that there would be."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.calls: list[bytes | str] = []

    def write(self, data: Any) -> None:
        self.calls.append(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.calls.append(b"".join(list_of_data))

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_is_written_in_two_pieces_goes_at_once():
    wire = Wire()
    joining = JoiningTransport(wire)
    joining.write(b"head")
    assert wire.calls == []
    joining.write(b"body")
    assert wire.calls == [b"headbody"]
    await turn()
    assert wire.calls == [b"headbody"]


async def test_one_piece_alone_goes_at_the_end_of_the_turn():
    wire = Wire()
    JoiningTransport(wire).write(b"head")
    await turn()
    assert wire.calls == [b"head"]


async def test_an_empty_piece_sends_what_is_held_and_nothing_by_itself():
    wire = Wire()
    joining = JoiningTransport(wire)
    joining.write(b"")
    await turn()
    assert wire.calls == []
    joining.write(b"head")
    joining.write(b"")
    assert wire.calls == [b"head"]


async def test_pieces_keep_their_order_however_many_come():
    wire = Wire()
    joining = JoiningTransport(wire)
    for number in range(7):
        joining.write(b"%d" % number)
        if number == 4:
            await turn()
    await turn()
    sent = [call for call in wire.calls if isinstance(call, bytes)]
    assert b"".join(sent) == b"0123456"


async def test_closing_sends_what_is_held_first_and_aborting_drops_it():
    closed, aborted = Wire(), Wire()
    for wire, end in (closed, JoiningTransport.close), (aborted, JoiningTransport.abort):
        joining = JoiningTransport(wire)
        joining.write(b"held")
        end(joining)
        await turn()
    assert (closed.calls, aborted.calls) == ([b"held", "close"], ["abort"])


async def test_it_tells_what_the_socket_is():
    joining = JoiningTransport(Wire())
    assert joining.get_extra_info("peername") == ("127.0.0.1", 1)
    assert joining.get_extra_info("sslcontext", "none") == "none"


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers by the path: a body at once, none, or one whose beginning is sent long before its end."""
    path = scope["path"]
    status, headers = (204, []) if path == "/empty" else (200, [(b"content-type", b"text/plain")])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if path == "/late":
        await send({"type": "http.response.body", "body": b"early", "more_body": True})
        await asyncio.sleep(3600)
    await send({"type": "http.response.body", "body": b"" if path == "/empty" else b"whole"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(
        respond, port=0, http=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = GracefulServer(config, drain=lambda: None, drain_seconds=0, stop=lambda: None)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def read(port: int, *paths: str, until: bytes) -> bytes:
    """What a server sends to a client that asks for all these at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths))
    async with asyncio.timeout(30):
        answer = await reader.readuntil(until)
    writer.close()
    return answer


async def test_answers_with_and_without_a_body_come_whole_and_in_order(port: int):
    answer = await read(port, "/", "/empty", "/", until=b"whole\r\n0\r\n\r\nHTTP/1.1 204")
    assert answer.startswith(b"HTTP/1.1 200")
    rest = await read(port, "/empty", "/", until=b"whole\r\n0\r\n\r\n")
    assert rest.startswith(b"HTTP/1.1 204")


async def test_the_beginning_of_an_answer_does_not_wait_for_its_end(port: int):
    assert (await read(port, "/late", until=b"early")).startswith(b"HTTP/1.1 200")
