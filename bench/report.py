"""What a run found, as tables: for the terminal, and for the page in docs/."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.contenders import COMPILED, PEERS, STOCK, TITLES
from bench.findings import Finding
from bench.whole import Figures

_PACKAGES = ("strawberry-graphql", "graphql-core", "fastapi", "uvicorn", "httpx", "aiohttp", "msgspec", "pydantic")


def judge(figures: Sequence[Figures]) -> list[Finding]:
    """The workloads' figures beside their goals."""
    found = []
    for each in figures:
        if not {COMPILED, STOCK} <= each.seconds.keys():
            continue
        ratios = each.ratios(COMPILED, STOCK)
        ratio, workload = statistics.median(ratios), each.workload
        found.append(
            Finding(
                f"{workload.title}: over stock",
                f"{ratio:.1f}x ({min(ratios):.1f} to {max(ratios):.1f})",
                f"{workload.must:g}x, aim {workload.aim:g}x",
                ratio >= workload.must,
            )
        )
        peers = [name for name in each.seconds if name in PEERS]
        if workload.is_bound_to_lead and peers:
            best = min(peers, key=each.median)
            lead = statistics.median(each.ratios(COMPILED, best))
            found.append(
                Finding(
                    f"{workload.title}: over the best peer",
                    f"{lead:.1f}x {TITLES[best]}",
                    "ahead of every peer",
                    lead > 1,
                )
            )
    return found


def build_tables(figures: Sequence[Figures]) -> list[str]:
    """Three tables in Markdown: CPU per request, requests per CPU second over stock, upstream calls per request."""
    if not figures:
        return []
    names = [name for name in TITLES if any(name in each.seconds for each in figures)]
    titles = [TITLES[name] for name in names]
    tables = [
        "CPU of the server's process per request, in milliseconds (median of rounds):",
        _table(
            ["workload", *titles],
            [
                [
                    each.workload.title,
                    *(f"{each.median(name) * 1000:.2f}" if name in each.seconds else "" for name in names),
                ]
                for each in figures
            ],
        ),
    ]
    if STOCK in names:
        tables += [
            "Requests per CPU second, over stock Strawberry (median of rounds; the lowest and the highest round):",
            _table(
                ["workload", *(TITLES[name] for name in names if name != STOCK)],
                [[each.workload.title, *(_spread(each, name) for name in names if name != STOCK)] for each in figures],
            ),
        ]
    tables += [
        "Calls of the upstream per request:",
        _table(
            ["workload", *titles],
            [
                [each.workload.title, *(f"{each.calls[name]:g}" if name in each.calls else "" for name in names)]
                for each in figures
            ],
        ),
    ]
    return tables


def _spread(figures: Figures, name: str) -> str:
    if name not in figures.seconds or STOCK not in figures.seconds:
        return ""
    ratios = figures.ratios(name, STOCK)
    return f"{statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"


def build_findings(findings: Sequence[Finding]) -> str:
    """The goals, those that were missed said plainly."""
    words = {True: "reached", False: "**missed**", None: ""}
    rows = [[each.what, each.found, each.must, words[each.reached]] for each in findings]
    return _table(["what", "found", "goal", ""], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def build_page(text: str, command: str) -> str:
    """The page in docs/ that holds a run's report."""
    return f"""# How fast it is

Written by this command, which measures anew:

```sh
{command}
```

Every server runs in a process of its own, before one static upstream in the shapes of Sentry's answers; member rows
carry no teams, as Sentry's do not. What counts is the CPU time of the server's process, user and system, per request.
All contenders are asked in turn, in short slices of the same run; a ratio is taken within its round, and the median
of the rounds is given, with the lowest and the highest. Their answers are compared before and after, and must be
equal. The product has everything on: API keys, guards, metrics, SQLite; only the memory for teams is off, so that it
walks them for each request, as the peers do. Peers are idiomatic and untuned: `bench/stock.py`, `bench/rest.py`,
`bench/peers`.

{text}
"""


def describe_machine() -> str:
    """Where it was measured, and with which versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}; {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
