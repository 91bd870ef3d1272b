"""``make bench``: the whole product beside its peers, and what it promises of latency, memory and neighbours.

Every server runs in a process of its own. What counts is the CPU time of that process per request, as a ratio of one
interleaved run: a busy machine then slows all of them alike.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from bench import events, growth, inside, latency, memory, neighbours, report, startup, whole
from bench.contenders import TITLES, Stage, stage
from bench.findings import Finding
from bench.whole import Figures, progress
from bench.workloads import WORKLOADS


@dataclass(frozen=True)
class Part:
    """What is measured beside the workloads, on the stage that is set for them or on one of its own."""

    about: str
    on_stage: Callable[[Stage, argparse.Namespace], list[Finding]] | None = None
    alone: Callable[[argparse.Namespace], list[Finding]] | None = None


PARTS = {
    "echo": Part("the proxy's CPU over that of echoing the same bytes", on_stage=growth.run_echo),
    "thousand": Part("users(1000) over users(100)", on_stage=growth.run_thousand),
    "latency": Part("what is added to an upstream of 20 ms", alone=latency.run),
    "pauses": Part("the longest that the event loop was busy at a stretch", on_stage=inside.run_pauses),
    "memory": Part("resident memory at 128 connections, and whether it grows", on_stage=memory.run),
    "startup": Part("CPU until the first answer, over stock", on_stage=startup.run),
    "neighbours": Part("how much one customer's dead Sentry slows another's queries", alone=neighbours.run),
    "acknowledging": Part("webhooks at a rate", alone=events.on_each_engine(events.Bench.acknowledge)),
    "forwarding": Part(
        "one tenant's deliveries beside another's hostile endpoints", alone=events.on_each_engine(events.Bench.forward)
    ),
    "subscribing": Part(
        "one event to all subscribers, over each transport", alone=events.on_each_engine(events.Bench.subscribe)
    ),
}


class Run:
    """One run: the stage is set when the first part needs it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._stack = ExitStack()
        self.figures: list[Figures] = []
        self.findings: list[Finding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def stage(self) -> Stage:
        """The upstream and the product's data."""
        progress("setting up: an upstream, and a product with its organizations linked")
        return self._stack.enter_context(stage())

    def measure(self, only: Sequence[str]) -> None:
        """Measure these workloads and parts."""
        workloads = [each for each in WORKLOADS if each.name in only]
        if workloads:
            with self.stage.contenders(self._arguments.contenders) as contenders:
                work = whole.measure(self.stage, contenders, workloads, self._arguments.rounds)
                self.figures = asyncio.run(work)
            self.findings += report.judge(self.figures)
        for name, part in PARTS.items():
            if name in only:
                progress(f"{name}: {part.about}")
                if part.on_stage is not None:
                    self.findings += part.on_stage(self.stage, self._arguments)
                elif part.alone is not None:
                    self.findings += part.alone(self._arguments)


def main() -> None:
    """Measure, report; exits with 1 where a goal was missed."""
    arguments = parse()
    with Run(arguments) as run:
        if arguments.profile:
            print(inside.profile(run.stage, arguments.profile))
            return
        run.measure(arguments.only or [*(each.name for each in WORKLOADS), *PARTS])
    tables = [*report.build_tables(run.figures), report.build_findings(run.findings)]
    text = "\n\n".join([report.describe_machine(), *tables])
    print(f"\n{text}")
    if arguments.report:
        arguments.report.write_text(report.build_page(text, f'make bench ARGS="{shlex.join(sys.argv[1:])}"'))
    sys.exit(0 if all(each.reached is not False for each in run.findings) else 1)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    rows = [(each.name, each.title) for each in WORKLOADS] + [(name, part.about) for name, part in PARTS.items()]
    parser = argparse.ArgumentParser(
        prog="make bench",
        usage='make bench ARGS="…"',
        description=__doc__,
        epilog="parts:\n" + "\n".join(f"  {name:14}{about}" for name, about in rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names, workloads = [name for name, _ in rows], [each.name for each in WORKLOADS]
    parser.add_argument("--only", type=_list_of(names), metavar="PART,…", help="measure these parts; all by default")
    parser.add_argument(
        "--contenders",
        type=_list_of(TITLES),
        default=list(TITLES),
        metavar="NAME,…",
        help=f"of {', '.join(TITLES)}; all by default",
    )
    parser.add_argument("--rounds", type=int, default=8, help="interleaved rounds (8)")
    parser.add_argument("--requests", type=int, default=10_000, help="of pauses (10 000)")
    parser.add_argument("--latencies", type=int, default=300, help="requests of latency (300)")
    parser.add_argument("--seconds", type=float, default=15, help="of memory and acknowledging (15)")
    parser.add_argument("--rate", type=int, default=200, help="webhooks a second of acknowledging (200)")
    parser.add_argument("--events", type=int, default=100, help="in a round of forwarding (100)")
    parser.add_argument("--subscribers", type=int, default=500, help="of subscribing (500)")
    parser.add_argument("--engine", choices=events.ENGINES, action="append", help="only this database; both by default")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the page of docs/ there, too")
    parser.add_argument(
        "--profile",
        type=_list_of(workloads),
        metavar="WORKLOAD,…",
        help="measure nothing, and show where the product's time goes",
    )
    return parser.parse_args(arguments)


def _list_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [each for each in found if each not in known]:
            raise argparse.ArgumentTypeError(f"no such thing: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return read


if __name__ == "__main__":
    main()
