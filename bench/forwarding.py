"""How much one tenant's hostile endpoints slow another's deliveries: p99 beside them, and beside kind ones."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.acknowledge import build_request
from bench.findings import Finding, p99

PATHS = ("/endless", "/drip", "/silent", "/later", "/redirect")
"""Where the hostile endpoints are; in a kind round all of them answer as they should."""

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_LATER = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1e12\r\nContent-Length: 0\r\n\r\n"
_REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
_SETTLE_SECONDS = 3.0
_MOST_SLOWDOWN = 1.2


@dataclass
class Latencies:
    """Seconds from when each webhook was sent to when its event arrived at the good endpoint."""

    kind: list[float] = field(default_factory=list)
    hostile: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The 99th percentiles, one by the other."""
        return p99(self.hostile) / p99(self.kind)

    def judge(self, engine: str) -> Finding:
        """Both and their ratio."""
        return Finding(
            f"p99 of a tenant's deliveries beside hostile endpoints, {engine}",
            f"{self.ratio:.2f}x ({p99(self.hostile) * 1000:.1f} ms, {p99(self.kind) * 1000:.1f} ms beside kind ones)",
            f"at most {_MOST_SLOWDOWN:g}x",
            self.ratio <= _MOST_SLOWDOWN,
        )


class Receivers:
    """Endpoints in this process: a good one at ``/good``, and those that may be hostile."""

    def __init__(self) -> None:
        self.is_hostile = False
        self.sent: dict[int, float] = {}
        self.taken: dict[int, float] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, port: int) -> asyncio.Server:
        """Listen until closed."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port)

    async def break_off(self) -> None:
        """End whatever a hostile endpoint still holds."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                path = head.split(b" ", 2)[1].decode()
                if path == "/good":
                    number = int(json.loads(body)["data"]["data"]["issue"]["id"])
                    self.taken[number] = time.perf_counter() - self.sent[number]
                play = _HOSTILE[path] if self.is_hostile and path in _HOSTILE else _be_kind
                await play(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:  # by `break_off`; a stream's task that ends as cancelled is logged as an error
            pass
        finally:
            self._answering.discard(task)
            writer.close()


async def _be_kind(writer: asyncio.StreamWriter) -> None:
    writer.write(_OK)


async def _never_end(writer: asyncio.StreamWriter) -> None:
    writer.write(_ENDLESS)
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in _ENDLESS:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def _be_silent(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _put_off(writer: asyncio.StreamWriter) -> None:
    writer.write(_LATER)


async def _redirect(writer: asyncio.StreamWriter) -> None:
    writer.write(_REDIRECT)


_HOSTILE: dict[str, Callable[[asyncio.StreamWriter], Awaitable[None]]] = dict(
    zip(PATHS, (_never_end, _drip, _be_silent, _put_off, _redirect), strict=True)
)


async def measure(
    port: int, endpoint_port: int, good: tuple[str, str], bad: tuple[str, str], *, rounds: int, events: int, rate: int
) -> Latencies:
    """Alternate rounds; ``good`` and ``bad`` are path and secret of the two tenants' webhook receivers."""
    found, receivers, number = Latencies(), Receivers(), 0
    server = await receivers.serve(endpoint_port)
    async with server:
        for turn in range(-1, 2 * rounds):  # the first one warms up
            receivers.is_hostile = turn >= 0 and turn % 2 == 1
            started = time.perf_counter()
            mine = range(number, number + events)
            number += events
            for step, each in enumerate(mine):
                await asyncio.sleep(max(0.0, started + step / rate - time.perf_counter()))
                receivers.sent[each] = time.perf_counter()
                await asyncio.gather(*(_send(port, build_request(port, *to, each)) for to in (good, bad)))
            await asyncio.sleep(_SETTLE_SECONDS)
            if missing := [each for each in mine if each not in receivers.taken]:
                raise SystemExit(f"{len(missing)} of {events} events did not arrive within {_SETTLE_SECONDS:g} seconds")
            if turn >= 0:
                (found.hostile if receivers.is_hostile else found.kind).extend(receivers.taken[each] for each in mine)
        await receivers.break_off()
    return found


async def _send(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if b" 200 " not in await reader.readline():
        raise SystemExit("a webhook was not taken")
    writer.close()
