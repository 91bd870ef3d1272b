"""A connection by itself: bytes come as the network cuts them, from a server that may be anybody."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httptools
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sentry.connection import Answer, Connection, make_read_buffer

HEAD = b"HTTP/1.1 200 OK\r\n"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Wire(asyncio.Transport):
    """What a connection does to its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False
        self.is_paused = False
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@dataclass
class Talk:
    """One connection, with the ends of its answers: whether another request may follow."""

    connection: Connection
    wire: Wire
    ends: list[bool] = field(default_factory=list)
    forgotten: int = 0

    def ask(self, method: str = "GET", *, whole: int = 0) -> Answer:
        return self.connection.ask(REQUEST, method=method, end=self._end, whole=whole)

    def feed(self, data: bytes, *, cuts: list[int] | None = None) -> None:
        begin = 0
        for cut in [*sorted(cuts or []), len(data)]:
            left = data[begin:cut]
            while left:
                buffer = self.connection.get_buffer(-1)
                size = min(len(buffer), len(left))
                buffer[:size] = left[:size]
                left = left[size:]
                self.connection.buffer_updated(size)
            begin = cut

    def end_of_file(self) -> None:
        self.connection.eof_received()
        self.connection.connection_lost(None)

    def _end(self, *, is_reusable: bool) -> None:
        self.ends.append(is_reusable)


@asynccontextmanager
async def talk(*, most_bytes: int | None = None) -> AsyncIterator[Talk]:
    wire = Wire()

    def forget(_: Connection) -> None:
        mine.forgotten += 1

    mine = Talk(Connection(forget, most_bytes=most_bytes, read_buffer=make_read_buffer()), wire)
    mine.connection.connection_made(wire)
    yield mine


async def read(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    await answer.begin()
    return answer.status, answer.headers, b"".join([piece async for piece in answer])


def chunked(body: bytes, sizes: list[int]) -> bytes:
    found, begin = b"", 0
    for size in sizes:
        piece = body[begin : begin + size]
        begin += size
        if piece:
            found += b"%x\r\n%b\r\n" % (len(piece), piece)
    rest = body[begin:]
    return found + (b"%x;name=value\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n"


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 40), max_size=5),
    framing=st.sampled_from(["length", "chunks", "end"]),
    interim=st.integers(0, 2),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    keeps=st.booleans(),
    whole=st.sampled_from([0, 100, 300]),
)
def test_an_answer_is_the_same_however_the_network_cuts_it(
    body: bytes, sizes: list[int], framing: str, interim: int, cuts: list[int], keeps: bool, whole: int
) -> None:
    async def run() -> None:
        async with talk() as mine:
            answer = mine.ask(whole=whole)
            lines = {
                "length": b"Content-Length: %d\r\n" % len(body),
                "chunks": b"Transfer-Encoding: chunked\r\n",
                "end": b"",
            }
            other = b"" if keeps else b"Connection: close\r\n"
            data = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </x>\r\n\r\n" * interim
            data += HEAD + b"X-A: b\r\n"
            data += lines[framing] + other + b"\r\n" + (chunked(body, sizes) if framing == "chunks" else body)
            mine.feed(data, cuts=cuts)
            if framing == "end":
                mine.end_of_file()
            status, headers, found = await read(answer)
            assert (status, found) == (200, body)
            assert headers[0] == (b"X-A", b"b")
            assert b"Link" not in dict(headers)
            assert mine.ends == [keeps and framing != "end"]

    asyncio.run(run())


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5), st.sampled_from([0, 1000]))
def test_whatever_comes_an_answer_or_a_typed_error_comes_of_it(data: bytes, cuts: list[int], whole: int) -> None:
    async def run() -> None:
        async with talk() as mine:
            answer = mine.ask(whole=whole)
            mine.feed(data, cuts=cuts)
            mine.end_of_file()
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await read(answer)
            assert mine.ends == [False]
            assert mine.forgotten == 1

    asyncio.run(run())


async def test_one_answer_after_the_other_comes_over_the_same_connection() -> None:
    async with talk() as mine:
        for number in range(3):
            answer = mine.ask()
            mine.feed(HEAD + b"Content-Length: 1\r\n\r\n%d" % number)
            assert (await read(answer))[2] == b"%d" % number
        assert mine.ends == [True, True, True]
        assert mine.wire.sent == REQUEST * 3


@pytest.mark.parametrize("more", [HEAD + b"Content-Length: 0\r\n\r\n", b"nonsense", b"H"])
@pytest.mark.parametrize("is_together", [True, False])
@pytest.mark.parametrize(("whole", "cuts"), [(0, []), (9, []), (9, [len(HEAD) + 21 + 1])])
async def test_bytes_that_nobody_asked_for_end_the_connection(
    more: bytes, is_together: bool, whole: int, cuts: list[int]
) -> None:
    """Else the next request would get the answer that its server smuggled in."""
    async with talk() as mine:
        answer = mine.ask(whole=whole)
        all_of_it = HEAD + b"Content-Length: 2\r\n\r\nok"
        mine.feed(all_of_it + more, cuts=cuts if is_together else [*cuts, len(all_of_it)])
        assert (await read(answer))[2] == b"ok"
        assert mine.ends == [not is_together]
        assert mine.wire.is_closed or is_together  # together, whoever is told of the end closes it


async def test_a_head_is_answered_without_a_body_and_is_the_connections_last() -> None:
    async with talk() as mine:
        answer = mine.ask("HEAD")
        mine.feed(HEAD + b"Content-Length: 500\r\n\r\n")
        assert await read(answer) == (200, [(b"Content-Length", b"500")], b"")
        assert mine.ends == [False]


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_bodies_leave_the_connection_open(status: int) -> None:
    async with talk() as mine:
        answer = mine.ask(whole=9)
        mine.feed(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status)
        assert await read(answer) == (status, [(b"Content-Length", b"9")], b"")
        assert mine.ends == [True]


@pytest.mark.parametrize("rest", [b"Content-Length: 3\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n3\r\nab"])
@pytest.mark.parametrize("whole", [0, 3])
async def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(rest: bytes, whole: int) -> None:
    async with talk() as mine:
        answer = mine.ask(whole=whole)
        mine.feed(HEAD + rest)
        mine.end_of_file()
        await answer.begin()
        with pytest.raises(httpx.RemoteProtocolError):
            await read(answer)
        assert mine.ends == [False]


@pytest.mark.parametrize(
    ("length", "whole", "comes_whole"),
    [
        (2**15, 2**15, True),
        (2**15, 2**15 - 1, False),
        (2**19, 2**30, True),
        (2**19 + 1, 2**30, False),
        (2**15, 0, False),
    ],
)
async def test_a_body_that_is_wanted_whole_comes_in_one_piece_up_to_a_bound(
    length: int, whole: int, comes_whole: bool
) -> None:
    async with talk() as mine:
        answer = mine.ask(whole=whole)
        body = random.Random(1).randbytes(length)
        mine.feed(HEAD + b"Content-Length: %d\r\n\r\n" % length + body[:9])
        mine.feed(body[9:-1], cuts=[2**14])
        assert not mine.wire.is_paused or not comes_whole
        mine.feed(body[-1:])
        await answer.begin()
        pieces = [piece async for piece in answer]
        assert b"".join(pieces) == body
        assert (len(pieces) == 1) is comes_whole
        assert mine.ends == [True]


async def test_a_body_that_is_wanted_whole_and_then_not_any_more_closes_the_connection() -> None:
    async with talk() as mine:
        answer = mine.ask(whole=5)
        mine.feed(HEAD + b"Content-Length: 5\r\n\r\nab")
        await answer.begin()
        await answer.aclose()
        assert mine.wire.is_closed
        assert mine.ends == [False]
        with pytest.raises(httpx.ReadError):
            await anext(answer)


@pytest.mark.parametrize("length", [b"9" * 30, b"9" * 5000, b"+5", b"5 5", b"0x5", b""])
async def test_a_length_that_is_none_makes_no_room(length: bytes) -> None:
    async with talk() as mine:
        answer = mine.ask(whole=2**20)
        mine.feed(HEAD + b"Content-Length: %b\r\n\r\nabc" % length)
        mine.end_of_file()
        with pytest.raises(httpx.RemoteProtocolError):
            await read(answer)
        assert mine.ends == [False]


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"X-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"X A: b\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_two_parsers_may_read_in_two_ways_is_not_read(rest: bytes) -> None:
    """RFC 9112, sections 5 and 6.3."""
    async with talk() as mine:
        answer = mine.ask(whole=9)
        mine.feed(HEAD + rest)
        with pytest.raises(httpx.RemoteProtocolError):
            await read(answer)
        assert mine.ends == [False]


@pytest.mark.parametrize("again", [b"X-More: more\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"])
async def test_a_head_without_end_is_given_up(again: bytes) -> None:
    async with talk() as mine:
        answer = mine.ask()
        mine.feed(b"HTTP/1.1 100 Continue\r\n")
        for _ in range(10_000):
            if mine.ends:
                break
            mine.feed(again)
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.begin()
        assert mine.ends == [False]


async def test_a_slow_reader_pauses_the_connection_and_gets_every_byte() -> None:
    async with talk() as mine:
        answer = mine.ask()
        body = random.Random(1).randbytes(2**20)
        left = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        found, most = b"", 0
        while left or not answer.is_ended:
            while left and not mine.wire.is_paused:
                mine.feed(left[: 2**16])
                left = left[2**16 :]
            waiting = 2**20 - len(left) - len(found)
            most = max(most, waiting)
            found += await anext(answer)
        found += b"".join([piece async for piece in answer])
        assert found == body
        assert most < 2**19


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_connection_whose_answer_has_come_reads_on_whether_anybody_reads_that_answer(*, is_read: bool) -> None:
    """Else the next answer on it would wait for a reader who may have gone."""
    async with talk() as mine:
        large, size, paused = mine.ask(), 2**19, []
        mine.feed(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        mine.feed(b"x" * (size - 1))
        paused.append(mine.wire.is_paused)
        mine.feed(b"x")  # had been read already when it was paused
        assert mine.ends == [True]
        paused.append(mine.wire.is_paused)
        following = mine.ask()
        mine.feed(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        mine.feed(b"y" * (size - 1))
        paused.append(mine.wire.is_paused)
        if is_read:
            assert (await read(large))[2] == b"x" * size
        await large.aclose()
        paused.append(mine.wire.is_paused)
        assert paused == [True, False, True, True]
        assert not following.is_ended


async def test_a_connection_with_a_bound_takes_no_more() -> None:
    async with talk(most_bytes=len(HEAD) + 2 + 5) as mine:
        answer = mine.ask()
        mine.feed(HEAD + b"\r\n" + b"x" * 100)
        mine.feed(b"x" * 100)
        assert mine.wire.is_paused
        await answer.begin()
        assert await anext(answer) == b"xxxxx"
        assert mine.wire.is_paused
        await answer.aclose()
        assert mine.wire.is_closed
        assert mine.ends == [False]


async def test_an_answer_that_is_not_wanted_any_more_closes_the_connection() -> None:
    async with talk() as mine:
        answer = mine.ask()
        mine.feed(HEAD + b"Content-Length: 5\r\n\r\nab")
        await answer.begin()
        await answer.aclose()
        await answer.aclose()
        assert mine.wire.is_closed
        assert mine.ends == [False]


async def test_who_waits_is_told_when_the_connection_is_lost() -> None:
    async with talk() as mine:
        answer = mine.ask()
        waiting = asyncio.ensure_future(answer.begin())
        await asyncio.sleep(0)
        mine.connection.connection_lost(ConnectionResetError("reset"))
        with pytest.raises(httpx.ReadError, match="reset"):
            await waiting


async def test_nothing_is_left_to_the_collector() -> None:
    async with talk() as mine:
        gc.collect()
        gc.disable()
        try:
            for whole in (0, 2, 2):
                answer = mine.ask(whole=whole)
                mine.feed(HEAD + b"Content-Length: 2\r\n\r\nok", cuts=[-1])
                await read(answer)
            del answer
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            # What tests before left to it may be there too.
            assert [each for each in gc.garbage if isinstance(each, Answer | httptools.HttpResponseParser)] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
