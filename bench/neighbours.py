"""How much one customer's dead Sentry slows another customer's queries: p99 beside p99 alone, in one run."""

import asyncio
import json
import time
from dataclasses import dataclass, field

_QUERY = "query ($connection: ID!) { users(connectionIds: [$connection], first: 10) { nodes { id name email } } }"
_CLIENTS = 4
_SICK_CLIENTS = 8
_SICK_PAUSE = 0.1  # seconds between one sick client's requests: a breaker that is open answers at once


@dataclass(frozen=True)
class Tenant:
    """A caller of the product, and its connection."""

    port: int
    key: str
    connection_id: str

    def request(self) -> bytes:
        """A page of users, as an HTTP request."""
        body = json.dumps({"query": _QUERY, "variables": {"connection": self.connection_id}}).encode()
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass
class Latencies:
    """Seconds of each request of the healthy tenant."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    def report(self) -> str:
        """A line with both and their ratio."""
        alone, beside = p99(self.alone), p99(self.beside)
        return (
            f"p99 of a healthy neighbour: {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside a dead Sentry: "
            f"{beside / alone:.2f}x (must: at most 1.2x)"
        )


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[int(len(values) * 0.99)]


async def measure(healthy: Tenant, sick: Tenant, rounds: int, requests: int = 400) -> Latencies:
    """Alternate rounds of the healthy tenant alone and beside the sick one."""
    found = Latencies()
    await _run(healthy, requests // 4)
    for _ in range(rounds):
        found.alone += await _run(healthy, requests)
        pest = asyncio.ensure_future(_pester(sick))
        await asyncio.sleep(0.5)
        found.beside += await _run(healthy, requests)
        pest.cancel()
        await asyncio.wait([pest])
    return found


async def _run(tenant: Tenant, requests: int) -> list[float]:
    seconds: list[float] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", tenant.port, limit=2**22)
        while len(seconds) < requests:
            started = time.perf_counter()
            await _ask(tenant, reader, writer)
            seconds.append(time.perf_counter() - started)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(_CLIENTS)))
    return seconds


async def _pester(tenant: Tenant) -> None:
    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", tenant.port, limit=2**22)
        try:
            while True:
                await _ask(tenant, reader, writer)
                await asyncio.sleep(_SICK_PAUSE)
        finally:
            writer.close()

    await asyncio.gather(*(work() for _ in range(_SICK_CLIENTS)))


async def _ask(tenant: Tenant, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(tenant.request())
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
