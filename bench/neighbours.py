"""How much one customer's dead Sentry slows another customer's queries: p99 beside p99 alone, in one run."""

import argparse
import asyncio
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Wire, bearer, build_request
from bench.findings import Finding, p99
from bench.product import Tenant, free_port, running, set_up_product

_QUERY = "query ($connection: ID!) { users(connectionIds: [$connection], first: 10) { nodes { id name email } } }"
_CLIENTS = 4
_SICK_CLIENTS = 8
_SICK_PAUSE = 0.1  # seconds between one sick client's requests: a breaker that is open answers at once
_MOST_SLOWDOWN = 1.2


@dataclass
class Latencies:
    """Seconds of each request of the healthy tenant."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> list[Finding]:
    """Two tenants of one product, each with a Sentry of its own, one of which dies."""
    ports = healthy_port, sick_port, port = [free_port() for _ in range(3)]
    healthy_upstream, sick_upstream = (f"http://127.0.0.1:{each}" for each in ports[:2])
    with (
        tempfile.TemporaryDirectory() as folder,
        running("-m", "bench.upstream", str(healthy_port), port=healthy_port),
        running("-m", "bench.upstream", str(sick_port), port=sick_port),
    ):
        setup = set_up_product([healthy_upstream, sick_upstream], Path(folder), compiled_executor="true")
        healthy = setup.add_tenant("healthy", healthy_upstream, port)
        sick = setup.add_tenant("sick", sick_upstream, port)
        _kill(sick_port)
        with running("-m", "service", "serve", "--port", str(port), port=port, env=setup.env):
            found = asyncio.run(measure(healthy, sick, arguments.rounds))
    alone, beside = p99(found.alone), p99(found.beside)
    return [
        Finding(
            "p99 of a tenant beside one whose Sentry is dead",
            f"{beside / alone:.2f}x ({beside * 1000:.1f} ms, {alone * 1000:.1f} ms alone)",
            f"at most {_MOST_SLOWDOWN:g}x",
            beside <= _MOST_SLOWDOWN * alone,
        )
    ]


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
        wire = await Wire.open(tenant.port)
        while len(seconds) < requests:
            started = time.perf_counter()
            await wire.send(_request(tenant))
            seconds.append(time.perf_counter() - started)
        await wire.close()

    await asyncio.gather(*(work() for _ in range(_CLIENTS)))
    return seconds


async def _pester(tenant: Tenant) -> None:
    async def work() -> None:
        wire = await Wire.open(tenant.port)
        try:
            while True:
                await wire.send(_request(tenant), may_fail=True)
                await asyncio.sleep(_SICK_PAUSE)
        finally:
            wire.abort()

    await asyncio.gather(*(work() for _ in range(_SICK_CLIENTS)))


def _request(tenant: Tenant) -> bytes:
    body = {"query": _QUERY, "variables": {"connection": tenant.connection_id}}
    return build_request(tenant.port, body, headers=bearer(tenant.key))


def _kill(port: int) -> None:
    """Make an upstream take requests and answer none from now on."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /dead HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
