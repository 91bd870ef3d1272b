"""The whole product beside its peers: CPU time per request, as ratios of one interleaved run.

A round gives each contender a short slice of each workload, the order turned round every time, so that whatever else
happens on the machine meets all of them alike. A ratio is taken within its round; what counts is the median of rounds.
"""

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.client import Wire, build_request
from bench.contenders import Contender, Stage
from bench.upstream import CLIENTS
from bench.workloads import Workload

_SLICE_SECONDS = 0.3  # of CPU
_LEAST_REQUESTS = CLIENTS
_SETTLE_SECONDS = 0.01
_CURSORS = {"cursor", "startCursor", "endCursor"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)\Z")


@dataclass
class Figures:
    """What was measured of one workload: CPU seconds per request by contender, round by round."""

    workload: Workload
    seconds: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, float] = field(default_factory=dict)
    """Upstream calls per request."""

    def median(self, name: str) -> float:
        """A contender's CPU seconds per request."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str, over: str) -> list[float]:
        """How many requests a contender answers in the time that another one needs for one, round by round."""
        return [theirs / ours for ours, theirs in zip(self.seconds[name], self.seconds[over], strict=True)]


async def measure(
    stage: Stage, contenders: Sequence[Contender], workloads: Sequence[Workload], rounds: int
) -> list[Figures]:
    """Check that all contenders answer the same, then measure. Ends the run where they do not."""
    found = [Figures(workload) for workload in workloads]
    counts: dict[tuple[str, str], int] = {}
    for figures in found:
        workload = figures.workload
        able = [contender for contender in contenders if contender.can(workload)]
        await compare(stage, able, workload)
        for contender in able:
            before = await count_calls(stage)
            await run_slice(stage, contender, workload, CLIENTS)
            figures.calls[contender.name] = (await count_calls(stage) - before) / CLIENTS
            counts[contender.name, workload.name] = await warm_up(stage, contender, workload)
        progress(f"{workload.title}: answers are the same")
    for turn in range(rounds):
        for figures in found:
            ordered = contenders if turn % 2 else contenders[::-1]
            for contender in ordered:
                if (count := counts.get((contender.name, figures.workload.name))) is not None:
                    spent = await run_slice(stage, contender, figures.workload, count)
                    figures.seconds.setdefault(contender.name, []).append(spent)
        progress(f"round {turn + 1} of {rounds}")
    for figures in found:  # nobody has come to answer less meanwhile
        await compare(stage, [each for each in contenders if each.can(figures.workload)], figures.workload)
    return found


async def compare(stage: Stage, contenders: Sequence[Contender], workload: Workload) -> None:
    """Ask all contenders the same, and end the run where two answers differ. Cursors are each one's own."""
    number = time.time_ns()
    answers: list[tuple[str, Any]] = []
    for contender in contenders:
        wire = await Wire.open(contender.port)
        answer = json.loads(await wire.send(contender.request(workload, stage.ids, 0, number=number)))
        await wire.close()
        answers.append((contender.name, normalize(answer if contender.is_rest else answer["data"])))
    for name, answer in answers[1:]:
        if difference := differs(answers[0][1], answer):
            raise SystemExit(f"{workload.name}: {answers[0][0]} and {name} answer differently: {difference}")


def normalize(value: Any) -> Any:
    """An answer without cursors, and with moments in one spelling."""
    if isinstance(value, dict):
        return {name: None if name in _CURSORS else normalize(each) for name, each in value.items()}
    if isinstance(value, list):
        return [normalize(each) for each in value]
    if isinstance(value, str) and _MOMENT.match(value):
        return value.replace("Z", "+00:00")
    return value


def differs(one: Any, other: Any, at: str = "data") -> str | None:
    """Where two answers differ first, or None."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((found for name in one if (found := differs(one[name], other[name], f"{at}.{name}"))), None)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for index, pair in pairs if (found := differs(*pair, f"{at}[{index}]"))), None)
    return None if one == other else f"{at}: {json.dumps(one)[:200]} and {json.dumps(other)[:200]}"


async def count_calls(stage: Stage) -> int:
    """How many requests the upstream has had."""
    wire = await Wire.open(stage.upstream_port)
    count = json.loads(await wire.send(build_request(stage.upstream_port, method="GET", path="/count")))
    await wire.close()
    return int(count)


async def warm_up(stage: Stage, contender: Contender, workload: Workload) -> int:
    """Send until the contender has found its pace; how many requests a slice should have."""
    spent = await run_slice(stage, contender, workload, _LEAST_REQUESTS)
    for _ in range(2):
        spent = await run_slice(stage, contender, workload, _fitting(spent))
    return _fitting(spent)


def _fitting(seconds: float) -> int:
    return max(_LEAST_REQUESTS, round(_SLICE_SECONDS / seconds / CLIENTS) * CLIENTS)


async def run_slice(stage: Stage, contender: Contender, workload: Workload, count: int) -> float:
    """CPU seconds per request of so many requests, each client sending one after the other."""
    ids = stage.ids
    requests = [
        [contender.request(workload, ids, client) for _ in range(count // CLIENTS)] for client in range(CLIENTS)
    ]
    wires = [await Wire.open(contender.port) for _ in requests]

    async def send_all(wire: Wire, mine: list[bytes]) -> None:
        for request in mine:
            await wire.send(request)

    before = contender.cpu_seconds()
    await asyncio.gather(*map(send_all, wires, requests))
    await asyncio.sleep(_SETTLE_SECONDS)  # what is done after the last answer belongs to it
    spent = contender.cpu_seconds() - before
    for wire in wires:
        await wire.close()
    return spent / count


def progress(text: str) -> None:
    """Show how far a run has come."""
    print(text, file=sys.stderr, flush=True)
