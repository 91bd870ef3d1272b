"""What the product adds to the time of an answer: one client, and an upstream that takes 20 ms."""

import argparse
import asyncio
import statistics
import time

from bench.client import Wire, build_request
from bench.contenders import COMPILED, STOCK, Contender, Stage, stage
from bench.findings import Finding, p99
from bench.upstream import PAGES
from bench.workloads import WORKLOADS

_DELAY = 0.020
_MOST_P50 = 0.0015
_MOST_P99 = 0.003
_WARM_UP = 50


def run(arguments: argparse.Namespace) -> list[Finding]:
    """A users page, through the product and straight from the upstream in turn."""
    with stage([PAGES[0]], delay=_DELAY) as slow, slow.contenders((COMPILED, STOCK)) as contenders:
        straight, through, stock = asyncio.run(_measure(slow, contenders, arguments.latencies))
    added_p50 = statistics.median(through) - statistics.median(straight)
    added_p99 = p99(through) - p99(straight)
    stock_p50, stock_p99 = statistics.median(stock) - statistics.median(straight), p99(stock) - p99(straight)
    return [
        Finding(
            f"latency added to {_DELAY * 1000:g} ms, p50",
            f"{added_p50 * 1000:.2f} ms (stock: {stock_p50 * 1000:.2f})",
            f"at most {_MOST_P50 * 1000:g} ms",
            added_p50 <= _MOST_P50,
        ),
        Finding(
            f"latency added to {_DELAY * 1000:g} ms, p99",
            f"{added_p99 * 1000:.2f} ms (stock: {stock_p99 * 1000:.2f})",
            f"at most {_MOST_P99 * 1000:g} ms",
            added_p99 <= _MOST_P99,
        ),
    ]


async def _measure(stage: Stage, contenders: list[Contender], count: int) -> list[list[float]]:
    """Seconds of so many answers: of the upstream's own, and of each contender."""
    path = f"/api/0/organizations/{PAGES[0]}/members/?per_page=100"
    senders = [(stage.upstream_port, build_request(stage.upstream_port, method="GET", path=path))]
    senders += [(each.port, each.request(WORKLOADS[0], stage.ids, 0)) for each in contenders]
    wires = [(await Wire.open(port), request) for port, request in senders]
    seconds: list[list[float]] = [[] for _ in wires]
    for turn in range(_WARM_UP + count):
        for (wire, request), mine in zip(wires, seconds, strict=True):
            started = time.perf_counter()
            await wire.send(request)
            if turn >= _WARM_UP:
                mine.append(time.perf_counter() - started)
    for wire, _ in wires:
        await wire.close()
    return seconds
