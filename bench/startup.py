"""How much CPU time passes until the first answer, beside stock."""

import argparse
import asyncio
import statistics

from bench.client import Wire, build_request
from bench.contenders import COMPILED, STOCK, Contender, Stage
from bench.findings import Finding

_STARTS = 5
_MOST_OVER_STOCK = 1.2


def run(stage: Stage, arguments: argparse.Namespace) -> list[Finding]:
    """Start both in turn."""
    spent: dict[str, list[float]] = {COMPILED: [], STOCK: []}
    for _ in range(min(_STARTS, arguments.rounds)):
        for name, mine in spent.items():
            with stage.contender(name) as contender:
                mine.append(asyncio.run(_first_answer(contender)))
    ratios = [ours / theirs for ours, theirs in zip(spent[COMPILED], spent[STOCK], strict=True)]
    ratio = statistics.median(ratios)
    return [
        Finding(
            "start-up over stock (CPU until the first answer)",
            f"{ratio:.2f}x, {min(ratios):.2f} to {max(ratios):.2f} ({statistics.median(spent[COMPILED]):.2f} and "
            f"{statistics.median(spent[STOCK]):.2f} s)",
            f"at most {_MOST_OVER_STOCK:g}x",
            ratio <= _MOST_OVER_STOCK,
        )
    ]


async def _first_answer(contender: Contender) -> float:
    wire = await Wire.open(contender.port)
    await wire.send(build_request(contender.port, {"query": "{ __typename }"}, headers=contender.headers))
    spent = contender.cpu_seconds()
    await wire.close()
    return spent
