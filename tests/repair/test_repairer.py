"""What is changed in Sentry without a webhook becomes one event, once; what a webhook told of becomes none."""

import json
from datetime import timedelta

import msgspec

from service.columns import now
from service.connections.models import ConnectionProblem, ConnectionStatus, CredentialKind
from service.connections.repair_models import IssueSnapshotRecord
from service.connections.repairing import repair_soon
from service.repair.rules import GRACE
from service.sandbox.faults import Fail, Fault, Throttle, Wire
from service.sandbox.responses import answer_json
from service.sandbox.world import DEMO_OAUTH_CLIENT, DEMO_TOKENS
from tests.connections.refreshable import until
from tests.repair.yard import A_WHILE, ORGANIZATION, Yard


async def resolve(yard: Yard) -> str:
    issue = yard.issue("unresolved")
    await yard.change(issue, status="resolved", statusDetails={"inNextRelease": True})
    return str(issue.id)


async def archive(yard: Yard) -> str:
    issue = yard.issue("unresolved")
    await yard.change(issue, status="ignored", substatus="archived_forever")
    return str(issue.id)


async def archive_for_longer(yard: Yard) -> str:
    issue = yard.issue("ignored")
    issue.substatus = "archived_forever"
    yard.sandbox.world.changed()
    return str(issue.id)


async def unresolve(yard: Yard) -> str:
    issue = yard.issue("resolved")
    await yard.change(issue, status="unresolved")
    return str(issue.id)


async def regress(yard: Yard) -> str:
    issue = yard.issue("resolved")
    yard.happen(issue=issue.id)
    return str(issue.id)


async def escalate(yard: Yard) -> str:
    issue = yard.issue("ignored")
    issue.status, issue.substatus = "unresolved", "escalating"
    yard.sandbox.world.changed()
    return str(issue.id)


async def assign(yard: Yard) -> str:
    issue = yard.issue(assigned=False)
    await yard.assign(issue)
    return str(issue.id)


async def assign_otherwise(yard: Yard) -> str:
    issue = yard.issue(assigned=True, teams=2)
    await yard.assign(issue)
    return str(issue.id)


async def create(yard: Yard) -> str:
    return str(yard.happen(kind="NewError").id)


CHANGES = {
    resolve: "issue.resolved",
    archive: "issue.archived",
    unresolve: "issue.unresolved",
    regress: "issue.unresolved",
    assign: "issue.assigned",
    assign_otherwise: "issue.assigned",
    create: "issue.created",
}
# Sentry's own algorithm does this one, and the other is no change of status to the stand-in: no webhook comes of them.
SILENT_CHANGES = {escalate: "issue.unresolved", archive_for_longer: "issue.archived"}


# --- what no webhook told of ---


async def test_the_first_look_takes_stock_and_tells_of_nothing(yard: Yard):
    await yard.look()
    assert await yard.told() == []
    assert set(await yard.snapshots()) == {str(issue.id) for issue in yard.issues}
    assert (await yard.repair()).polled_at is not None
    assert yard.worker.seen == [("took_stock", [])]


async def test_each_change_becomes_one_event_once(yard: Yard):
    await yard.look()
    expected = {(type_, await change(yard), True) for change, type_ in (CHANGES | SILENT_CHANGES).items()}
    assert len(await yard.look_twice()) == len(expected)
    assert set(await yard.told()) == expected
    await yard.pass_time(A_WHILE)
    assert await yard.look_twice() == []
    assert len(await yard.told()) == len(expected)


async def test_a_difference_is_held_for_a_webhook_that_may_be_on_its_way(yard: Yard):
    await yard.look()
    issue_id = await resolve(yard)
    assert await yard.look() == []
    snapshot = (await yard.snapshots())[issue_id]
    assert (snapshot.status, snapshot.differs_since is None) == ("unresolved", False)
    await yard.pass_time(GRACE - timedelta(minutes=1))
    assert await yard.look() == []
    assert await yard.told() == []
    repair = await yard.repair()
    assert repair.next_at - now() <= timedelta(minutes=1)  # not a whole interval: it is told as soon as it may be


async def test_a_difference_that_is_gone_again_is_forgotten(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.issue("unresolved")
    await quick_yard.change(issue, status="resolved")
    await quick_yard.look()
    await quick_yard.change(issue, status="unresolved")
    await quick_yard.pass_time(A_WHILE)
    assert await quick_yard.look() == []
    assert (await quick_yard.snapshots())[str(issue.id)].differs_since is None


async def test_what_happened_to_a_new_issue_is_told_after_that_it_is_there(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.happen(kind="NewError")
    await quick_yard.assign(issue)
    await quick_yard.change(issue, status="resolved")
    assert await quick_yard.look_twice() == ["issue.created", "issue.resolved", "issue.assigned"]


async def test_that_nobody_is_responsible_any_more_is_not_told_and_the_next_one_is(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.issue(assigned=True)
    issue.assignee = None
    quick_yard.sandbox.world.changed()
    assert await quick_yard.look_twice() == []
    await quick_yard.assign(issue)
    assert await quick_yard.look_twice() == ["issue.assigned"]


async def test_an_old_issue_that_comes_into_sight_is_no_new_one(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.happen(kind="OldError")
    issue.first_seen = now() - timedelta(days=100)
    quick_yard.sandbox.world.changed()
    assert await quick_yard.look_twice() == []
    assert str(issue.id) in await quick_yard.snapshots()


async def test_an_issue_that_nobody_has_seen_for_weeks_is_not_looked_at(quick_yard: Yard):
    issue = quick_yard.issues[0]
    issue.last_seen = now() - timedelta(days=15)
    for other in quick_yard.issues[1:]:
        other.last_seen = now() - timedelta(days=16)
    quick_yard.sandbox.world.changed()
    await quick_yard.look()
    assert quick_yard.sandbox.count("GET", "/issues/") == 1


async def test_an_issue_that_sentry_has_forgotten_is_forgotten(yard: Yard):
    await yard.look()
    gone = yard.issue()
    del yard.organization.issues[gone.id]
    yard.sandbox.world.changed()
    assert str(gone.id) in await yard.snapshots()

    async def age(session):
        snapshot = await session.get(IssueSnapshotRecord, (yard.linked.connection.id, str(gone.id)))
        snapshot.last_seen -= timedelta(days=90)

    await yard.database.run_transaction(age)
    await yard.look()
    assert set(await yard.snapshots()) == {str(issue.id) for issue in yard.issues}


async def test_the_event_has_the_shape_of_a_webhook(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.issue("unresolved", assigned=False)
    await quick_yard.assign(issue)
    await quick_yard.change(issue, status="resolved", statusDetails={"inNextRelease": True})
    sent = {each.action: each.payload for each in quick_yard.take_webhooks()}
    await quick_yard.look_twice()
    events = {event.type.partition(".")[2]: event for event in await quick_yard.events()}
    for action, event in events.items():
        assert event.body is not None
        assert event.headers == {}
        body = json.loads(event.body)
        real = sent[action]
        assert body["action"] == action
        assert body["actor"] == {"type": "application", "id": "sentry-graph", "name": "Sentry Graph"}
        assert body["installation"] == {"uuid": None}
        assert set(body["data"]) == set(real["data"])
        same = {"id", "shortId", "title", "culprit", "level", "project", "metadata", "count", "firstSeen", "type"}
        for name in same:
            assert body["data"]["issue"][name] == real["data"]["issue"][name]
        assert not {"stats", "lifetime", "filtered"} & set(body["data"]["issue"])
        project = issue.project
        assert (event.project_id, event.project_slug, event.level) == (str(project.id), project.slug, issue.level)
    resolved, assigned = json.loads(events["resolved"].body or b""), json.loads(events["assigned"].body or b"")
    assert resolved["data"]["resolution_type"] == "in_next_release"
    assert assigned["data"]["assignee"]["id"] == sent["assigned"]["data"]["assignee"]["id"]


# --- what a webhook told of ---


async def test_what_a_webhook_told_of_is_not_told_again(yard: Yard):
    await yard.look()
    expected = {(type_, await change(yard), False) for change, type_ in CHANGES.items()}
    await yard.receive()
    assert await yard.look_twice() == []
    assert {each for each in await yard.told() if each[0] != "error.created"} == expected


async def test_a_webhook_that_comes_late_but_in_time_is_enough(quick_yard: Yard):
    await quick_yard.look()
    for change in (resolve, assign, create):
        await change(quick_yard)
    assert await quick_yard.look() == []
    await quick_yard.pass_time(timedelta(minutes=5))
    await quick_yard.receive()
    await quick_yard.pass_time(timedelta(minutes=5))
    assert await quick_yard.look() == []
    assert all(snapshot.differs_since is None for snapshot in (await quick_yard.snapshots()).values())


async def test_a_webhook_that_comes_after_the_repair_is_a_double_that_can_be_told(quick_yard: Yard):
    await quick_yard.look()
    await resolve(quick_yard)
    assert await quick_yard.look_twice() == ["issue.resolved"]
    await quick_yard.receive()
    assert await quick_yard.look_twice() == []
    assert [is_repair for *_, is_repair in await quick_yard.told()] == [True, False]


async def test_the_last_of_several_changes_decides(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.issue("unresolved")
    await quick_yard.change(issue, status="resolved")
    await quick_yard.receive()
    await quick_yard.change(issue, status="unresolved")  # of which no webhook comes: it is as it was before
    assert await quick_yard.look_twice() == ["issue.unresolved"]


async def test_webhooks_in_the_wrong_order_are_put_right(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.issue("unresolved")
    await quick_yard.change(issue, status="resolved")
    await quick_yard.change(issue, status="unresolved")
    await quick_yard.receive(quick_yard.take_webhooks()[::-1])
    assert await quick_yard.look_twice() == ["issue.unresolved"]


async def test_a_webhook_of_an_issue_that_was_never_met_is_remembered(quick_yard: Yard):
    await quick_yard.look()
    issue = quick_yard.happen(kind="NewError")
    await quick_yard.receive()
    del quick_yard.organization.issues[issue.id]  # as if too many others were seen since
    await quick_yard.look()
    assert (await quick_yard.snapshots())[str(issue.id)].status == "unresolved"
    quick_yard.organization.issues[issue.id] = issue
    await quick_yard.change(issue, status="resolved")
    assert await quick_yard.look_twice() == ["issue.resolved"]


async def test_what_webhooks_told_before_the_first_look_says_nothing(quick_yard: Yard):
    issue = quick_yard.issue("unresolved")
    await quick_yard.change(issue, status="resolved")
    await quick_yard.receive()
    await quick_yard.change(issue, status="unresolved")
    await quick_yard.look()
    assert await quick_yard.look_twice() == []


async def test_more_webhooks_than_are_read_at_once_are_all_read(yard: Yard):
    await yard.look()
    issue = yard.issue("unresolved")
    await yard.change(issue, status="resolved")
    await yard.change(issue, status="unresolved")
    await yard.change(issue, status="ignored")
    resolved, unresolved, archived = yard.take_webhooks()
    await yard.receive([resolved, unresolved] * 150 + [archived])
    assert await yard.look_twice() == []


async def test_a_body_that_cannot_be_read_still_tells_its_type(quick_yard: Yard):
    await quick_yard.look()
    issue_id = await resolve(quick_yard)
    [webhook] = quick_yard.take_webhooks()
    webhook.body = webhook.body.replace(b'"project"', b'"projekt"')
    await quick_yard.receive([webhook])
    assert (await quick_yard.told())[0][:2] == ("issue.resolved", issue_id)
    assert await quick_yard.look_twice() == []


# --- downtime ---


async def test_the_gap_of_a_downtime_is_closed_by_itself(yard: Yard):
    await yard.look()
    changed = [await resolve(yard), await archive(yard), await create(yard)]
    await yard.pass_time(timedelta(days=30))
    assert sorted(await yard.look_twice()) == ["issue.archived", "issue.created", "issue.resolved"]
    assert {each for _, each, _ in await yard.told()} == set(changed)


async def test_a_look_reads_a_few_pages_and_after_a_gap_as_many_as_reach_back_to_the_one_before(quick_yard: Yard):
    quick_yard.add_issues(700)  # one a minute
    await quick_yard.look()
    assert quick_yard.sandbox.count("GET", "/issues/") == 8
    quick_yard.sandbox.requests.clear()
    await quick_yard.look()
    assert quick_yard.sandbox.count("GET", "/issues/") == 5
    quick_yard.sandbox.requests.clear()
    await quick_yard.pass_time(timedelta(minutes=530))  # and an hour for what arrives late
    await quick_yard.look()
    assert quick_yard.sandbox.count("GET", "/issues/") == 6


async def test_whoever_knows_of_a_gap_has_it_looked_at_at_once(yard: Yard):
    await yard.look()
    await yard.database.run_transaction(lambda session: repair_soon(session, [yard.linked.connection.id]))
    assert await yard.worker.claims.take() is not None


async def test_a_look_that_is_wanted_during_another_one_follows_it(yard: Yard):
    await yard.look()
    await yard.edit(next_at=now() - timedelta(seconds=1))
    claim = await yard.worker.claims.take()
    assert claim is not None
    await yard.database.run_transaction(lambda session: repair_soon(session, [yard.linked.connection.id]))
    await yard.worker.repairer._look(claim)
    assert yard.worker.seen[-1][0] == "compared"
    assert (await yard.repair()).next_at <= now()


# --- the budget ---


async def test_half_of_the_rate_limit_is_left_to_others(quick_yard: Yard):
    quick_yard.sandbox.limiter = type(quick_yard.sandbox.limiter)(
        quick_yard.sandbox.clock, limit=10, window=3600, concurrent=10, by_endpoint=False
    )
    await quick_yard.look()  # spends one of ten
    account = await quick_yard.bench.account(quick_yard.worker.replica, quick_yard.linked)
    while (state := quick_yard.worker.replica.client.rate_limit(account)) and (state.remaining or 0) >= 5:
        await quick_yard.bench.call(quick_yard.worker.replica, quick_yard.linked)
    asked = quick_yard.sandbox.count("GET", "/issues/")
    assert await quick_yard.look() == []
    assert quick_yard.worker.seen[-1][0] == "postponed"
    assert quick_yard.sandbox.count("GET", "/issues/") == asked
    repair = await quick_yard.repair()
    assert repair.failures == 0
    assert timedelta(seconds=10) < repair.next_at - now() < timedelta(minutes=1)


async def test_a_429_postpones_and_is_no_failure(quick_yard: Yard):
    await quick_yard.look()
    quick_yard.sandbox.faults.add(Throttle(path="/issues/"))
    await quick_yard.look()
    assert quick_yard.worker.seen[-1][0] == "postponed"
    assert (await quick_yard.repair()).failures == 0


async def test_failures_are_tried_again_later_each_time(quick_yard: Yard):
    await quick_yard.look()
    quick_yard.sandbox.faults.add(Fail(path="/issues/", status=500))
    waits = []
    for _ in range(5):
        await quick_yard.look()
        waits.append((await quick_yard.repair()).next_at - now())
    assert quick_yard.worker.seen[-1][0] == "failed"
    assert (await quick_yard.repair()).failures == 5
    assert waits[0] < waits[2] < waits[4] < timedelta(hours=1, minutes=20)
    quick_yard.sandbox.faults.clear()
    await quick_yard.look()
    assert (await quick_yard.repair()).failures == 0


async def test_an_answer_that_is_none_of_sentrys_is_a_failure_and_no_more(yard: Yard):
    await yard.look()
    issue = yard.issues[0]
    issue.status = "resolved\0"
    issue.substatus = "x" * 500
    yard.sandbox.world.changed()
    assert await yard.look_twice() == []
    assert yard.worker.seen[-1][0] == "compared"


# --- whose connections ---


async def test_a_connection_that_needs_reauth_is_left_alone_and_due_at_once_after_it(yard: Yard):
    await yard.look()

    async def set_status(status: ConnectionStatus) -> None:
        async def work(session):
            found = await session.merge(yard.linked.connection)
            found.status = status
            found.problem = None if status is ConnectionStatus.ACTIVE else ConnectionProblem.TOKEN_REVOKED

        await yard.database.run_transaction(work)

    await set_status(ConnectionStatus.NEEDS_REAUTH)
    await yard.pass_time(timedelta(days=1))
    yard.sandbox.requests.clear()
    await yard.worker.repairer.sweep()
    assert not yard.sandbox.requests
    await set_status(ConnectionStatus.ACTIVE)
    worker = yard.build_worker()
    await worker.repairer.sweep()
    assert [outcome for outcome, _ in worker.seen] == ["compared"]


class RefuseEverySecond(Fault, frozen=True, kw_only=True):
    """A 401 to every second call."""

    commits: bool = True
    played: list[bool] = msgspec.field(default_factory=list)

    async def play(self, wire: Wire) -> None:
        self.played.append(True)
        refusal = answer_json({"detail": "Token expired"}, 401)
        await wire.respond(refusal if len(self.played) % 2 else wire.true_answer())


async def test_one_refresh_is_all_that_a_look_asks_for(quick_yard: Yard):
    await quick_yard.look()
    quick_yard.add_issues(300)
    token = quick_yard.sandbox.grant_oauth(("org:read", "project:read", "event:read"))
    quick_yard.linked = await quick_yard.bench.link(
        token, CredentialKind.OAUTH_TOKEN, DEMO_OAUTH_CLIENT.client_id, organization=ORGANIZATION
    )
    quick_yard.sandbox.faults.add(RefuseEverySecond(path="/issues/"))
    quick_yard.sandbox.requests.clear()
    await quick_yard.look()
    assert quick_yard.bench.asked() == 1
    assert quick_yard.worker.seen[-1][0] == "failed"
    assert quick_yard.sandbox.count("GET", "/issues/") == 3


async def test_a_connection_without_the_right_to_read_events_fails_and_harms_nobody(quick_yard: Yard):
    await quick_yard.bench.link_pasted(DEMO_TOKENS.limited, organization=ORGANIZATION, expires_in=None)
    await quick_yard.worker.claims.enroll()
    await quick_yard.worker.repairer.sweep()
    assert sorted(outcome for outcome, _ in quick_yard.worker.seen) == ["failed", "took_stock"]


async def test_only_the_projects_of_the_connection_are_looked_at(quick_yard: Yard):
    project = quick_yard.organization.projects[0]

    async def limit(session):
        found = await session.merge(quick_yard.linked.connection)
        found.projects = [{"id": str(project.id), "slug": project.slug}]

    await quick_yard.database.run_transaction(limit)
    await quick_yard.look()
    found = set(await quick_yard.snapshots())
    assert found == {str(issue.id) for issue in quick_yard.issues if issue.project is project}


async def test_where_projects_cannot_be_listed_together_each_is_compared(quick_yard: Yard):
    quick_yard.organization.has_global_views = False
    quick_yard.sandbox.world.changed()
    await quick_yard.look()
    assert len(await quick_yard.snapshots()) == len(quick_yard.issues)
    await resolve(quick_yard)
    assert await quick_yard.look_twice() == ["issue.resolved"]


async def test_it_runs_by_itself_from_a_link_on(yard: Yard):
    async with yard.worker.repairer.running():
        await until(lambda: bool(yard.worker.seen))
    assert yard.worker.seen == [("took_stock", [])]
