"""``make bench``: the whole product beside its peers, and what it promises of latency, memory and neighbours.

Every server runs in a process of its own. What counts is the CPU time of that process per request, as a ratio of one
interleaved run: a busy machine then slows all of them alike.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import neighbours, report, whole
from bench.contenders import TITLES, stage
from bench.findings import Finding
from bench.whole import Figures, progress
from bench.workloads import WORKLOADS

Part = Callable[[argparse.Namespace], list[Finding]]

PARTS: dict[str, tuple[str, Part]] = {
    "neighbours": ("how much one customer's dead Sentry slows another's queries", neighbours.run),
}
"""What is measured beside the workloads: what it is about, and how."""


def main() -> None:
    """Measure, report; exits with 1 where a goal was missed."""
    arguments = parse()
    only = arguments.only or [each.name for each in WORKLOADS] + list(PARTS)
    workloads = [each for each in WORKLOADS if each.name in only]
    figures: list[Figures] = []
    findings: list[Finding] = []
    if workloads:
        with stage() as stage_, stage_.contenders(arguments.contenders) as contenders:
            figures = asyncio.run(whole.measure(stage_, contenders, workloads, arguments.rounds))
        findings += report.judge(figures)
    for name, (about, run) in PARTS.items():
        if name in only:
            progress(f"{name}: {about}")
            findings += run(arguments)
    text = "\n\n".join([report.describe_machine(), *report.build_tables(figures), report.build_findings(findings)])
    print(f"\n{text}")
    if arguments.report:
        arguments.report.write_text(report.build_page(text))
    sys.exit(0 if all(each.reached is not False for each in findings) else 1)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    rows = [(each.name, each.title) for each in WORKLOADS] + [(name, about) for name, (about, _) in PARTS.items()]
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="parts:\n" + "\n".join(f"  {name:14}{about}" for name, about in rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [name for name, _ in rows]
    parser.add_argument("--only", type=_list_of(names), metavar="PART,…", help="measure these parts; all by default")
    parser.add_argument(
        "--contenders",
        type=_list_of(TITLES),
        default=list(TITLES),
        metavar="NAME,…",
        help=f"of {', '.join(TITLES)}; all by default",
    )
    parser.add_argument("--rounds", type=int, default=8, help="interleaved rounds (8)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the page of docs/ there, too")
    return parser.parse_args(arguments)


def _list_of(known: Sequence[str] | dict[str, str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [each for each in found if each not in known]:
            raise argparse.ArgumentTypeError(f"no such thing: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return read


if __name__ == "__main__":
    main()
