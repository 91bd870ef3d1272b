import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import col, select

from service.columns import now
from service.connections.idempotency import IdempotencyStore
from service.connections.keyring import Keyring
from service.connections.link_models import LinkSessionRecord, LinkSessionStatus
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionRecord, CredentialRecord, IdempotencyRecord
from service.connections.rewrap import Rewrapped, count_by_key, missing_keys, retire, rewrap
from service.connections.store import ConnectionStore
from service.connections.vault import (
    Binding,
    Sealed,
    Vault,
    bind_answer,
    bind_pending,
    bind_refresh_token,
    bind_token,
)
from service.db import Database
from service.errors import Conflict, NotFound
from service.ids import new_id
from service.sentry.profiles import Profile
from service.tenants.caller import Caller
from tests.connections.factory import ACME, TOKEN, add_connection


async def fill(database, store, vault, caller, count: int) -> list[ConnectionRecord]:
    """Connections with a token, a refresh token and a remembered answer each, and with a grant each that waits."""
    keys = IdempotencyStore(database)
    connections = []
    for number in range(count):
        connection = await add_connection(store, vault, caller, token=TOKEN + str(number))
        connections.append(connection)
        await keys.claim(caller, connection.id, "k", request_hash="h", forgotten=now() - timedelta(days=1))
        answer = vault.seal(b"answer", binding=bind_answer(connection, "k"))
        await keys.finish(caller, connection.id, "k", status=200, answer=answer)
        await add_refresh_token(database, vault, connection, f"refresh {number}")
        await add_link_session(database, vault, caller, f"grant {number}")
    await keys.claim(caller, connections[0].id, "running", request_hash="h", forgotten=now())
    await add_link_session(database, vault, caller, None)
    return connections


async def add_token(database, vault, connection: ConnectionRecord) -> None:
    """Seal the connection's token with the key that is active now."""
    sealed = vault.seal(TOKEN.encode(), binding=bind_token(connection))

    async def work(session) -> None:
        row = await session.get(CredentialRecord, connection.id)
        row.key_id, row.access_token = sealed.key_id, sealed.data

    await database.run_transaction(work)


async def add_refresh_token(database, vault, connection: ConnectionRecord, token: str) -> None:
    sealed = vault.seal(token.encode(), binding=bind_refresh_token(connection))

    async def work(session) -> None:
        row = await session.get(CredentialRecord, connection.id)
        row.refresh_key_id, row.refresh_token = sealed.key_id, sealed.data

    await database.run_transaction(work)


async def add_link_session(database, vault, caller: Caller, grant: str | None) -> LinkSessionRecord:
    """A link session with what it received from Sentry, if it did."""
    session_id = new_id("lks")
    record = LinkSessionRecord(
        id=session_id,
        tenant_id=caller.tenant_id,
        token_hash=session_id.encode(),
        allowed_origins=[],
        methods=["oauth"],
        profile=Profile.READ,
        created_by="test",
        status=LinkSessionStatus.STARTED,
        created_at=now(),
        expires_at=now() + timedelta(days=1),
    )
    if grant is not None:
        sealed = vault.seal(grant.encode(), binding=bind_pending(record))
        record.pending_key_id, record.pending = sealed.key_id, sealed.data

    async def work(session) -> None:
        session.add(record)

    await database.run_transaction(work)
    return record


async def opened(database, vault) -> list[str]:
    """Every stored secret, opened."""
    async with database.session() as session:
        tokens = await session.exec(
            select(CredentialRecord, ConnectionRecord).where(CredentialRecord.connection_id == ConnectionRecord.id)
        )
        secrets = []
        for row, connection in tokens:
            secrets.append(vault.open(Sealed(row.key_id, row.access_token), bind_token(connection)))
            if row.refresh_token is not None:
                sealed = Sealed(row.refresh_key_id, row.refresh_token)
                secrets.append(vault.open(sealed, bind_refresh_token(connection)))
        answers = await session.exec(
            select(IdempotencyRecord, ConnectionRecord).where(
                IdempotencyRecord.connection_id == ConnectionRecord.id, IdempotencyRecord.key == "k"
            )
        )
        secrets += [
            vault.open(Sealed(row.key_id, row.answer), bind_answer(connection, row.key)) for row, connection in answers
        ]
        sessions = await session.exec(select(LinkSessionRecord).where(col(LinkSessionRecord.pending).is_not(None)))
        secrets += [vault.open(Sealed(row.pending_key_id, row.pending), bind_pending(row)) for row in sessions]
    return sorted(secret.decode() for secret in secrets)


async def test_every_row_is_sealed_anew_and_the_old_key_retired(database, store, vault, keyring, admin, stranger):
    await fill(database, store, vault, admin, 5)
    await fill(database, store, vault, stranger, 2)
    before = await opened(database, vault)
    old = keyring.active_id
    assert await count_by_key(database) == {old: 28}
    assert await count_by_key(database, tenant_id=stranger.tenant_id) == {old: 8}
    new = keyring.rotate()
    told: list[tuple[int, int]] = []
    done = await rewrap(database, vault, batch=3, progress=lambda *step: told.append(step))
    assert done == Rewrapped(28, 0)
    assert await count_by_key(database) == {new: 28}
    assert told[-1] == (28, 28)
    assert [step[0] for step in told] == sorted(step[0] for step in told)
    await retire(database, keyring, old)
    assert keyring.key_ids == {new}
    assert await opened(database, vault) == before


async def test_rewrapping_twice_does_nothing_more(database, store, vault, keyring, admin):
    await fill(database, store, vault, admin, 2)
    keyring.rotate()
    await rewrap(database, vault)
    async with database.session() as session:
        before = list(await session.exec(select(CredentialRecord)))
    assert await rewrap(database, vault) == Rewrapped(0, 0)
    async with database.session() as session:
        assert list(await session.exec(select(CredentialRecord))) == before
    assert {row.version for row in before} == {1}


async def test_a_token_stored_meanwhile_is_not_overwritten(database, store, vault, keyring, admin):
    connections = [await add_connection(store, vault, admin, str(n), token=TOKEN + str(n)) for n in range(6)]
    keyring.rotate()
    stop = asyncio.Event()

    async def refresh() -> int:
        count = 0
        while not stop.is_set():
            connection = connections[count % len(connections)]
            await add_connection(store, vault, admin, connection.external_id, token=f"{TOKEN}new{count % 6}")
            count += 1
        return count

    async def rewrap_all() -> None:
        for _ in range(3):
            await rewrap(database, vault, batch=1)
            keyring.rotate()
        stop.set()

    count, _ = await asyncio.gather(refresh(), rewrap_all())
    assert count > 6
    assert await opened(database, vault) == sorted(f"{TOKEN}new{n}" for n in range(6))


def elsewhere(database_url: str, caller: Caller, sealed: Sealed) -> None:
    """Store a sealed token for ``cust`` as another process would, and return when it is committed."""

    async def work() -> None:
        database = Database(database_url)
        token = SealedToken(sealed, "f" * 64)
        await ConnectionStore(database).link(caller, replace(ACME, external_id="cust"), lambda _: token)
        await database.dispose()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


class Meddling(Vault):
    """Does something when a row that was read is opened, before it is written: one thing for each row."""

    def __init__(self, keyring: Keyring, meddling: list[Callable[[], None]]) -> None:
        super().__init__(keyring)
        self.meddling = meddling

    def open(self, sealed: Sealed, binding: Binding) -> bytes:
        if self.meddling:
            self.meddling.pop()()
        return super().open(sealed, binding)


async def test_a_row_changed_between_reading_and_writing_is_sealed_anew_by_the_next_pass(
    database, database_url, store, vault, keyring, admin
):
    connection = await add_connection(store, vault, admin, "cust")
    newer = vault.seal(b"newer", binding=bind_token(connection))  # by a process that does not know the new key yet
    new = keyring.rotate()
    meddling = Meddling(keyring, [lambda: elsewhere(database_url, admin, newer)])
    assert await rewrap(database, meddling) == Rewrapped(1, 0)
    assert await opened(database, vault) == ["newer"]
    assert await count_by_key(database) == {new: 1}


async def test_a_row_that_no_key_opens_is_told_and_left(database, store, vault, keyring, admin, tmp_path):
    await fill(database, store, vault, admin, 2)
    broken = await add_connection(store, Vault(Keyring.init(tmp_path / "lost.json")), admin, "lost")
    keyring.rotate()
    assert await rewrap(database, vault, batch=2) == Rewrapped(8, 1)
    assert (await store.get_linked(admin, broken.id, fresh=True)).credential.access_token


async def test_a_key_that_rows_need_is_not_retired(database, store, vault, keyring, admin):
    await fill(database, store, vault, admin, 1)
    old = keyring.active_id
    keyring.rotate()
    with pytest.raises(Conflict, match="4 stored secrets"):
        await retire(database, keyring, old)
    assert old in keyring.key_ids
    with pytest.raises(NotFound):
        await retire(database, keyring, "key_never")


@pytest.mark.parametrize("kind", ["refresh token", "pending grant"])
async def test_one_secret_of_any_kind_holds_its_key(database, store, vault, keyring, admin, kind):
    connection = await add_connection(store, vault, admin, "cust")
    if kind == "refresh token":
        await add_refresh_token(database, vault, connection, "refresh")
    else:
        await add_link_session(database, vault, admin, "grant")
    old = keyring.active_id
    keyring.rotate()
    await add_token(database, vault, connection)
    assert await count_by_key(database) == {old: 1, keyring.active_id: 1}
    with pytest.raises(Conflict, match="1 stored secrets"):
        await retire(database, keyring, old)
    assert await rewrap(database, vault) == Rewrapped(1, 0)
    await retire(database, keyring, old)
    assert len(await opened(database, vault)) == 2


async def test_the_two_tokens_of_a_credential_are_sealed_anew_apart(database, store, vault, keyring, admin):
    connection = await add_connection(store, vault, admin, "cust")
    await add_refresh_token(database, vault, connection, "refresh")
    new = keyring.rotate()
    await add_token(database, vault, connection)
    assert await rewrap(database, vault) == Rewrapped(1, 0)
    async with database.session() as session:
        row = await session.get(CredentialRecord, connection.id)
    assert (row.key_id, row.refresh_key_id) == (new, new)
    assert await opened(database, vault) == ["refresh", TOKEN]


async def test_a_grant_that_was_taken_meanwhile_is_not_put_back(database, database_url, vault, keyring, admin):
    record = await add_link_session(database, vault, admin, "grant")
    keyring.rotate()

    def take() -> None:
        async def work() -> None:
            other = Database(database_url)

            async def forget(session) -> None:
                row = await session.get(LinkSessionRecord, record.id)
                row.pending_key_id = row.pending = None

            await other.run_transaction(forget)
            await other.dispose()

        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start()
        thread.join()

    await rewrap(database, Meddling(keyring, [take]))
    assert await opened(database, vault) == []


class Late(Keyring):
    """Calls ``at_removal`` when a key has just been removed."""

    at_removal: Callable[[], None]

    def remove(self, key_id: str) -> bytes:
        removed = super().remove(key_id)
        self.at_removal()
        return removed


async def test_a_key_used_at_the_moment_of_its_retirement_comes_back(
    database, database_url, store, vault, keyring, admin
):
    connection = await add_connection(store, vault, admin, "cust")
    old = keyring.active_id
    sealed = vault.seal(TOKEN.encode(), binding=bind_token(connection))
    late = Late.load(keyring._path)
    late.rotate()
    await rewrap(database, Vault(late))
    late.at_removal = lambda: elsewhere(database_url, admin, sealed)
    with pytest.raises(Conflict):
        await retire(database, late, old)
    assert old in Keyring.load(keyring._path).key_ids
    assert await opened(database, Vault(Keyring.load(keyring._path))) == [TOKEN]


async def test_keys_that_rows_need_and_the_keyring_lacks_are_named(database, store, vault, keyring, admin, tmp_path):
    other = Keyring.init(tmp_path / "other.json")
    assert await missing_keys(database, other) == []
    await add_connection(store, vault, admin)
    assert await missing_keys(database, keyring) == []
    assert await missing_keys(database, other) == [keyring.active_id]
