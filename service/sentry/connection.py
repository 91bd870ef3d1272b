"""One HTTP/1.1 connection (RFC 9112), on which one request at a time is answered. Its parser is llhttp, as Node's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any, Protocol, cast

import httptools
import httpx

_MOST_HEAD_BYTES = 2**15  # of an answer's headers and of all interim answers before; Node takes half as many
_READ_BUFFER = 2**18
_FIRST_READ = 2**14  # holds the head and a small body; what it holds of a large one is copied
_LARGEST_ROOM = 2**19  # as much as may wait of a body that comes in pieces, since less may come than was announced


class End(Protocol):
    """Is told when an answer has ended, and whether its connection may be asked for another."""

    def __call__(self, *, is_reusable: bool) -> None: ...  # noqa: D102


def make_read_buffer() -> memoryview:
    """What all connections of a loop read into, since each has taken out what was read before the next one reads."""
    return memoryview(bytearray(_READ_BUFFER))


class Connection(asyncio.BufferedProtocol):
    """An open socket, and the answer that is under way on it.

    With ``most_bytes`` it takes so many bytes and leaves all others where they are. ``forget`` is told when the socket
    is closed, by whomever.
    """

    def __init__(
        self, forget: "Callable[[Connection], None]", *, most_bytes: int | None, read_buffer: memoryview
    ) -> None:
        self._forget = forget
        self._left = most_bytes
        self._read_buffer = self._reading = read_buffer
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._end: End | None = None
        self._writable: asyncio.Future[None] | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, head: bytes, *, method: str, end: "End", whole: int = 0) -> "Answer":
        """Send a request, or at least its head. A body of up to ``whole`` bytes is wanted in one piece."""
        self._end = end
        self._answer = answer = Answer(self, has_body=method != "HEAD", whole=whole)
        self.write(head)
        return answer

    def write(self, data: bytes) -> None:
        """Send more of the request. What is written to a closed connection is lost, as it would be on the way."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until most of what was written has been taken, or nobody is left to take it."""
        if self._writable is not None:
            await self._writable

    def fail(self, error: Exception) -> None:
        """Close, and let whoever waits for the answer have this error."""
        if self._answer is not None:
            self._answer.fail(error)
        self.close()

    def close(self) -> None:
        """Close at once: what is still to come is not wanted."""
        if self._transport is not None:
            self._transport.abort()
        self._finish(is_reusable=False)

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        await self._closed

    def pause(self) -> None:
        """Leave to the network what comes next."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing() and self._left != 0:
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - of asyncio, as those below
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102
        buffer = self._read_buffer if self._answer is None else self._answer.get_buffer(self._read_buffer)
        if self._left is not None:
            buffer = buffer[: self._left or 1]  # it must not be empty
        self._reading = buffer
        return buffer

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102
        data = self._reading[:nbytes]
        self._reading = self._read_buffer  # a room is only given away when nobody looks into it
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        answer = self._answer
        if answer is None:  # nobody asked for anything
            self.close()
            return
        answer.feed(data)
        if answer.is_ended:
            self._finish(is_reusable=answer.is_reusable)
        if self._left == 0:
            self.pause()

    def eof_received(self) -> None:  # noqa: D102 - returns None: the socket is closed with it
        if self._answer is not None:
            self._answer.feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._transport = None
        self.resume_writing()
        if self._answer is not None:
            self._answer.fail(httpx.ReadError("The connection was lost.") if exc is None else httpx.ReadError(str(exc)))
        self._finish(is_reusable=False)
        self._forget(self)
        self._closed.set_result(None)

    def pause_writing(self) -> None:  # noqa: D102
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:  # noqa: D102
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _finish(self, *, is_reusable: bool) -> None:
        self._answer = None
        end, self._end = self._end, None
        if end is not None:
            end(is_reusable=is_reusable)


class _Room:
    """Room for a body of known length, which is read into it and given away without a copy."""

    def __init__(self, length: int) -> None:
        self.missing = length
        """Bytes still to come; below zero where more came."""
        self._length = length
        self._file = BytesIO(bytes(length + 1))  # one more, to see whether more comes than was announced
        self._view = self._file.getbuffer()

    @property
    def rest(self) -> memoryview:
        """Where to read on."""
        return self._view[self._length - self.missing :]

    def take(self) -> bytes:
        """The whole body."""
        self._view.release()
        self._file.truncate(self._length)
        return self._file.getvalue()


class Answer(httpx.AsyncByteStream):
    """An answer as it arrives: its head, then its body in pieces as large as have come, read once.

    What waits to be read is bounded: the connection is paused above 256 KiB. But a body that announces a length of up
    to ``whole`` bytes, and up to 512 KiB, comes in one piece, for a reader who wants all of it anyway.
    """

    def __init__(self, connection: Connection, *, has_body: bool, whole: int = 0) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_ended = False
        """Whether nothing of it is still to come."""
        self.is_reusable = False
        """Whether it has ended as it should, and the connection may be asked for the next."""
        self._connection = connection
        self._has_body = has_body
        self._whole = min(whole, _LARGEST_ROOM)
        self._length = 0
        self._room: _Room | None = None
        self._has_head = False
        self._ends_with_connection = True
        self._head_left = _MOST_HEAD_BYTES
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        # The two refer to each other until the answer has ended, and not longer: no work for the collector.
        self._parser: Any = httptools.HttpResponseParser(self)

    async def begin(self) -> None:
        """Wait for the head: from then on ``status`` and ``headers`` are there.

        Raises :class:`httpx.RemoteProtocolError` for what is not HTTP, :class:`httpx.ReadError` where the connection
        was lost, and what :meth:`fail` was given.
        """
        while not self._has_head:
            await self._wait()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.is_ended and self._error is None:
                if self._room is None:
                    raise StopAsyncIteration
                room, self._room = self._room, None
                return room.take()
            await self._wait()
        piece = self._pieces.popleft()
        if self._size >= _READ_BUFFER > self._size - len(piece) and not self.is_ended:
            self._connection.resume()
        self._size -= len(piece)
        return piece

    async def aclose(self) -> None:
        """Want no more of it: a connection on which it has not ended is closed."""
        if not self.is_ended:
            self.fail(httpx.ReadError("The answer was closed before its end."))
            self._connection.close()

    def fail(self, error: Exception) -> None:
        """End it, unless it has ended, with an error for whoever reads on."""
        if not self.is_ended:
            self._error = error
            self._room = None
            self._close()

    def get_buffer(self, read_buffer: memoryview) -> memoryview:
        """Where to read what comes next: a body into its room, all else into the connection's ``read_buffer``."""
        if self._room is not None:
            return self._room.rest
        return read_buffer if self._has_head or not self._whole else read_buffer[:_FIRST_READ]

    def feed(self, data: memoryview) -> None:
        """Take what was read."""
        if self._room is not None:
            self._room.missing -= len(data)
            if self._room.missing <= 0:
                self.is_reusable = self._room.missing == 0 and self._parser.should_keep_alive()
                self._close()
            return
        if not self._has_head:
            self._head_left -= len(data)
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_reusable = False
            self.fail(httpx.RemoteProtocolError("The answer is not HTTP."))
        if not self._has_head and self._head_left <= 0:
            self.fail(httpx.RemoteProtocolError("The answer's headers do not end."))

    def feed_eof(self) -> None:
        """Take the end of the connection: that of the answer too, where nothing else tells it."""
        if self._has_head and self._ends_with_connection:
            self._close()
        elif self._has_head:
            self.fail(httpx.RemoteProtocolError("The answer was cut off."))

    def on_message_begin(self) -> None:  # noqa: D102 - of the parser, as those below
        if self.is_ended:
            self.is_reusable = False  # more came than was asked for: whose would the next answer be?

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102
        if self._has_head:
            return  # a trailer
        self.headers.append((name, value))
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._ends_with_connection = False
            if name == b"content-length" and value.isdigit() and len(value) < 16:
                self._length = int(value)

    def on_headers_complete(self) -> None:  # noqa: D102
        status = self._parser.get_status_code()
        if status < 200 and status != 101:  # an interim answer (RFC 9110, section 15.2); nobody asked for a 101
            self.headers.clear()
            self._length, self._ends_with_connection = 0, True
            return
        self.status, self._has_head = status, True
        self._wake()
        if not self._has_body:
            self._close()

    def on_body(self, data: bytes) -> None:  # noqa: D102
        if self.is_ended:
            return
        if len(data) < self._length <= self._whole:  # the rest does not go through the parser
            self._room = _Room(self._length)
            self._room.rest[: len(data)] = data
            self._room.missing -= len(data)
            return
        self._pieces.append(data)
        if self._size < _READ_BUFFER <= self._size + len(data):
            self._connection.pause()
        self._size += len(data)
        self._wake()

    def on_message_complete(self) -> None:  # noqa: D102
        if self._has_head and not self.is_ended:
            self.is_reusable = self._parser.should_keep_alive()
            self._close()

    def _close(self) -> None:
        self.is_ended = True
        self._parser = None
        if self._size >= _READ_BUFFER:
            self._connection.resume()  # for the next answer: whoever reads this one may never come to its end
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        if self._error is not None:
            error, self._error = self._error, httpx.ReadError("The answer has failed before.")
            raise error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
