"""One filter for lists, subscriptions and endpoints: what the database finds by it is what it matches."""

import asyncio
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.db import Database
from service.events.append import NewEvent
from service.events.filters import ALL, EventFilter, is_type_pattern, matches_type
from service.events.store import EventStore
from tests.connections.factory import add_tenant
from tests.events.factory import append, read_log
from tests.scale import scaled

TYPES = ["issue.resolved", "issue.created", "ISSUE.resolved", "issue_x.y", "issueXx.y", "issue%.y", "issues.y", "a.b.c"]
PATTERNS = [*TYPES, "issue.*", "issue_x.*", "issue%.*", "a.*", "a.b.*", "*", "issu\u00c9.*", "i", "issue.", ".*"]
CONNECTIONS = ["con_1", "con_2", None]
PROJECTS = [("1", "web"), ("2", "web"), ("web", None), (None, "Web"), (None, None)]
ENVIRONMENTS = ["prod", "Prod", None]
LEVELS = ["error", "fatal", None]


def some(*values: str) -> st.SearchStrategy[list[str] | None]:
    return st.none() | st.lists(st.sampled_from(values), max_size=3)


filters = st.builds(
    EventFilter,
    connection_ids=some("con_1", "con_2", "con_3"),
    types=some(*PATTERNS),
    projects=some("1", "2", "web", "Web", "x"),
    environments=some("prod", "Prod", "prod ", ""),
    levels=some("error", "fatal", "debug"),
)


def test_the_database_finds_what_the_filter_matches(database_url: str) -> None:
    kinds = list(product(TYPES, CONNECTIONS, PROJECTS, ENVIRONMENTS, LEVELS))[::7]  # 7 divides none of the numbers
    events = [
        NewEvent(
            "ten_a", type_, connection, project_id=project[0], project_slug=project[1], environment=place, level=level
        )
        for type_, connection, project, place, level in kinds
    ]
    with asyncio.Runner() as runner:
        database = Database(database_url)
        runner.run(add_tenant(database, "ten_a"))
        runner.run(append(database, *events))
        stored = runner.run(read_log(database, "ten_a"))
        store = EventStore(database)

        @settings(max_examples=scaled(test=60, soak=5000), deadline=None)
        @given(filters)
        def look(wanted: EventFilter) -> None:
            found = runner.run(store.page("ten_a", wanted, limit=1000))
            assert [event.id for event in found] == [event.id for event in stored if wanted.matches(event)]

        try:
            look()
            assert len(runner.run(store.page("ten_a", ALL, limit=1000))) == len(kinds)
        finally:
            runner.run(database.dispose())


@pytest.mark.parametrize(
    ("pattern", "type_", "expected"),
    [
        ("issue.resolved", "issue.resolved", True),
        ("issue.resolved", "issue.resolved_x", False),
        ("issue.*", "issue.resolved", True),
        ("issue.*", "issues.resolved", False),
        ("issue.*", "Issue.resolved", False),
        ("a.b.*", "a.b.c", True),
        ("a.*", "a.b.c", True),
        ("*", "anything", True),
        ("issue", "issue.resolved", False),
    ],
)
def test_patterns(pattern: str, type_: str, expected: bool) -> None:
    assert matches_type(pattern, type_) is expected


@pytest.mark.parametrize("text", ["issue.resolved", "issue.*", "*", "a.b.c", "a.b.*", "metric_alert.critical"])
def test_what_names_types(text: str) -> None:
    assert is_type_pattern(text)


@pytest.mark.parametrize(
    "text", ["", "issue", "issue.", ".*", "**", "issue.re*", "*.resolved", "issue .x", "a..b", "a.*.b"]
)
def test_what_could_match_nothing(text: str) -> None:
    assert not is_type_pattern(text)
