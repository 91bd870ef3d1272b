"""The product's resident memory while 128 clients ask, and whether it grows."""

import argparse
import asyncio
import statistics
import time

from bench.client import Wire
from bench.contenders import COMPILED, Contender, Stage
from bench.findings import Finding
from bench.upstream import CLIENTS
from bench.workloads import WORKLOADS

_CONNECTIONS = 128
_MOST_MIB = 120.0
_MOST_GROWTH = 3.0
"""MiB between the second quarter of the time and the last one."""


def run(stage: Stage, arguments: argparse.Namespace) -> list[Finding]:
    """Users pages for so many seconds."""
    with stage.contender(COMPILED) as product:
        samples, requests = asyncio.run(_measure(stage, product, arguments.seconds))
    quarter = len(samples) // 4
    growth = statistics.median(samples[-quarter:]) - statistics.median(samples[quarter : 2 * quarter])
    return [
        Finding(
            f"resident memory at {_CONNECTIONS} connections",
            f"{max(samples):.0f} MiB at most, {samples[0]:.0f} before",
            f"at most {_MOST_MIB:g} MiB",
            max(samples) <= _MOST_MIB,
        ),
        Finding(
            f"its growth from the second to the last quarter of {arguments.seconds:g} seconds ({requests} requests)",
            f"{growth:+.1f} MiB",
            f"flat: at most {_MOST_GROWTH:g} MiB",
            growth <= _MOST_GROWTH,
        ),
    ]


async def _measure(stage: Stage, product: Contender, seconds: float) -> tuple[list[float], int]:
    """MiB, sampled evenly, and how many requests were answered meanwhile."""
    samples = [_resident(product)]
    until, requests = time.monotonic() + seconds, 0

    async def work(client: int) -> None:
        nonlocal requests
        wire = await Wire.open(product.port)
        request = product.request(WORKLOADS[0], stage.ids, client % CLIENTS)
        size = len(await wire.send(request))
        while time.monotonic() < until:
            if len(await wire.send(request)) != size:
                raise SystemExit("memory: the product has begun to answer something else")
            requests += 1
        await wire.close()

    work_ = asyncio.gather(*map(work, range(_CONNECTIONS)))
    while not work_.done():
        samples.append(_resident(product))
        await asyncio.wait([work_], timeout=min(1.0, seconds / 20))
    await work_
    return samples, requests


def _resident(product: Contender) -> float:
    return float(product.process.memory_info().rss) / 2**20
