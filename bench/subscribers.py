"""How long an event takes to reach all subscribers of several replicas, and what one that waits costs in memory."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import psutil

from bench.acknowledge import build_request
from bench.findings import Finding, p99

MUST_P99 = 0.250
MUST_KIB = 50.0

_QUERY = """subscription Events($types: [String!]) {
  events(types: $types) {
    id type at connection { externalId } actor { name } ... on IssueEvent { issue { shortId title url } }
  }
}"""


@dataclass
class Subscribed:
    """Seconds from when each event was sent, as a webhook, to when each subscriber had it; KiB of one that waits."""

    seconds: list[float] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)
    lost: int = 0

    def judge(self, what: str) -> Finding:
        """The figures beside what they must be."""
        median = sorted(self.seconds)[len(self.seconds) // 2]
        return Finding(
            what,
            f"p50 {median * 1000:.0f} ms, p99 {p99(self.seconds) * 1000:.0f} ms, longest "
            f"{max(self.seconds) * 1000:.0f} ms, {self.lost} lost; {max(self.kib):.1f} KiB each, waiting",
            f"p99 {MUST_P99 * 1000:.0f} ms, none lost, {MUST_KIB:.0f} KiB each",
            not self.lost and p99(self.seconds) <= MUST_P99 and max(self.kib) <= MUST_KIB,
        )


class _Subscribers:
    """Clients, and when each got its latest event."""

    def __init__(self, session: aiohttp.ClientSession, stack: AsyncExitStack, key: str, *, is_websocket: bool) -> None:
        self._session = session
        self._stack = stack
        self._key = key
        self._is_websocket = is_websocket
        self.tasks: list[asyncio.Task[None]] = []
        self.got: list[float] = []
        self.all_got = asyncio.Event()

    async def add(self, port: int) -> None:
        url, headers = f"http://127.0.0.1:{port}/graphql", {"authorization": f"Bearer {self._key}"}
        if self._is_websocket:
            socket = await self._stack.enter_async_context(
                self._session.ws_connect(url, protocols=("graphql-transport-ws",), headers=headers, compress=0)
            )
            await socket.send_str('{"type":"connection_init"}')
            await socket.receive_str()
            await socket.send_str(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": _QUERY}}))
            self.tasks.append(asyncio.create_task(self._read_socket(socket)))
        else:
            accepting = headers | {"accept": "text/event-stream"}
            response = await self._stack.enter_async_context(
                self._session.post(url, json={"query": _QUERY}, headers=accepting)
            )
            self.tasks.append(asyncio.create_task(self._read_stream(response)))

    async def _read_socket(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if '"next"' in message.data[:40]:
                self._note()

    async def _read_stream(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            if line.startswith(b"data: "):
                self._note()

    def _note(self) -> None:
        self.got.append(time.perf_counter())
        if len(self.got) >= len(self.tasks):
            self.all_got.set()


async def measure(
    replicas: Sequence[tuple[int, psutil.Process]],
    key: str,
    send: Callable[[int], Awaitable[None]],
    *,
    is_websocket: bool,
    subscribers: int = 500,
    events: int = 20,
) -> Subscribed:
    """Open subscribers, in turn on each replica (its port and process), and ``send`` events, one after the other."""
    found = Subscribed()
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, AsyncExitStack() as stack:
        all_ = _Subscribers(session, stack, key, is_websocket=is_websocket)
        for port, _ in replicas:  # what the first one brings along is not the second one's
            await all_.add(port)
        await _deliver(all_, send, 0)
        await asyncio.sleep(1)
        before = [process.memory_info().rss for _, process in replicas]
        ports = itertools.cycle(port for port, _ in replicas)
        for _ in range(subscribers - len(replicas)):
            await all_.add(next(ports))
        await asyncio.sleep(2)
        each = subscribers / len(replicas) - 1
        after = [process.memory_info().rss for _, process in replicas]
        found.kib = [(now - then) / each / 1024 for then, now in zip(before, after, strict=True)]
        await _deliver(all_, send, 1)
        for number in range(2, events + 2):
            seconds = await _deliver(all_, send, number)
            found.seconds += seconds
            found.lost += subscribers - len(seconds)
            await asyncio.sleep(0.2)
        for task in all_.tasks:
            task.cancel()
        await asyncio.gather(*all_.tasks, return_exceptions=True)
    return found


async def _deliver(all_: _Subscribers, send: Callable[[int], Awaitable[None]], number: int) -> list[float]:
    """Seconds until each subscriber had an event; of some only, where not all got it within ten."""
    all_.got.clear()
    all_.all_got.clear()
    started = time.perf_counter()
    await send(number)
    try:
        async with asyncio.timeout(10):
            await all_.all_got.wait()
    except TimeoutError:
        pass
    return [at - started for at in all_.got]


def webhook_sender(port: int, path: str, secret: str) -> Callable[[int], Awaitable[None]]:
    """Sends the webhook of an issue to a receiver."""

    async def send(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(build_request(port, path, secret, 1_000_000 + number))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        if b" 2" not in head[:13]:
            raise SystemExit(f"a webhook was refused: {head.decode()}")

    return send
