"""``make bench``: requests per CPU second of the whole product beside stock parts, as ratios of one interleaved run.

Each contender is a process of its own, and so is the static upstream. A round sends each workload to each contender in
turn; what counts is the CPU time that the contender's process spends on it.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench import neighbours
from bench.product import free_port, running, set_up_product

USER = (
    "id connectionId externalId name username email status isEmailVerified isTwoFactorEnabled avatarUrl "
    "createdAt lastActiveAt roles { id name }"
)


@dataclass(frozen=True)
class Workload:
    """A query, how much faster than stock it must be, and how often a round sends it."""

    name: str
    query: str
    must: float
    requests: int


WORKLOADS = (
    Workload(
        "users page of 100, 12 fields and roles",
        "query ($connection: ID!) { users(connectionIds: [$connection], first: 100) "
        f"{{ edges {{ cursor node {{ {USER} }} }} pageInfo {{ hasNextPage endCursor }} }} }}",
        1.8,
        60,
    ),
    Workload(
        "100 entities in one call",
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { id name email status avatarUrl } } }",
        2.0,
        60,
    ),
    Workload(
        "page of 100 with 100 single GETs",
        "query ($connection: ID!) { users(connectionIds: [$connection], first: 100) "
        "{ edges { node { id remoteDetail } } } }",
        4.0,
        12,
    ),
    Workload(
        "proxy, 300 KB",
        'query ($connection: ID!) { proxy(connectionId: $connection, path: "organizations/{organization}/issues/") '
        "{ statusCode result } }",
        6.0,
        60,
    ),
)


@dataclass
class Contender:
    """A server under test."""

    name: str
    port: int
    process: psutil.Process
    headers: str
    user_id: str
    connection_id: str
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def body(self, workload: Workload) -> bytes:
        """The request of a workload, with the ids of this contender."""
        variables: dict[str, Any] = {"connection": self.connection_id}
        if "_entities" in workload.query:
            variables = {"r": [{"__typename": "User", "id": self.user_id.format(number)} for number in range(1, 101)]}
        return json.dumps({"query": workload.query, "variables": variables}).encode()

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        times = self.process.cpu_times()
        return times.user + times.system


async def send(contender: Contender, body: bytes, count: int, connections: int) -> bytes:
    """Send ``count`` requests over so many connections, each waiting for its answer; the last answer."""
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{contender.port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\n{contender.headers}Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    left = count
    last = b""

    async def work() -> None:
        nonlocal left, last
        reader, writer = await asyncio.open_connection("127.0.0.1", contender.port, limit=2**22)
        while left > 0:
            left -= 1
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            last = await reader.readexactly(length)
            if b" 200 " not in answer.split(b"\r\n")[0] or b'"errors"' in last:
                raise SystemExit(f"{contender.name}: {answer.decode()}{last[:500].decode()}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(connections)))
    return last


async def measure(contenders: list[Contender], rounds: int) -> None:
    """All rounds, interleaved."""
    for workload in WORKLOADS:
        answers = [await send(each, each.body(workload), 8, 4) for each in contenders]
        sizes = [len(json.dumps(json.loads(answer)["data"])) for answer in answers]
        if max(sizes) > 1.2 * min(sizes):
            raise SystemExit(f"{workload.name}: the contenders' answers differ in size: {sizes}")
    for number in range(rounds):
        for workload in WORKLOADS:
            for contender in contenders:
                before = contender.cpu_seconds()
                await send(contender, contender.body(workload), workload.requests, 8)
                spent = (contender.cpu_seconds() - before) / workload.requests
                contender.cpu.setdefault(workload.name, []).append(spent)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)


def report(product: Contender, stock: Contender, resident: float) -> bool:
    """Print the table; whether every ratio reaches what it must."""
    print(f"\n{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("strawberry-graphql", "graphql-core", "fastapi", "httpx")))
    print("\n| workload | stock, ms CPU | product, ms CPU | ratio | must |\n|---|---|---|---|---|")
    reached = True
    for workload in WORKLOADS:
        ours, theirs = (sum(each.cpu[workload.name]) / len(each.cpu[workload.name]) for each in (product, stock))
        ratio = theirs / ours
        reached &= ratio >= workload.must
        print(f"| {workload.name} | {theirs * 1000:.2f} | {ours * 1000:.2f} | {ratio:.1f}x | {workload.must:.1f}x |")
    print(f"\nproduct's resident memory at 64 connections: {resident:.0f} MiB (must: under 150)")
    return reached and resident < 150


def main() -> None:
    """Set everything up, measure, report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="interleaved rounds (8)")
    arguments = parser.parse_args()
    upstream_port, sick_port, product_port, stock_port = (free_port() for _ in range(4))
    upstream, sick_upstream = (f"http://127.0.0.1:{port}" for port in (upstream_port, sick_port))
    with (
        tempfile.TemporaryDirectory() as folder,
        running("-m", "bench.upstream", str(upstream_port), port=upstream_port),
        running("-m", "bench.upstream", str(sick_port), port=sick_port),
        running("-m", "bench.stock", str(stock_port), upstream, port=stock_port) as stock_process,
    ):
        setup = set_up_product([upstream, sick_upstream], Path(folder))
        healthy = setup.add_tenant("healthy", upstream, product_port)
        sick = setup.add_tenant("sick", sick_upstream, product_port)
        kill(sick_port)
        with running(
            "-m", "service", "serve", "--port", str(product_port), port=product_port, env=setup.env
        ) as process:
            product = Contender(
                "product",
                product_port,
                process,
                f"Authorization: Bearer {healthy.key}\r\n",
                f"usr_{healthy.connection_id.removeprefix('con_')}_{{}}",
                healthy.connection_id,
            )
            stock = Contender("stock", stock_port, stock_process, "", f"usr_{'0' * 26}_{{}}", f"con_{'0' * 26}")
            asyncio.run(measure([stock, product], arguments.rounds))
            asyncio.run(send(product, product.body(WORKLOADS[0]), 256, 64))
            reached = report(product, stock, process.memory_info().rss / 2**20)
            latencies = asyncio.run(neighbours.measure(healthy, sick, arguments.rounds))
            print(latencies.report())
            reached &= neighbours.p99(latencies.beside) <= 1.2 * neighbours.p99(latencies.alone)
    sys.exit(0 if reached else 1)


def kill(port: int) -> None:
    """Make an upstream take requests and answer none from now on."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /dead HTTP/1.1\r\n\r\n")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
