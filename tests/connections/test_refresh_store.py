"""The rows of refreshing by themselves: who may, who waits, and who comes too late."""

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import update
from sqlmodel import col, select

from service.columns import now
from service.connections.cache import Linked
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialRecord
from service.connections.refresh_rules import Failure
from service.connections.refresh_store import Busy, Claim, RefreshStore
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_refresh_token, bind_token
from service.db import Database
from service.sandbox.app import Sandbox
from service.sentry.origin import Origin
from service.tenants.caller import Caller
from tests.connections.refreshable import Bench

AGAIN = Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=True)
UNKNOWN = Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=False)
GONE = Failure(ConnectionProblem.TOKEN_REVOKED, is_over=True)


@pytest.fixture
async def bench(database: Database, sandbox: Sandbox, vault: Vault, admin: Caller) -> AsyncIterator[Bench]:
    bench = Bench(database, sandbox, vault, admin, Origin.parse(sandbox.url))
    yield bench
    await bench.aclose()


@pytest.fixture
def rows(bench: Bench) -> RefreshStore:
    return bench.replica().rows


async def claim(
    rows: RefreshStore, linked: Linked, holder: str = "one", *, version: int = 1, is_scheduled: bool = True
):
    connection = linked.connection
    return await rows.claim(connection.tenant_id, connection.id, version, holder, is_scheduled=is_scheduled)


def sealer(vault: Vault, token: str, expires_in: float = 3600):
    def seal(connection: ConnectionRecord, clock: datetime) -> SealedToken:
        return SealedToken(
            vault.seal(token.encode(), binding=bind_token(connection)),
            vault.fingerprint(token),
            client_id="client",
            refresh=vault.seal(token[::-1].encode(), binding=bind_refresh_token(connection)),
            expires_at=clock + timedelta(seconds=expires_in),
        )

    return seal


async def test_one_claims_and_the_others_wait(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    found = await asyncio.gather(*(claim(rows, linked, f"holder {number}") for number in range(10)))
    (won,) = [each for each in found if isinstance(each, Claim)]
    assert not won.is_recovery
    busy = [each for each in found if isinstance(each, Busy)]
    assert len(busy) == 9
    assert all(5 < each.seconds <= 15 and each.problem is None for each in busy)
    (intent,) = await bench.intents()
    assert (intent.holder, intent.version) == (won.holder, 1)


async def test_a_lease_that_is_over_is_taken_and_known_for_a_recovery(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    await claim(rows, linked, "dead")
    await bench.pass_time(linked, 15.1)
    found = await claim(rows, linked, "next")
    assert isinstance(found, Claim)
    assert found.is_recovery
    assert isinstance(await claim(rows, linked, "third"), Busy)


async def test_another_version_or_none_is_what_is_stored(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    found = await claim(rows, linked, version=7)
    assert isinstance(found, Linked)
    assert found == linked
    assert await bench.intents() == []
    await ConnectionStore(bench.database).unlink(bench.admin, linked.connection.id)
    found = await claim(rows, linked)
    assert isinstance(found, Linked)
    assert found.credential is None
    assert await rows.claim("ten_2", linked.connection.id, 1, "one", is_scheduled=True) is None
    assert await rows.claim("ten_1", "con_0", 1, "one", is_scheduled=True) is None


async def test_a_claim_that_waited_for_the_row_sees_what_was_stored_meanwhile(bench: Bench, rows: RefreshStore):
    """A join that waits for one of its rows reads the other as it was before: a second refresh would follow."""
    linked = await bench.link_oauth()

    async with bench.database.session() as session:
        if bench.database.dialect == "sqlite":
            await (await session.connection()).exec_driver_sql("BEGIN IMMEDIATE")
        mine = ConnectionRecord.id == linked.connection.id
        await session.exec(select(ConnectionRecord.id).where(mine).with_for_update())
        waiting = asyncio.create_task(claim(rows, linked))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        own = col(CredentialRecord.connection_id) == linked.connection.id
        await session.exec(update(CredentialRecord).where(own).values(version=2))
        await session.commit()
    found = await waiting
    assert isinstance(found, Linked)
    assert found.credential is not None
    assert found.credential.version == 2


async def test_what_is_completed_is_the_next_version_without_an_intent(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    won = await claim(rows, linked)
    stored = await rows.complete(won, sealer(bench.vault, "fresh-token"), ["org:read"])
    assert stored is not None
    assert stored == await bench.read(linked.connection.id)
    assert await bench.tokens(linked) == ("fresh-token", "nekot-hserf")
    assert (await bench.version(linked), stored.connection.scopes) == (2, ["org:read"])
    assert await bench.intents() == []
    assert stored.credential is not None
    assert stored.credential.refresh_after is not None
    life = stored.credential.refresh_after - now()
    assert timedelta(seconds=3600 * 0.69) < life < timedelta(seconds=3600 * 0.86)
    # Repeated, as after a commit whose answer was lost, it changes nothing.
    assert await rows.complete(won, sealer(bench.vault, "another"), []) == stored
    assert await bench.audits(linked) == [("connection.refresh", "succeeded", None)]


async def reseal(url: str, connection_id: str) -> None:
    connection = await asyncpg.connect(url)  # type: ignore[no-untyped-call]  # asyncpg has no types
    try:
        await connection.execute("SET lock_timeout = '200ms'")
        await connection.execute("UPDATE credentials SET key_id = 'key_new' WHERE connection_id = $1", connection_id)
    finally:
        await connection.close()


@pytest.mark.parametrize("database_url", ["postgres_url"], indirect=True)
async def test_nothing_is_sealed_anew_between_being_read_and_being_stored(
    bench: Bench, rows: RefreshStore, database_url: str
):
    """The row would keep the id of the key that sealed the old token anew, beside a new token sealed by another."""
    linked = await bench.link_oauth()
    refused: list[BaseException | None] = []

    def seal(connection: ConnectionRecord, clock: datetime) -> SealedToken:
        with ThreadPoolExecutor() as pool:  # another process, while this one is amid its transaction
            refused.append(pool.submit(asyncio.run, reseal(database_url, connection.id)).exception())
        sealed: SealedToken = sealer(bench.vault, "fresh-token")(connection, clock)
        return sealed

    await rows.complete(await claim(rows, linked), seal, [])
    assert [type(error) for error in refused] == [asyncpg.exceptions.LockNotAvailableError]
    assert (await bench.tokens(linked))[0] == "fresh-token"


async def test_scopes_that_sentry_does_not_name_stay(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    stored = await rows.complete(await claim(rows, linked), sealer(bench.vault, "fresh-token"), [])
    assert stored is not None
    assert stored.connection.scopes == linked.connection.scopes


async def test_of_two_who_complete_the_first_is_stored(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    first = await claim(rows, linked, "first")
    await bench.pass_time(linked, 16)
    second = await claim(rows, linked, "second")
    order = [(first, "of-the-first"), (second, "of-the-second")]
    random.shuffle(order)
    for won, token in order:
        await rows.complete(won, sealer(bench.vault, token), [])
    assert (await bench.tokens(linked))[0] == order[0][1]
    assert await bench.version(linked) == 2


async def test_a_failure_that_is_over_leaves_nothing_and_one_that_is_not_leaves_the_intent(
    bench: Bench, rows: RefreshStore
):
    linked = await bench.link_oauth()
    await rows.fail(await claim(rows, linked), AGAIN)
    assert await bench.intents() == []
    await bench.pass_time(linked, 5)
    await rows.fail(await claim(rows, linked), UNKNOWN)
    (intent,) = await bench.intents()
    assert intent.lease_until - now() < timedelta(seconds=8)  # it is tried again as soon as after any failure
    await bench.pass_time(linked, 8)
    recovering = await claim(rows, linked)
    assert isinstance(recovering, Claim)
    assert recovering.is_recovery
    # A failure that says nothing new does not make the old doubt go away.
    await rows.fail(recovering, AGAIN)
    await bench.pass_time(linked, 20)
    again = await claim(rows, linked)
    assert isinstance(again, Claim)
    assert again.is_recovery


async def test_after_a_failure_only_what_is_scheduled_goes_on(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    await rows.fail(await claim(rows, linked), Failure(ConnectionProblem.CLIENT_REFUSED, is_over=True))
    found = await claim(rows, linked, is_scheduled=False)
    assert isinstance(found, Busy)
    assert 290 < found.seconds <= 300
    assert found.problem is ConnectionProblem.CLIENT_REFUSED
    assert isinstance(await claim(rows, linked), Claim)


async def test_what_is_stopped_is_claimed_by_nobody_who_happens_to_ask(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    await rows.fail(await claim(rows, linked), GONE)
    found = await claim(rows, linked, is_scheduled=False)
    assert isinstance(found, Linked)
    assert found.connection.status is ConnectionStatus.NEEDS_REAUTH
    assert await bench.intents() == []


async def test_whose_lease_was_taken_concludes_nothing(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    late = await claim(rows, linked, "late")
    await bench.pass_time(linked, 16)
    present = await claim(rows, linked, "present")
    found = await rows.fail(late, GONE)
    assert isinstance(found, Busy)
    assert 5 < found.seconds <= 15
    assert await bench.status(linked) == (ConnectionStatus.ACTIVE, None)
    assert (await bench.events(linked), await bench.audits(linked)) == ([], [])

    await rows.fail(present, AGAIN)
    assert isinstance(await rows.fail(late, GONE), Busy)
    assert await bench.status(linked) == (ConnectionStatus.ACTIVE, ConnectionProblem.SENTRY_UNAVAILABLE)
    await rows.complete(late, sealer(bench.vault, "late-token"), [])  # tokens are taken whoever brings them
    assert await bench.status(linked) == (ConnectionStatus.ACTIVE, None)


async def test_a_stopped_connection_gets_one_event_and_one_link_session(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    off = Failure(ConnectionProblem.APPLICATION_DISABLED, is_over=True)
    for _ in range(3):
        await rows.fail(await claim(rows, linked), off)
    assert await bench.events(linked) == [("connection.needs_reauth", "application_disabled")]
    assert bench.stopped == [linked.connection.id]
    assert await bench.audits(linked) == [("connection.refresh", "failed", "application_disabled")]


async def test_due_is_what_is_to_be_looked_at_and_what_was_left_and_not_what_is_held(bench: Bench, rows: RefreshStore):
    fresh, ripe, young, held, left = [await bench.link_oauth() for _ in range(5)]
    await bench.pass_time(ripe, 3500)
    await bench.make_due(young)
    await bench.pass_time(held, 3500)
    await claim(rows, held)
    await claim(rows, left)
    await bench.pass_time(left, 16)
    found = {due.linked.connection.id: due.is_ripe for due in await rows.due(10)}
    assert found == {ripe.connection.id: True, young.connection.id: False, left.connection.id: True}
    assert len(await rows.due(2)) == 2
    assert fresh.connection.id not in found


async def test_of_replicas_one_looks(bench: Bench, rows: RefreshStore):
    linked = await bench.make_due(await bench.link_oauth())
    assert sorted(await asyncio.gather(*(rows.claim_look(linked, 60) for _ in range(5)))) == [False] * 4 + [True]


async def test_a_look_is_scheduled_for_the_version_that_was_refused(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    tenant_id, connection_id = linked.connection.tenant_id, linked.connection.id
    await rows.schedule_look(tenant_id, connection_id, 2)
    await rows.schedule_look("ten_2", connection_id, 1)
    assert await rows.due(10) == []
    await rows.schedule_look(tenant_id, connection_id, 1)
    (due,) = await rows.due(10)
    assert not due.is_ripe


async def test_a_look_does_not_cut_the_wait_after_a_failure_short(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    await rows.fail(await claim(rows, linked), Failure(ConnectionProblem.CLIENT_REFUSED, is_over=True))
    await rows.schedule_look(linked.connection.tenant_id, linked.connection.id, 1)
    assert await rows.due(10) == []


async def test_leases_end_with_the_process_on_sqlite_and_only_there(bench: Bench, rows: RefreshStore):
    linked = await bench.link_oauth()
    await claim(rows, linked)
    await rows.end_leases()
    assert isinstance(await claim(rows, linked), Claim if bench.database.dialect == "sqlite" else Busy)
