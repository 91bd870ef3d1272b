import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from service.columns import now
from service.connections.clients import Clients
from service.connections.link_models import LinkAttemptRecord, LinkMethod, LinkSessionRecord, LinkSessionStatus
from service.connections.models import ConnectionRecord
from service.db import Database
from service.errors import BadInput, Conflict, Forbidden, LinkPageUnavailable, NotFound
from service.journal import Journal
from service.link.rules import LinkSessionRequest
from service.link.sessions import LinkSessions
from service.sentry.egress import EgressPolicy
from service.sentry.profiles import Profile
from service.tenants.caller import Caller, Role
from tests.connections.factory import add_connection, add_tenant

PUBLIC_URL = "https://graph.example/base"


@pytest.fixture
def sessions(database, keyring) -> LinkSessions:
    return LinkSessions(database, keyring, public_url=PUBLIC_URL, clients=Clients(), policy=EgressPolicy())


async def change(database: Database, session_id: str, **columns: Any) -> None:
    async def work(session):
        record = await session.get(LinkSessionRecord, session_id)
        for name, value in columns.items():
            setattr(record, name, value)

    await database.run_transaction(work)


async def audited(database: Database) -> list[tuple[str, str]]:
    entries = await Journal(database).page_audit("ten_1", limit=99)
    return [(entry.action, entry.actor) for entry in entries if entry.action.startswith("link_session.")][::-1]


async def test_a_session_is_stored_as_asked(sessions, admin, database):
    made = await sessions.create(
        admin,
        LinkSessionRequest(
            external_id="cust",
            customer_id="c",
            name="Contoso",
            redirect_uri="https://app.example/done?x=1",
            methods=[LinkMethod.TOKEN],
            profile=Profile.TRIAGE,
            origin="https://sentry.io/",
            organization="acme",
            projects=["web", "api"],
            expires_in=timedelta(hours=1),
        ),
    )
    found = await sessions.get(admin, made.id)
    assert found == made
    assert (found.status, found.origin) == (LinkSessionStatus.CREATED, "https://sentry.io")
    assert found.projects == ["web", "api"]
    assert found.allowed_origins == ["https://app.example"]
    assert found.expires_at - found.created_at == timedelta(hours=1)
    assert not found.is_narrowed
    assert await audited(database) == [("link_session.create", "test")]


async def test_the_address_can_be_shown_again_and_is_not_in_the_database(sessions, admin, database, keyring):
    made = await sessions.create(admin, LinkSessionRequest())
    url = sessions.url(made)
    token = url.removeprefix(f"{PUBLIC_URL}/link/start/")
    assert len(token) == 43
    assert made.token_hash == hashlib.sha256(token.encode()).digest()
    again = LinkSessions(database, keyring, public_url=PUBLIC_URL, clients=Clients(), policy=EgressPolicy())
    assert again.url(await again.get(admin, made.id)) == url
    assert token not in repr(await Journal(database).page_audit("ten_1", limit=9))
    other = await sessions.create(admin, LinkSessionRequest())
    assert sessions.url(other) != url


async def test_who_may_not_make_a_session_makes_none(sessions, admin, database, store, vault):
    connection = await add_connection(store, vault, admin, "cust")
    narrowed = replace(admin, connection_ids=frozenset({connection.id}))
    for caller, external_id, error in (
        (replace(admin, role=Role.WRITE), "cust", Forbidden),
        (narrowed, None, Forbidden),
        (narrowed, "other", NotFound),
        (replace(admin, external_ids=frozenset({"gone"})), "gone", NotFound),
        (admin, "con_" + "0" * 26, NotFound),
        (Caller("ten_0", Role.ADMIN, "test"), None, NotFound),
    ):
        with pytest.raises(error):
            await sessions.create(caller, LinkSessionRequest(external_id=external_id))
    assert await audited(database) == []
    assert (await sessions.create(narrowed, LinkSessionRequest(external_id="cust"))).is_narrowed


async def test_foreign_and_missing_sessions_look_alike(sessions, admin, stranger, store, vault):
    made = await sessions.create(admin, LinkSessionRequest(external_id="cust"))
    connection = await add_connection(store, vault, admin, "seen")
    seen = await sessions.create(admin, LinkSessionRequest(external_id="seen"))
    narrowed = replace(admin, connection_ids=frozenset({connection.id}))
    answers = set()
    for caller in (stranger, narrowed):
        for session_id in (made.id, "lks_0", "a\0b", "x" * 999):
            for act in (sessions.get, sessions.cancel):
                with pytest.raises(NotFound) as caught:
                    await act(caller, session_id)
                answers.add(str(caught.value.extensions()) + caught.value.message)
        assert await sessions.find_open(caller, "cust") is None
    assert len(answers) == 1
    assert (await sessions.get(narrowed, seen.id)).id == seen.id
    with pytest.raises(Forbidden):
        await sessions.get(replace(admin, role=Role.READ), made.id)


async def test_the_newest_open_session_is_found(sessions, admin, database):
    assert await sessions.find_open(admin, "cust") is None
    assert await sessions.find_open(admin, "\0") is None
    first = await sessions.create(admin, LinkSessionRequest(external_id="cust"))
    second = await sessions.create(admin, LinkSessionRequest(external_id="cust"))
    assert (await sessions.find_open(admin, "cust")).id == second.id
    await sessions.cancel(admin, second.id)
    assert (await sessions.find_open(admin, "cust")).id == first.id
    await change(database, first.id, expires_at=now())
    assert await sessions.find_open(admin, "cust") is None


async def test_a_session_is_cancelled_once(sessions, admin, database):
    made = await sessions.create(admin, LinkSessionRequest())
    await change(database, made.id, pending=b"x", pending_key_id="key_1")
    for _ in range(2):
        cancelled = await sessions.cancel(admin, made.id)
    assert (cancelled.status, cancelled.pending, cancelled.pending_key_id) == (LinkSessionStatus.CANCELED, None, None)
    assert await audited(database) == [("link_session.create", "test"), ("link_session.cancel", "test")]
    done = await sessions.create(admin, LinkSessionRequest())
    await change(database, done.id, status=LinkSessionStatus.COMPLETED)
    with pytest.raises(Conflict):
        await sessions.cancel(admin, done.id)


async def reauth(sessions: LinkSessions, database: Database, connection: ConnectionRecord) -> Any:
    return await database.run_transaction(lambda session: sessions.create_for_reauth(session, connection))


async def test_a_lost_connection_gets_a_session_like_its_last(sessions, admin, database, store, vault):
    connection = await add_connection(store, vault, admin, customer_id="c", profile=Profile.TRIAGE)
    last = await sessions.create(
        admin, LinkSessionRequest(name="Contoso", redirect_uri="https://app.example/x", methods=[LinkMethod.TOKEN])
    )
    await change(database, last.id, status=LinkSessionStatus.COMPLETED, connection_id=connection.id, completed_at=now())
    made = await reauth(sessions, database, connection)
    assert made.external_id == connection.external_id
    assert (made.redirect_uri, made.allowed_origins) == ("https://app.example/x", ["https://app.example"])
    assert (made.methods, made.profile, made.name) == (["token"], Profile.TRIAGE, "Contoso")
    assert (made.origin, made.customer_id, made.is_narrowed) == ("https://sentry.io", "c", True)
    assert sessions.url(made)
    assert (await reauth(sessions, database, connection)).id == made.id
    assert (await audited(database))[-1] == ("link_session.create", "service")
    assert [action for action, _ in await audited(database)] == ["link_session.create"] * 2


async def test_a_session_that_is_about_to_end_is_no_invitation(sessions, admin, database, store, vault):
    connection = await add_connection(store, vault, admin, "cust")
    short = await sessions.create(admin, LinkSessionRequest(external_id="cust", expires_in=timedelta(minutes=5)))
    made = await reauth(sessions, database, connection)
    assert made.id != short.id
    assert (await sessions.find_open(admin, "cust")).id == made.id


async def test_a_connection_that_was_never_linked_by_page_gets_one_too(sessions, admin, database, store, vault):
    connection = await add_connection(store, vault, admin, "cust")
    made = await reauth(sessions, database, connection)
    assert (made.redirect_uri, made.allowed_origins, made.methods) == (None, [], ["token"])
    assert made.profile == connection.profile


async def test_unlinking_ends_what_the_service_sent_by_itself(sessions, admin, database, store, vault):
    """Or the connection could come back by an address that nobody thinks of any more."""
    connection = await add_connection(store, vault, admin, "cust")
    other = await add_connection(store, vault, admin, "other")
    made, others = await reauth(sessions, database, connection), await reauth(sessions, database, other)
    await change(database, made.id, pending=b"x", pending_key_id="key_1")
    wanted = await sessions.create(admin, LinkSessionRequest(external_id="cust"))
    narrowed = replace(admin, connection_ids=frozenset({connection.id}))
    own = await sessions.create(narrowed, LinkSessionRequest(external_id="cust"))
    await store.unlink(admin, connection.id)
    ended = await sessions.get(admin, made.id)
    assert (ended.status, ended.pending, ended.pending_key_id) == (LinkSessionStatus.CANCELED, None, None)
    for each in (others, wanted, own):
        assert (await sessions.get(admin, each.id)).status is LinkSessionStatus.CREATED
    assert ("link_session.cancel", "service") in await audited(database)


async def test_a_narrowed_session_does_not_outlive_its_connection(sessions, admin, store, vault):
    """The externalId may stand for another organization then, which whoever made the session does not see."""
    connection = await add_connection(store, vault, admin, "cust")
    narrowed = replace(admin, connection_ids=frozenset({connection.id}))
    own = await sessions.create(narrowed, LinkSessionRequest(external_id="cust"))
    whole = await sessions.create(admin, LinkSessionRequest(external_id="cust"))
    await store.unlink(admin, connection.id)
    await add_connection(store, vault, admin, "cust", organization_id="9", organization_slug="other")
    with pytest.raises(NotFound):
        await sessions.get(narrowed, own.id)
    assert (await sessions.get(admin, own.id)).status is LinkSessionStatus.CANCELED
    assert (await sessions.get(admin, whole.id)).status is LinkSessionStatus.CREATED


async def test_whoever_has_a_long_name_makes_sessions_too(sessions, admin):
    made = await sessions.create(replace(admin, subject="jwt:" + "s" * 200), LinkSessionRequest())
    assert made.created_by == "jwt:" + "s" * 196


async def test_without_a_public_url_there_is_no_page(database, keyring, admin, store, vault):
    sessions = LinkSessions(database, keyring, public_url=None, clients=Clients(), policy=EgressPolicy())
    with pytest.raises(LinkPageUnavailable) as caught:
        await sessions.create(admin, LinkSessionRequest())
    assert "SENTRY_GRAPH_PUBLIC_URL" in caught.value.cure
    assert await reauth(sessions, database, await add_connection(store, vault, admin)) is None


async def test_what_is_over_is_purged(sessions, admin, database):
    await add_tenant(database, "ten_3")
    expired, old, done, fresh = [await sessions.create(admin, LinkSessionRequest()) for _ in range(4)]
    sealed = {"pending": b"x", "pending_key_id": "key_1"}
    long_ago = now() - timedelta(days=31)
    await change(database, expired.id, expires_at=now(), **sealed)
    await change(database, old.id, expires_at=long_ago)
    await change(database, done.id, expires_at=long_ago, status=LinkSessionStatus.COMPLETED)
    await change(database, fresh.id, **sealed)

    async def begin(session):
        for index, expires_at in enumerate((now() - timedelta(days=2), now())):
            session.add(
                LinkAttemptRecord(
                    state_hash=bytes([index]) * 32,
                    tenant_id="ten_1",
                    session_id=fresh.id,
                    method=LinkMethod.OAUTH,
                    client_id="c",
                    origin="https://sentry.io",
                    redirect_uri="https://graph.example",
                    browser_hash=b"b",
                    created_at=now(),
                    expires_at=expires_at,
                )
            )

    await database.run_transaction(begin)
    await sessions.purge()
    assert (await sessions.get(admin, expired.id)).pending is None
    assert (await sessions.get(admin, fresh.id)).pending == b"x"
    assert await sessions.get(admin, done.id)
    with pytest.raises(NotFound):
        await sessions.get(admin, old.id)
    async with database.session() as session:
        (left,) = await session.exec(select(LinkAttemptRecord).where(col(LinkAttemptRecord.session_id) == fresh.id))
    assert left.state_hash == b"\1" * 32


async def test_bad_input_is_said_before_anything_is_stored(sessions, admin, database):
    with pytest.raises(BadInput):
        await sessions.create(admin, LinkSessionRequest(redirect_uri="http://a.example"))
    assert await audited(database) == []
