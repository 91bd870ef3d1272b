"""Refreshing as a whole, against the stand-in Sentry over the wire: in every way that it fails no connection is lost
unseen."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.testing import capture_logs

from service.connections.cache import Linked
from service.connections.models import ConnectionProblem, ConnectionStatus
from service.connections.refresh_store import Claim
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.errors import NeedsReauth, StorageUnavailable, UpstreamUnauthorized, UpstreamUnavailable
from service.sandbox.app import Sandbox
from service.sandbox.faults import Delay, Fail, Fault, Reset
from service.sandbox.manner import Manner
from service.sandbox.structure import Barrier
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, DEMO_TOKENS
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from service.tenants.caller import Caller
from tests.canary import find_canary
from tests.connections.refreshable import Bench, Replica, clients_at, until
from tests.scale import scaled

ACTIVE, STOPPED = ConnectionStatus.ACTIVE, ConnectionStatus.NEEDS_REAUTH
GRANTS = "oauth/token/|authorizations/"
REFRESHED = ("connection.refresh", "succeeded", None)


@pytest.fixture
async def bench(database: Database, sandbox: Sandbox, vault: Vault, admin: Caller) -> AsyncIterator[Bench]:
    bench = Bench(database, sandbox, vault, admin, Origin.parse(sandbox.url))
    yield bench
    await bench.aclose()


@pytest.fixture
def replica(bench: Bench) -> Replica:
    return bench.replica()


def kill_token(bench: Bench, token: str) -> None:
    """Let an access token be dead, and its refresh token good."""
    bench.sandbox.expire(token)


# --- when ---


@pytest.mark.parametrize("kind", ["oauth", "app"])
@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_what_is_due_is_refreshed_ahead_of_its_end(bench: Bench, replica: Replica, kind: str, manner: Manner):
    bench.sandbox.manner = manner
    linked = await (bench.link_oauth() if kind == "oauth" else bench.link_app())
    await replica.refresher.sweep()
    assert bench.asked() == 0

    before = await bench.tokens(linked)
    await bench.pass_time(linked, 3600 * 0.86)
    await replica.refresher.sweep()
    assert await bench.version(linked) == 2
    assert await bench.works(linked)
    assert set(before).isdisjoint(await bench.tokens(linked))
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.audits(linked) == [REFRESHED]
    assert await bench.intents() == []

    asked = bench.asked()
    await replica.refresher.sweep()
    assert bench.asked() == asked
    expires = (await bench.read(linked.connection.id)).connection.expires_at
    assert expires is not None
    life = timedelta(days=30) if kind == "oauth" else timedelta(hours=8)
    assert abs(expires - linked.connection.created_at - life) < timedelta(seconds=30)


async def test_what_has_expired_is_refreshed_on_demand(bench: Bench, replica: Replica):
    linked = await bench.link_oauth(expires_in=59)
    assert await bench.call(replica, linked) == 200
    assert (await bench.version(linked), bench.asked()) == (2, 1)
    assert bench.sandbox.count("GET", "projects") == 1  # the old token was not even tried


async def test_what_sentry_refuses_is_refreshed_on_demand(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    kill_token(bench, (await bench.tokens(linked))[0])
    assert await bench.call(replica, linked) == 200
    assert (await bench.version(linked), bench.asked()) == (2, 1)
    assert await bench.works(linked)


async def test_a_read_that_waits_for_the_refresh_is_not_what_the_refresh_waits_for(bench: Bench, replica: Replica):
    """The same read as the one that tells why a refresh was refused."""
    linked = await bench.link_oauth()
    bench.sandbox.revoke((await bench.tokens(linked))[0])
    account = await bench.account(replica, linked)
    organization = ApiPath.of("organizations", linked.connection.organization_slug)
    async with asyncio.timeout(3):
        with pytest.raises(NeedsReauth):
            await replica.client.get(account, organization, [("detailed", "0")])
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.TOKEN_REVOKED)


# --- once ---


async def test_one_refresh_serves_all_who_ask_at_once(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    for round_ in range(3):
        kill_token(bench, (await bench.tokens(linked))[0])
        statuses = await asyncio.gather(*(bench.call(replica, linked, number) for number in range(50)))
        assert set(statuses) == {200}
        assert bench.asked() == round_ + 1


async def test_one_refresh_serves_replicas_that_share_nothing_but_the_database(bench: Bench):
    replicas = [bench.replica() for _ in range(3)]
    linked = await bench.link_oauth()
    for round_ in range(3):
        kill_token(bench, (await bench.tokens(linked))[0])
        calls = [bench.call(replica, linked, number) for replica in replicas for number in range(15)]
        assert set(await asyncio.gather(*calls)) == {200}
        assert bench.asked() == round_ + 1
    assert await bench.works(linked)


async def test_replicas_that_sweep_together_refresh_each_connection_once(bench: Bench):
    linked = [await bench.link_oauth() for _ in range(10)]
    for each in linked:
        await bench.pass_time(each, 3500)
    await asyncio.gather(*(bench.replica().refresher.sweep() for _ in range(3)))
    assert bench.asked() == len(linked)
    assert [await bench.version(each) for each in linked] == [2] * len(linked)


async def test_who_leaves_breaks_nothing_off_and_leaves_nothing_behind(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=0.03))
    tasks = len(asyncio.all_tasks())
    for round_ in range(scaled(test=20, soak=500)):
        kill_token(bench, (await bench.tokens(linked))[0])
        calls = [asyncio.create_task(bench.call(replica, linked, number)) for number in range(4)]
        for call in calls:
            await asyncio.sleep(random.random() * 0.02)
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await replica.refresher._renewals.drain()
        if await bench.version(linked) == round_ + 1:  # all had left before one was refused
            assert await bench.call(replica, linked) == 200
        assert (await bench.version(linked), bench.asked()) == (round_ + 2, round_ + 1)
        assert await bench.works(linked)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert replica.refresher._renewals._running == {}
    assert await bench.intents() == []


async def test_a_version_that_moved_meanwhile_is_used_and_not_refreshed(bench: Bench):
    one, two = bench.replica(), bench.replica()
    linked = await bench.link_oauth()
    account = await bench.account(one, linked)  # knows the first version
    rejected = await account.tokens.token()
    kill_token(bench, rejected.value)
    assert await bench.call(two, linked) == 200
    fresh = await account.tokens.fresh_token(rejected)
    assert (fresh.value, fresh.version) == ((await bench.tokens(linked))[0], 2)
    assert (await one.refresher.renew(linked)).credential == (await bench.read(linked.connection.id)).credential
    assert bench.asked() == 1


async def test_a_link_made_anew_while_refreshing_is_not_overwritten(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=0.3))
    refreshing = asyncio.create_task(replica.refresher.renew(linked))
    await until(lambda: bench.asked() == 1)
    store, connection = ConnectionStore(bench.database), linked.connection
    await store.unlink(bench.admin, connection.id)
    with pytest.raises(NeedsReauth):
        await refreshing
    assert await bench.status(linked) == (ConnectionStatus.UNLINKED, ConnectionProblem.UNLINKED)
    assert (await bench.read(connection.id)).credential is None


# --- what a holder that is gone has left ---


async def claim(replica: Replica, linked: Linked, holder: str) -> Claim:
    assert linked.credential is not None
    found = await replica.rows.claim(
        linked.connection.tenant_id, linked.connection.id, linked.credential.version, holder, is_scheduled=True
    )
    assert isinstance(found, Claim)
    return found


async def test_who_waits_for_a_dead_holder_goes_on_when_its_lease_is_over(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    await claim(bench.replica(lease_seconds=0.5), linked, "dead")
    kill_token(bench, (await bench.tokens(linked))[0])
    assert await bench.call(replica, linked) == 200
    assert (await bench.version(linked), bench.asked()) == (2, 1)


async def test_what_was_left_before_it_was_sent_is_refreshed_by_the_sweep(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    await claim(replica, linked, "dead")
    await replica.refresher.sweep()
    assert bench.asked() == 0  # its lease holds
    await bench.pass_time(linked, 16)
    await replica.refresher.sweep()
    assert (await bench.version(linked), bench.asked()) == (2, 1)
    assert await bench.status(linked) == (ACTIVE, None)


async def test_what_was_left_after_sentry_rotated_stops_with_an_event_after_one_try(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    await replica.client.aclose()
    found = await claim(replica, linked, "dead")
    await bench.replica().refresher._requests.renew(found)  # and is never stored
    await bench.pass_time(linked, 16)

    await bench.replica().refresher.sweep()
    assert bench.asked() == 2
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.REFRESH_LOST)
    assert await bench.events(linked) == [("connection.needs_reauth", "refresh_lost")]
    assert await bench.audits(linked) == [("connection.refresh", "failed", "refresh_lost")]
    assert bench.stopped == [linked.connection.id]

    await bench.pass_time(linked, 10**6)
    await bench.replica().refresher.sweep()
    assert bench.asked() == 2  # nothing is to be expected any more


async def test_an_app_that_was_left_after_sentry_rotated_recovers(bench: Bench, replica: Replica):
    linked = await bench.link_app()
    found = await claim(replica, linked, "dead")
    await replica.refresher._requests.renew(found)  # and is never stored
    await bench.pass_time(linked, 16)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)
    assert await bench.events(linked) == []


async def test_on_sqlite_a_new_process_does_not_wait_for_the_dead_ones_lease(
    sqlite_url: str, sandbox: Sandbox, vault: Vault
):
    from tests.connections.factory import add_tenant  # noqa: PLC0415

    database = Database(sqlite_url)
    bench = Bench(database, sandbox, vault, await add_tenant(database, "ten_1"), Origin.parse(sandbox.url))
    linked = await bench.link_oauth()
    await claim(bench.replica(lease_seconds=3600), linked, "dead")
    async with bench.replica().refresher.running():
        await until(lambda: bench.asked() == 1)
    assert await bench.version(linked) == 2
    await bench.aclose()
    await database.dispose()


# --- lost and failed answers ---


LOST: list[Fault] = [
    Reset(path=GRANTS, times=1, commits=True),
    Fail(path=GRANTS, times=1, commits=True, status=500),
    Fail(path=GRANTS, times=1, commits=True, status=502),
    Delay(path=GRANTS, times=1, seconds=4),
]


@pytest.mark.parametrize("fault", LOST, ids=["reset", "500", "502", "too late"])
async def test_an_answer_lost_after_rotation_stops_an_oauth_link_with_an_event(bench: Bench, fault: Fault):
    replica = bench.replica(deadline=1.5)
    linked = await bench.link_oauth()
    kill_token(bench, (await bench.tokens(linked))[0])
    bench.sandbox.faults.add(fault)
    with pytest.raises(UpstreamUnavailable):
        await bench.call(replica, linked)
    await replica.refresher._renewals.drain()
    assert await bench.status(linked) == (ACTIVE, ConnectionProblem.SENTRY_UNAVAILABLE)
    assert len(await bench.intents()) == 1

    await bench.pass_time(linked, 5)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.REFRESH_LOST)
    assert await bench.events(linked) == [("connection.needs_reauth", "refresh_lost")]
    assert await bench.audits(linked) == [
        ("connection.refresh", "failed", "sentry_unavailable"),
        ("connection.refresh", "failed", "refresh_lost"),
    ]
    assert bench.asked() == 2
    with pytest.raises(NeedsReauth, match="never arrived"):
        await bench.call(replica, linked)


@pytest.mark.parametrize("fault", LOST, ids=["reset", "500", "502", "too late"])
async def test_an_answer_lost_after_rotation_costs_an_app_nothing(bench: Bench, fault: Fault):
    replica = bench.replica(deadline=1.5)
    linked = await bench.link_app()
    kill_token(bench, (await bench.tokens(linked))[0])
    bench.sandbox.faults.add(fault)
    with pytest.raises(UpstreamUnavailable):
        await bench.call(replica, linked)
    await replica.refresher._renewals.drain()
    await bench.pass_time(linked, 5)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)
    assert await bench.events(linked) == []
    assert await bench.call(replica, linked) == 200


@pytest.mark.parametrize("kind", ["oauth", "app"])
async def test_a_failure_without_rotation_is_tried_again_until_it_succeeds(bench: Bench, replica: Replica, kind: str):
    linked = await (bench.link_oauth() if kind == "oauth" else bench.link_app())
    kill_token(bench, (await bench.tokens(linked))[0])
    bench.sandbox.faults.add(Fail(path=GRANTS, times=3, status=500))
    with pytest.raises(UpstreamUnavailable):
        await bench.call(replica, linked)
    with pytest.raises(UpstreamUnavailable):  # and at once, without asking Sentry
        await bench.call(replica, linked)
    assert bench.asked() == 1
    for _ in range(3):
        await bench.pass_time(linked, 20)
        await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)
    assert await bench.call(replica, linked) == 200
    assert await bench.events(linked) == []


async def test_a_throttled_refresh_is_tried_again(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    await bench.pass_time(linked, 3500)
    bench.sandbox.faults.add(Fail(path=GRANTS, status=429, headers={"retry-after": "1"}))
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, ConnectionProblem.SENTRY_UNAVAILABLE)
    bench.sandbox.faults.clear()
    await asyncio.sleep(1.1)
    await bench.pass_time(linked, 5)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)


# --- refused ---


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_what_was_revoked_stops_with_an_event(bench: Bench, replica: Replica, manner: Manner):
    bench.sandbox.manner = manner
    linked = await bench.link_oauth()
    bench.sandbox.revoke((await bench.tokens(linked))[0])
    with pytest.raises(NeedsReauth):
        await bench.call(replica, linked)
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.TOKEN_REVOKED)
    assert await bench.events(linked) == [("connection.needs_reauth", "token_revoked")]
    asked = bench.asked()
    for _ in range(3):
        with pytest.raises(NeedsReauth):
            await replica.refresher.renew(linked)  # as whoever was on the way with the old token
    assert bench.asked() == asked


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_an_app_that_was_uninstalled_stops_with_an_event(bench: Bench, replica: Replica, manner: Manner):
    bench.sandbox.manner = manner
    linked = await bench.link_app()
    assert linked.connection.installation_id is not None
    bench.sandbox.uninstall(linked.connection.installation_id)
    await bench.pass_time(linked, 3500)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.INSTALLATION_GONE)
    assert await bench.events(linked) == [("connection.needs_reauth", "installation_gone")]


async def test_an_app_whose_token_was_removed_does_not_stay_dead_unseen(bench: Bench, replica: Replica):
    """The newest Sentrys then answer each signature with 500, as if they were out of order."""
    linked = await bench.link_app()
    bench.sandbox.revoke((await bench.tokens(linked))[0])
    with pytest.raises(UpstreamUnavailable):
        await bench.call(replica, linked)
    waited = 0.0
    while (await bench.status(linked))[0] is ACTIVE and waited < 60:
        waited += 5
        await bench.pass_time(linked, 5)
        await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.INSTALLATION_GONE)
    assert await bench.events(linked) == [("connection.needs_reauth", "installation_gone")]


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_an_application_that_is_switched_off_stops_links_until_it_is_on_again(
    bench: Bench, replica: Replica, manner: Manner
):
    bench.sandbox.manner = manner
    linked = await bench.link_oauth()
    bench.sandbox.disable_client(DEMO_OAUTH_CLIENT.client_id)
    with pytest.raises(NeedsReauth):
        await bench.call(replica, linked)
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.APPLICATION_DISABLED)
    # It is off for so long that the access token ends.
    kill_token(bench, (await bench.tokens(linked))[0])
    await bench.pass_time(linked, 3700)
    await replica.refresher.sweep()
    if manner == "latest":
        assert await bench.status(linked) == (STOPPED, ConnectionProblem.APPLICATION_DISABLED)

    application = bench.sandbox.world.find_oauth_application(DEMO_OAUTH_CLIENT.client_id)
    assert application is not None
    application.is_active = True
    await bench.pass_time(linked, 3700)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)
    assert [event for event, _ in await bench.events(linked)] == ["connection.needs_reauth", "connection.recovered"]


async def test_an_inactive_user_stops_a_link_though_sentry_goes_on_refreshing(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    bench.sandbox.deactivate_user(bench.sandbox.world.users[0].email)
    with pytest.raises(NeedsReauth, match="deactivated"):
        await bench.call(replica, linked)
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.USER_INACTIVE)
    assert await bench.events(linked) == [("connection.needs_reauth", "user_inactive")]
    assert bench.asked() == 1
    assert await bench.works(linked)  # nothing was lost by it

    bench.sandbox.world.users[0].is_active = True
    await bench.pass_time(linked, 3700)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert (await bench.events(linked))[1:] == [("connection.recovered", "user_inactive")]


@pytest.mark.parametrize(
    ("barrier", "problem"),
    [
        ("sso-required", ConnectionProblem.SSO_REQUIRED),
        ("2fa-required", ConnectionProblem.TWO_FACTOR_REQUIRED),
        ("member-disabled-over-limit", ConnectionProblem.USER_INACTIVE),
    ],
)
@pytest.mark.parametrize("is_refreshable", [True, False])
async def test_what_an_organization_asks_of_its_people_stops_a_link_until_it_is_done(
    bench: Bench, replica: Replica, barrier: Barrier, problem: ConnectionProblem, is_refreshable: bool
):
    linked = await (bench.link_oauth() if is_refreshable else bench.link_pasted(DEMO_TOKENS.admin))
    bench.sandbox.raise_barrier("lumen-labs", barrier)
    assert await bench.call(replica, linked) == 401
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)  # seen once
    await bench.pass_time(linked, 11)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, problem)
    assert await bench.events(linked) == [("connection.needs_reauth", problem.value)]
    for _ in range(2):
        await bench.pass_time(linked, 3700)
        await replica.refresher.sweep()
        assert await bench.status(linked) == (STOPPED, problem)

    bench.sandbox.raise_barrier("lumen-labs", None)
    await bench.pass_time(linked, 3700)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert (await bench.events(linked))[1:] == [("connection.recovered", problem.value)]
    assert await bench.call(replica, linked) == 200


async def test_an_organization_that_is_gone_stops_its_link(bench: Bench, replica: Replica):
    linked = await bench.link_oauth()
    bench.sandbox.remove_organization("lumen-labs")
    await bench.pass_time(linked, 3500)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)  # a 404 may be a mistake on the way
    await bench.pass_time(linked, 11)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.ORGANIZATION_GONE)
    assert await bench.events(linked) == [("connection.needs_reauth", "organization_gone")]


@pytest.mark.parametrize("kind", ["oauth", "app"])
async def test_a_wrong_client_secret_stops_nothing_and_heals_when_it_is_right(bench: Bench, kind: str):
    linked = await (bench.link_oauth() if kind == "oauth" else bench.link_app())
    wrong, right = bench.replica(clients=clients_at(bench.origin, secret="ff" * 32)), bench.replica()
    kill_token(bench, (await bench.tokens(linked))[0])
    with pytest.raises(UpstreamUnauthorized):
        await wrong.refresher.renew(linked)
    assert await bench.status(linked) == (ACTIVE, ConnectionProblem.CLIENT_REFUSED)
    assert await bench.events(linked) == []
    assert await bench.intents() == []
    await bench.pass_time(linked, 301)
    await right.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)


async def test_a_client_that_is_not_configured_any_more_stops_nothing(bench: Bench):
    linked = await bench.link_oauth()
    replica = bench.replica(clients=clients_at(Origin.parse("https://sentry.io")))
    await bench.pass_time(linked, 3500)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, ConnectionProblem.CLIENT_REFUSED)
    assert bench.asked() == 0


async def test_a_spurious_refusal_after_a_lost_answer_does_not_cost_an_app_its_link(bench: Bench, replica: Replica):
    """The lost answer ended the refresh token: that it is refused then says nothing of the installation."""
    linked = await bench.link_app()
    kill_token(bench, (await bench.tokens(linked))[0])
    bench.sandbox.faults.add(Reset(path=GRANTS, times=1, commits=True))
    with pytest.raises(UpstreamUnavailable):
        await bench.call(replica, linked)
    bench.sandbox.faults.add(Fail(path=GRANTS, times=1, status=401))
    await bench.pass_time(linked, 5)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, ConnectionProblem.CLIENT_REFUSED)
    await bench.pass_time(linked, 301)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)


# --- clocks ---


@pytest.mark.parametrize("skew", [-600.0, 600.0])
@pytest.mark.parametrize("kind", ["oauth", "app"])
async def test_a_sentry_whose_clock_differs_changes_nothing(bench: Bench, replica: Replica, kind: str, skew: float):
    bench.sandbox.skew = skew
    linked = await (bench.link_oauth() if kind == "oauth" else bench.link_app())
    await bench.pass_time(linked, 3500)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.version(linked) == 2
    assert await bench.works(linked)
    if kind == "app":
        assert bench.sandbox.world.issued["installation jwt-bearer"] == 1  # refused at first, which told the time
    found = (await bench.read(linked.connection.id)).connection.expires_at
    assert found is not None
    life = timedelta(days=30) if kind == "oauth" else timedelta(hours=8)
    assert abs(found - linked.connection.created_at - life) < timedelta(seconds=30)
    # Whichever way, the end is reckoned right, or Sentry's refusal tells of it.
    kill_token(bench, (await bench.tokens(linked))[0])
    assert await bench.call(replica, linked) == 200


class JudgingDatabase(Database):
    """Whose clock is so much ahead of this machine's."""

    ahead = 0.0

    async def read_clock(self, session: AsyncSession) -> datetime:
        return await super().read_clock(session) + timedelta(seconds=self.ahead)


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
async def test_among_replicas_whose_clocks_are_wrong_the_databases_is_the_judge(
    bench: Bench, database_url: str, ahead: float
):
    database = JudgingDatabase(database_url)
    database.ahead = ahead
    one, two = bench.replica(database=database), bench.replica(database=database)
    linked = await bench.link_oauth()
    await claim(one, linked, "first")
    kill_token(bench, (await bench.tokens(linked))[0])
    waiting = asyncio.create_task(bench.call(two, linked))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert bench.asked() == 0  # the first one's lease holds, by the one clock that both read
    await bench.pass_time(linked, 16)
    assert await waiting == 200
    assert (await bench.version(linked), bench.asked()) == (2, 1)
    await asyncio.gather(one.refresher.sweep(), two.refresher.sweep())
    assert bench.asked() == 1
    await database.dispose()


# --- two holders ---


async def test_of_two_holders_the_first_to_store_wins_and_no_token_is_lost(bench: Bench):
    """A refresh slower than its lease, as when a process stands still: Sentry is asked twice, once in vain."""
    slow, quick = bench.replica(), bench.replica()
    linked = await bench.link_oauth()
    first = await claim(slow, linked, "slow")
    grant = await slow.refresher._requests.renew(first)
    await bench.pass_time(linked, 16)

    # The other one finds the refresh token spent, and rightly says so.
    await quick.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.REFRESH_LOST)

    # The slow one comes back with the tokens.
    def seal(connection, clock):
        return slow.refresher._seal(first, connection, grant, clock)

    stored = await slow.rows.complete(first, seal, [])
    assert stored is not None
    confirmed = await slow.refresher._confirm(stored)
    assert confirmed is not None
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.works(linked)
    assert [event for event, _ in await bench.events(linked)] == ["connection.needs_reauth", "connection.recovered"]
    assert bench.asked() == 2


async def test_a_holder_that_wakes_late_concludes_nothing(bench: Bench):
    late, present = bench.replica(), bench.replica()
    linked = await bench.link_oauth()
    first = await claim(late, linked, "late")
    await bench.pass_time(linked, 16)
    second = await claim(present, await bench.read(linked.connection.id), "present")
    assert second.is_recovery
    grant = await present.refresher._requests.renew(second)

    # Before the other one has stored its tokens, the late one asks with the old ones.
    waiting = asyncio.create_task(late.refresher._refresh(first))
    await until(lambda: bench.asked() == 2)
    await asyncio.wait([waiting], timeout=5)
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.events(linked) == []

    stored = await present.rows.complete(
        second, lambda connection, clock: present.refresher._seal(second, connection, grant, clock), []
    )
    assert stored is not None
    assert await bench.works(linked)
    assert (await late.refresher.renew(linked)).credential == stored.credential


async def test_a_slow_sentry_is_given_up_before_the_lease_is_over(bench: Bench):
    replica = bench.replica(lease_seconds=4, deadline=30)
    linked = await bench.link_oauth()
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=6))
    async with asyncio.timeout(4):
        with pytest.raises(UpstreamUnavailable):
            await replica.refresher.renew(linked)
    (intent,) = await bench.intents()
    assert intent.version == 1
    bench.sandbox.faults.clear()


# --- the database ---


class FailingDatabase(Database):
    """Away for so many transactions, from the next on."""

    failures = 0

    async def run_transaction(self, work):
        if self.failures > 0:
            self.failures -= 1
            raise StorageUnavailable("The database cannot be reached.")
        return await super().run_transaction(work)


async def test_a_database_that_is_away_while_storing_costs_nothing(bench: Bench, database_url: str):
    database = FailingDatabase(database_url)
    replica = bench.replica(database=database)
    linked = await bench.link_oauth()
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=0.2))
    renewing = asyncio.create_task(replica.refresher.renew(linked))
    await until(lambda: bench.asked() == 1)
    database.failures = 3
    assert (await renewing).connection.status is ACTIVE
    assert database.failures == 0
    assert (await bench.version(linked), bench.asked()) == (2, 1)
    assert await bench.works(linked)
    await database.dispose()


async def test_a_process_that_ends_finishes_what_it_began(bench: Bench):
    replica = bench.replica()
    linked = await bench.link_oauth()
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=0.3))
    async with replica.refresher.running():
        calling = asyncio.create_task(replica.refresher.renew(linked))
        await until(lambda: bench.asked() == 1)
        calling.cancel()
    assert await bench.version(linked) == 2
    assert await bench.works(linked)
    with contextlib.suppress(asyncio.CancelledError):
        await calling


# --- neighbours ---


async def test_a_sentry_that_hangs_does_not_keep_the_others(bench: Bench):
    replica = bench.replica()
    hanging = [await bench.link_app(), *[await bench.link_oauth() for _ in range(20)]]
    bench.sandbox.faults.add(Delay(path=GRANTS, seconds=3))
    for each in hanging:
        await bench.pass_time(each, 3500)
    async with replica.refresher.running():
        await until(lambda: bench.asked() >= 8)
        began = asyncio.get_running_loop().time()
        await replica.refresher._begin_sweep()
        assert asyncio.get_running_loop().time() - began < 1
        assert bench.asked() <= 8  # a few of each Sentry at a time
        bench.sandbox.faults.clear()


# --- pasted tokens ---


async def test_one_refusal_stops_no_pasted_token_and_two_looks_do(bench: Bench, replica: Replica):
    linked = await bench.link_pasted(DEMO_TOKENS.admin, expires_in=None)
    token = bench.sandbox.world.tokens.pop(DEMO_TOKENS.admin)
    bench.sandbox.world.changed()
    for number in range(20):
        assert await bench.call(replica, linked, number) == 401
    assert await bench.status(linked) == (ACTIVE, None)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)

    # It was a mistake: nothing comes of it.
    bench.sandbox.world.tokens[DEMO_TOKENS.admin] = token
    await bench.pass_time(linked, 11)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.events(linked) == []

    del bench.sandbox.world.tokens[DEMO_TOKENS.admin]
    await bench.make_due(linked)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)  # not before its time
    await bench.pass_time(linked, 11)
    await replica.refresher.sweep()
    assert await bench.status(linked) == (STOPPED, ConnectionProblem.TOKEN_REVOKED)
    assert await bench.events(linked) == [("connection.needs_reauth", "token_revoked")]
    assert bench.asked() == 0


async def test_a_refusal_in_words_that_sentry_does_not_use_stops_nothing(bench: Bench, replica: Replica):
    linked = await bench.link_pasted(DEMO_TOKENS.admin, expires_in=None)
    bench.sandbox.faults.add(Fail(status=401))  # as a proxy before it may answer
    for _ in range(5):
        await bench.make_due(linked)
        await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)
    assert await bench.events(linked) == []


async def test_a_sentry_that_is_down_says_nothing_of_a_pasted_token(bench: Bench, replica: Replica):
    linked = await bench.link_pasted(DEMO_TOKENS.admin, expires_in=None)
    bench.sandbox.faults.add(Fail(status=503))
    for _ in range(5):
        await bench.make_due(linked)
        await replica.refresher.sweep()
    assert await bench.status(linked) == (ACTIVE, None)


# --- secrets ---


@pytest.mark.parametrize("kind", ["oauth", "app"])
async def test_nothing_of_it_says_a_secret(bench: Bench, replica: Replica, kind: str):
    secrets = [DEMO_OAUTH_CLIENT.client_secret, DEMO_APP.client_secret]
    linked = await (bench.link_oauth() if kind == "oauth" else bench.link_app())
    said: list[object] = [replica.refresher, linked]
    with capture_logs() as lines:
        for fault in (None, Fail(path=GRANTS, status=500, times=1), Reset(path=GRANTS, times=1, commits=True)):
            secrets += [found for found in await bench.tokens(linked) if found]
            await bench.pass_time(linked, 30 * 86400)
            if fault is not None:
                bench.sandbox.faults.add(fault)
            try:
                said.append(await replica.refresher.renew(await bench.read(linked.connection.id)))
            except (UpstreamUnavailable, NeedsReauth) as error:
                said += [error, error.extensions(), error.cure]
        await bench.pass_time(linked, 20)
        await replica.refresher.sweep()
    secrets += [found for found in await bench.tokens(linked) if found]
    said += lines
    said += [await bench.events(linked), await bench.audits(linked)]
    assert lines
    text = "\n".join(map(repr, said)).encode()
    assert [find_canary(secret, text) for secret in secrets] == [[]] * len(secrets)
