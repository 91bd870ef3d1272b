"""The benchmark still runs: every contender is started and asked everything once, goals aside."""

import asyncio

from bench import whole
from bench.__main__ import parse
from bench.contenders import COMPILED, ON_NODE, PRODUCT, REST, STOCK, TITLES, Contender, Stage, stage
from bench.product import REPOSITORY
from bench.report import build_findings, build_page, build_tables, judge
from bench.upstream import CLIENTS, PAGES, SMALL
from bench.whole import Figures
from bench.workloads import WORKLOADS


def test_contenders_answer_the_same_and_are_measured():
    has_node_peers = (REPOSITORY / "bench" / "peers" / "node_modules").is_dir()
    names = [name for name in TITLES if name != PRODUCT and (has_node_peers or name not in ON_NODE)]
    with stage([*PAGES, *SMALL[0]]) as set_up, set_up.contenders(names) as contenders:
        figures, calls = asyncio.run(measure_a_little(set_up, contenders))
    assert calls > 100
    assert {COMPILED, STOCK, REST} <= figures.seconds.keys()
    assert all(seconds[0] > 0 for seconds in figures.seconds.values())
    page = build_page("\n\n".join([*build_tables([figures]), build_findings(judge([figures]))]), "make bench")
    assert TITLES[STOCK] in page
    assert "over the best peer" in page


async def measure_a_little(set_up: Stage, contenders: list[Contender]) -> tuple[Figures, int]:
    for workload in WORKLOADS:
        await whole.compare(set_up, [each for each in contenders if each.can(workload)], workload)
    figures = Figures(WORKLOADS[0])
    for each in contenders:
        figures.seconds[each.name] = [await whole.run_slice(set_up, each, WORKLOADS[0], CLIENTS)]
        figures.calls[each.name] = 1.0
    return figures, await whole.count_calls(set_up)


def test_differences_are_found_and_cursors_are_not_compared():
    one = {"users": [{"cursor": "a", "createdAt": "2026-01-02T03:04:05.6Z", "name": "x"}]}
    other = {"users": [{"cursor": "b", "createdAt": "2026-01-02T03:04:05.6+00:00", "name": "y"}]}
    assert whole.differs(whole.normalize(one), whole.normalize(other)) == 'data.users[0].name: "x" and "y"'


def test_arguments():
    assert parse(["--only", "users,memory"]).only == ["users", "memory"]
    assert parse([]).rounds == 8
