"""Receivers that want to harm, by the path that is asked for, in a process of their own: what they do costs it alone.

``python -m tests.attacks.hostile_receivers`` writes its port, and ends when its input does.
"""

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable

from tests.sentry.upstream import answer

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


def fixed(data: bytes) -> Behave:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return behave


def endless(begin: bytes, again: bytes, *, seconds: float = 0.0) -> Behave:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(again)
            await writer.drain()
            if seconds:
                await asyncio.sleep(seconds)

    return behave


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(2**20), mtime=0)
LATER = {"Retry-After": "1000000000000"}

HOSTILE: dict[str, tuple[Behave, str]] = {
    "endless-body": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n"),
        "200",
    ),
    "endless-chunk": (endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 0x10000), "200"),
    "endless-head": (endless(OK, b"X-More: more\r\n" * 100), "garbled"),
    "endless-line": (endless(OK + b"X-More: ", b"x" * 0x10000), "garbled"),
    "endless-interim-answers": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "garbled"),
    "dripping-head": (endless(OK + b"X-More: ", b"x", seconds=0.05), "timeout"),
    "dripping-body": (endless(OK + b"Content-Length: 1000000\r\n\r\n", b"x", seconds=0.05), "200"),
    "no-answer": (endless(b"", b"", seconds=60), "timeout"),
    "come-back-in-thirty-thousand-years": (fixed(answer(b"", status="429 Slow", headers=LATER)), "429"),
    "never-come-back": (fixed(answer(b"", status="503 Oh", headers=LATER)), "503"),
    "poison": (fixed(answer(b"\0\0\xff\xfe\xed\xa0\x80<script>", status="500 Oh")), "500"),
    "bomb": (fixed(answer(BOMB, headers={"Content-Encoding": "gzip"})), "200"),
    "a-status-that-is-none": (fixed(b"HTTP/1.1 99999 Oh\r\n\r\n"), "garbled"),
    "no-text": (fixed(b"\xff" * 100 + b"\r\n\r\n"), "garbled"),
    "another-protocol": (fixed(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "101"),
}
"""What each does, and the word for what comes of it."""


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode().removeprefix("/")
        await HOSTILE[path][0](writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
