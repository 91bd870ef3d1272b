"""A connection to the stand-in Sentry whose issues change, whose webhooks come or not, and whose time can be moved."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.cache import Linked
from service.connections.repair_models import IssueSnapshotRecord, RepairRecord
from service.db import Database
from service.events.append import AddedEvent, append_events
from service.events.filters import EventFilter
from service.events.models import EventRecord
from service.events.store import EventStore
from service.repair.claims import Claims
from service.repair.comparing import Comparison
from service.repair.repairer import Repairer
from service.repair.rules import GRACE
from service.sandbox.app import Sandbox
from service.sandbox.deliveries import Delivery
from service.sandbox.steering import Drop
from service.sandbox.structure import Issue, Organization
from service.sandbox.world import DEMO_TOKENS
from service.sentry.hooks import read_app_hook
from service.sentry.paths import ApiPath
from service.webhooks.sorting import build_event
from tests.connections.refreshable import Bench, Replica

ORGANIZATION = "northwind-rail"
INTERVAL = timedelta(seconds=300)
A_WHILE = GRACE + timedelta(minutes=1)


@dataclass
class Worker:
    """A process that repairs."""

    replica: Replica
    claims: Claims
    comparison: Comparison
    repairer: Repairer
    seen: list[tuple[str, list[str]]] = field(default_factory=list)
    """How each look ended, and what it added."""


@dataclass
class Yard:
    """See above. ``look()`` is a look of the one worker, whenever the next would be due."""

    bench: Bench
    linked: Linked
    worker: Worker
    organization: Organization
    taken: set[int] = field(default_factory=set)

    @property
    def sandbox(self) -> Sandbox:
        return self.bench.sandbox

    @property
    def database(self) -> Database:
        return self.bench.database

    @property
    def issues(self) -> list[Issue]:
        return list(self.organization.issues.values())

    def issue(self, status: str = "unresolved", *, assigned: bool | None = None, teams: int = 1) -> Issue:
        """One of that status that was not given out yet: assigned or not, of a project of so many teams."""
        found = next(
            issue
            for issue in self.issues
            if issue.id not in self.taken
            and issue.status == status
            and assigned in (None, issue.assignee is not None)
            and len(issue.project.team_ids) >= teams
        )
        self.taken.add(found.id)
        return found

    def add_issues(self, count: int) -> None:
        """More of them, each seen a minute before the one in front of it."""
        model, oldest = self.issues[0], min(issue.last_seen for issue in self.issues)
        for number in range(1, count + 1):
            added = replace(
                model,
                id=model.id + 10_000 + number,
                short_id=f"MANY-{number}",
                last_seen=oldest - timedelta(minutes=number),
            )
            self.organization.issues[added.id] = added
        self.sandbox.world.changed()

    def build_worker(self, interval: timedelta = INTERVAL, **given: Any) -> Worker:
        """Another process, as far as the database can tell."""
        return build_worker(self.bench, interval, **given)

    # --- Sentry ---

    async def change(self, issue: Issue, **changes: Any) -> None:
        """Change an issue by Sentry's API."""
        replica = self.worker.replica
        account = await self.bench.account(replica, self.linked)
        path = ApiPath.of("organizations", ORGANIZATION, "issues", str(issue.id))
        body = msgspec.json.encode(changes)
        answer = await replica.client.send(account, "PUT", path, body=body, content_type="application/json")
        assert answer.status == 200, answer.body

    async def assign(self, issue: Issue) -> None:
        """Make another of the project's teams responsible."""
        [team, *_] = [each for each in issue.project.team_ids if ("team", each) != issue.assignee]
        await self.change(issue, assignedTo=f"team:{team}")

    def happen(self, **given: Any) -> Issue:
        """An error occurs: see :meth:`Happenings.record_event`."""
        project = given.pop("project", self.organization.projects[0].slug)
        return self.sandbox.record_event(project, organization=ORGANIZATION, **given).issue

    def take_webhooks(self) -> list[Delivery]:
        """The webhooks that were sent since the last time, none of which came."""
        found = list(self.sandbox.webhooks.missed)
        self.sandbox.webhooks.missed.clear()
        return found

    async def receive(self, webhooks: Sequence[Delivery] | None = None) -> list[AddedEvent]:
        """Let webhooks come: those that were sent since the last time."""
        sent = self.take_webhooks() if webhooks is None else webhooks
        connection = self.linked.connection

        async def work(session: AsyncSession) -> list[AddedEvent]:
            events = [build_event(connection, read_app_hook({}, each.body), {}, each.body) for each in sent]
            return await append_events(session, events)

        return await self.database.run_transaction(work)

    # --- looking ---

    async def look(self, worker: Worker | None = None) -> list[str]:
        """Look, and give the types of the events that were added by it."""
        worker = worker or self.worker
        await worker.claims.enroll()
        await self.edit(next_at=now() - timedelta(seconds=1))
        before = len(worker.seen)
        await worker.repairer.sweep()
        assert len(worker.seen) == before + 1, worker.seen
        return worker.seen[-1][1]

    async def look_twice(self) -> list[str]:
        """Look, and again when what was held has to be told; what was told then."""
        assert await self.look() == []
        await self.pass_time(A_WHILE)
        return await self.look()

    async def repair(self) -> RepairRecord:
        async with self.database.session() as session:
            found = await session.get(RepairRecord, self.linked.connection.id)
            assert found is not None
            return found

    async def snapshots(self) -> dict[str, IssueSnapshotRecord]:
        async with self.database.session() as session:
            return {each.issue_id: each for each in await session.exec(select(IssueSnapshotRecord))}

    async def events(self, *types: str) -> list[EventRecord]:
        """The connection's events of these types, or of issues."""
        wanted = EventFilter(connection_ids=[self.linked.connection.id], types=types or ["issue.*"])
        return await EventStore(self.database).page(self.bench.admin.tenant_id, wanted, limit=10_000)

    async def told(self) -> list[tuple[str, str | None, bool]]:
        """Type, issue and whether it is a repair, of all events of issues."""
        return [(event.type, event.issue_id, event.is_synthetic) for event in await self.events()]

    # --- time ---

    async def edit(self, **changes: Any) -> None:
        async def work(session: AsyncSession) -> None:
            found = await session.get(RepairRecord, self.linked.connection.id)
            assert found is not None
            for name, value in changes.items():
                setattr(found, name, value)

        await self.database.run_transaction(work)

    async def pass_time(self, passed: timedelta) -> None:
        """Let all that is stored be so much older."""

        async def work(session: AsyncSession) -> None:
            repair = await session.get(RepairRecord, self.linked.connection.id)
            if repair is not None:
                for name in ("next_at", "lease_until", "polled_at", "heard_at", "silent_since", "steady_since"):
                    moment: datetime | None = getattr(repair, name)
                    setattr(repair, name, moment and moment - passed)
            for snapshot in await session.exec(select(IssueSnapshotRecord)):
                snapshot.differs_since = snapshot.differs_since and snapshot.differs_since - passed
            for event in await session.exec(select(EventRecord).where(col(EventRecord.body).is_not(None))):
                event.created_at -= passed

        await self.database.run_transaction(work)


def build_worker(bench: Bench, interval: timedelta = INTERVAL, **given: Any) -> Worker:
    replica = bench.replica(**given)
    claims = Claims(replica.rows._database, lease=timedelta(seconds=30), interval=interval)
    comparison = Comparison(replica.rows._database, claims)
    seen: list[tuple[str, list[str]]] = []
    repairer = Repairer(
        claims,
        comparison,
        replica.client,
        replica.accounts,
        lambda outcome, types: seen.append((outcome, list(types))),
    )
    return Worker(replica, claims, comparison, repairer, seen)


async def lay_out(bench: Bench) -> Yard:
    """Link the organization, with issues that were seen lately, and take all webhooks on their way."""
    sandbox = bench.sandbox
    place = sandbox.world.find_organization(ORGANIZATION, "23.7")
    assert place is not None
    linked = await bench.link_pasted(DEMO_TOKENS.admin, organization=ORGANIZATION, expires_in=None)
    yard = Yard(bench, linked, build_worker(bench), place)
    moment = datetime.now(UTC)
    for number, issue in enumerate(yard.issues):
        issue.first_seen, issue.last_seen = moment - timedelta(days=40), moment - timedelta(hours=1, minutes=number)
    app = next(app for app in sandbox.world.apps if app.installation_in(place))
    app.webhook_url = "http://127.0.0.1:9/webhooks"
    sandbox.webhooks.steering.add(Drop(times=None))
    sandbox.world.changed()
    return yard
