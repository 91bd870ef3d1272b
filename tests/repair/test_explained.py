"""Whatever changes, and whichever webhooks come: in the end the log explains every issue, and nothing is told twice.

Random changes, webhooks that come late, twice, in the wrong order or never, looks and failed looks at random times.
"""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.db import Database
from service.events.models import EventRecord
from service.repair.absorbing import _read_issue
from service.repair.rules import State, find_changes, read_state, tell
from service.sandbox.faults import Fail
from service.sandbox.structure import Issue
from service.sentry.origin import Origin
from tests.connections.factory import add_tenant
from tests.connections.refreshable import Bench
from tests.repair.yard import A_WHILE, Yard, lay_out
from tests.scale import scaled

ISSUES = 5

change = st.tuples(
    st.just("change"),
    st.integers(0, ISSUES - 1),
    st.sampled_from(["resolved", "unresolved", "ignored", "assign", "event"]),
)
arrive = st.tuples(st.just("arrive"), st.integers(0, 9), st.booleans())  # which of those under way; whether it stays
lose = st.tuples(st.just("lose"), st.integers(0, 9))
wait = st.tuples(st.just("wait"), st.integers(1, 20))
steps = st.lists(
    change | change | arrive | arrive | lose | wait | st.tuples(st.sampled_from(["create", "look", "look", "fail"])),
    min_size=1,
    max_size=30,
)


@pytest.fixture
def place(database_url, sandbox, vault):
    """A yard on a loop of the test's own: hypothesis calls it many times."""
    loop = asyncio.new_event_loop()
    database = Database(database_url)

    async def build() -> Yard:
        return await lay_out(
            Bench(database, sandbox, vault, await add_tenant(database, "ten_1"), Origin.parse(sandbox.url))
        )

    yard = loop.run_until_complete(build())
    yield loop, yard
    loop.run_until_complete(yard.bench.aclose())
    loop.run_until_complete(database.dispose())
    loop.close()


class Story:
    """One example, told in the yard as the one before has left it."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.under_way: list = []
        self.watched = [issue for issue in yard.issues if len(issue.project.team_ids) > 1][:ISSUES]

    async def begin(self) -> None:
        self.yard.take_webhooks()
        await self.yard.worker.claims.enroll()
        await self.yard.edit(polled_at=None)
        await self.yard.look()
        self.start = {str(issue.id): seen(issue) for issue in self.yard.issues}
        events = await self.yard.events("*")
        self.position = events[-1].position if events else 0

    async def step(self, kind: str, *given) -> None:
        yard = self.yard
        if kind == "change":
            await self.change(self.watched[given[0]], given[1])
        elif kind == "create":
            yard.happen(kind=f"Error{len(yard.issues)}")
        elif kind == "arrive" and self.under_way:
            number = given[0] % len(self.under_way)
            await yard.receive([self.under_way[number] if given[1] else self.under_way.pop(number)])
        elif kind == "lose" and self.under_way:
            del self.under_way[given[0] % len(self.under_way)]
        elif kind == "wait":
            await yard.pass_time(timedelta(minutes=given[0]))
        elif kind == "look":
            await yard.look()
        elif kind == "fail":
            yard.sandbox.faults.add(Fail(path="/issues/", status=500))
            await yard.look()
            yard.sandbox.faults.clear()
        self.under_way += yard.take_webhooks()

    async def change(self, issue: Issue, what: str) -> None:
        if what == "event":
            self.yard.happen(issue=issue.id)
        elif what == "assign":
            await self.yard.assign(issue)
        else:
            await self.yard.change(issue, status=what)

    async def end(self) -> list[EventRecord]:
        """Nothing more comes; what is held is told."""
        for _ in range(2):
            await self.yard.look()
            await self.yard.pass_time(A_WHILE)
        await self.yard.look()
        assert await self.yard.look() == []
        return [event for event in await self.yard.events() if event.position > self.position]


def seen(issue: Issue) -> State:
    who = issue.assignee and f"{issue.assignee[0]}:{issue.assignee[1]}"
    return State(issue.status, issue.substatus, who)


@settings(
    max_examples=scaled(test=6, soak=1500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_the_log_explains_every_issue_and_repairs_tell_nothing_twice(place, taken):
    loop, yard = place

    async def play() -> tuple[Story, list[EventRecord]]:
        story = Story(yard)
        await story.begin()
        for step in taken:
            await story.step(*step)
        return story, await story.end()

    story, events = loop.run_until_complete(play())
    told: dict[str, State | None] = dict(story.start)
    for event in events:
        issue = _read_issue(event.body)
        assert issue is not None
        said, before = read_state(issue), told.get(issue.id)
        if event.is_synthetic:
            assert event.type in find_changes(before, said), (event.type, before, said)
        told[issue.id] = tell(before, event.type, said)
    for issue in yard.issues:
        assert find_changes(told.get(str(issue.id)), seen(issue)) == [], (issue.short_id, told.get(str(issue.id)))
