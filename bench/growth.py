"""How CPU time grows: with the size of a page, and from echoing an answer to proxying it."""

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.contenders import COMPILED, ECHO, Contender, Stage
from bench.findings import Finding
from bench.upstream import LONG
from bench.whole import run_slice, warm_up
from bench.workloads import WORKLOADS, Workload

_MOST_GROWTH = 9.0
_MOST_OVER_ECHO = 8.0
_USERS, _PROXY = (next(each for each in WORKLOADS if each.name == name) for name in ("users", "proxy"))


def run_thousand(stage: Stage, arguments: argparse.Namespace) -> list[Finding]:
    """``users(first: 1000)`` over ``users(first: 100)``, of the same connection."""
    hundred = replace(_USERS, variables=lambda ids, client: {"connection": ids[LONG[client]]})
    query = hundred.query(0).replace("first: 100", "first: 1000")
    thousand = replace(hundred, query=lambda _: query)
    with stage.contender(COMPILED) as product:
        ratios, one, other = asyncio.run(
            _compare(stage, (product, thousand), (product, hundred), rounds=arguments.rounds)
        )
    return [
        Finding(
            "users(1000) over users(100)",
            f"{_spread(ratios)} ({one * 1000:.1f} and {other * 1000:.1f} ms)",
            f"at most {_MOST_GROWTH:g}x",
            statistics.median(ratios) <= _MOST_GROWTH,
        )
    ]


def run_echo(stage: Stage, arguments: argparse.Namespace) -> list[Finding]:
    """The proxy's 300 KB over an app that sends on the same bytes unread, and over one that has them in memory."""
    from_memory = replace(_PROXY, rest=lambda *_: ("GET", "/memory", None))
    found = []
    with stage.contenders((COMPILED, ECHO)) as (product, echo):
        for workload, what in ((_PROXY, "awaited by httpx"), (from_memory, "that are in memory")):
            ratios, one, other = asyncio.run(
                _compare(stage, (product, _PROXY), (echo, workload), rounds=arguments.rounds)
            )
            found.append(
                Finding(
                    f"proxy, 300 KB: CPU over echoing bytes {what}",
                    f"{_spread(ratios)} ({one * 1000:.2f} and {other * 1000:.2f} ms)",
                    f"at most {_MOST_OVER_ECHO:g}x",
                    statistics.median(ratios) <= _MOST_OVER_ECHO,
                )
            )
    return found


async def _compare(
    stage: Stage, one: tuple[Contender, Workload], other: tuple[Contender, Workload], *, rounds: int
) -> tuple[Sequence[float], float, float]:
    """CPU time per request, one over the other round by round; and the medians of both."""
    pair = (one, other)
    counts = [await warm_up(stage, *each) for each in pair]
    spent: list[list[float]] = [[], []]
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 else (1, 0):
            spent[index].append(await run_slice(stage, *pair[index], counts[index]))
    ratios = [mine / theirs for mine, theirs in zip(*spent, strict=True)]
    return ratios, statistics.median(spent[0]), statistics.median(spent[1])


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.1f}x, {min(ratios):.1f} to {max(ratios):.1f}"
