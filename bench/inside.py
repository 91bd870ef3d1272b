"""What the product's own process sees while it answers: its longest pauses, and where its time goes."""

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Sequence
from typing import Any

from bench.client import Wire, bearer
from bench.contenders import COMPILED, PRODUCTS, TITLES, Contender, Stage
from bench.findings import Finding
from bench.product import free_port, running
from bench.whole import progress, run_slice, warm_up
from bench.workloads import WORKLOADS, Workload

_MOST_PAUSE = 0.005
_TOP = 25
_PROFILE_SECONDS = 6


def run_pauses(stage: Stage, arguments: argparse.Namespace) -> list[Finding]:
    """One client asks for many pages; nothing may keep the event loop busy for long."""
    workload = WORKLOADS[0]

    async def ask(contender: Contender) -> None:
        await warm_up(stage, contender, workload)
        contender.process.send_signal(signal.SIGUSR1)
        wire = await Wire.open(contender.port)
        request = contender.request(workload, stage.ids, 0)
        for _ in range(arguments.requests):
            await wire.send(request)
        await wire.close()

    seen = _watch(stage, COMPILED, "pauses", ask)
    stretches, collections = seen["stretches"], [seconds for _, seconds in seen["collections"]]
    full = sum(generation == 2 for generation, _ in seen["collections"])
    longest, over = stretches[-1], sum(each > _MOST_PAUSE for each in stretches)
    return [
        Finding(
            f"longest pause in {arguments.requests} users pages (CPU between two beats of the loop's timer)",
            f"{longest * 1000:.1f} ms; {over} over {_MOST_PAUSE * 1000:g} ms",
            f"at most {_MOST_PAUSE * 1000:g} ms",
            longest <= _MOST_PAUSE,
        ),
        Finding(
            "longest garbage collection meanwhile",
            f"{max(collections, default=0.0) * 1000:.1f} ms of {len(collections)}, {full} of them full",
        ),
    ]


def profile(stage: Stage, names: Sequence[str]) -> str:
    """Where the time goes, for some workloads on both executors: the functions with most samples of their own."""
    texts = []
    for workload in (each for each in WORKLOADS if each.name in names):
        for name in PRODUCTS:
            progress(f"profile: {workload.name}, {TITLES[name]}")
            seen = _watch(stage, name, "profile", lambda contender, it=workload: _keep_busy(stage, contender, it))
            texts.append(f"{workload.title}; {TITLES[name]}\n{_describe(seen['own'], seen['within'])}")
    return "\n\n".join(texts)


async def _keep_busy(stage: Stage, contender: Contender, workload: Workload) -> None:
    count = await warm_up(stage, contender, workload)
    contender.process.send_signal(signal.SIGUSR1)
    until = contender.cpu_seconds() + _PROFILE_SECONDS
    while contender.cpu_seconds() < until:
        await run_slice(stage, contender, workload, count)


def _watch(stage: Stage, name: str, kind: str, ask: Any) -> Any:
    port, file = free_port(), stage.folder / f"{kind}-{time.time_ns()}.json"
    env = stage.product_env(name)
    with running("-m", "bench.watched", kind, str(port), str(file), port=port, env=env) as process:
        asyncio.run(ask(Contender(name, port, process, headers=bearer(stage.key))))
    return json.loads(file.read_text())


def _describe(own: list[tuple[str, int]], within: list[tuple[str, int]]) -> str:
    total, all_ = sum(count for _, count in own), dict(within)
    rows = [f"{'own':>6} {'with callees':>13}  function ({total} samples), by its own time"]
    rows += [f"{count / total:6.1%} {all_[name] / total:13.1%}  {name}" for name, count in own[:_TOP]]
    ours = [(name, count) for name, count in within if name.startswith(("service/", "<graphql"))]
    rows += ["… and ours, with what they call:"]
    rows += [f"{'':6} {count / total:13.1%}  {name}" for name, count in ours[:_TOP]]
    return "\n".join(rows)
