from dataclasses import replace

import pytest
from sqlalchemy import update
from sqlmodel import col

from service.connections.accounts import AccountSource
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialRecord
from service.connections.rewrap import retire, rewrap
from service.connections.store import ConnectionStore
from service.db import Database
from service.errors import NeedsReauth, NotFound, SecretUnreadable, UpstreamUnauthorized
from service.last_used import LastUsed
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from tests.connections.factory import TOKEN, add_connection, build_accounts
from tests.connections.upstream import Upstream, client_of


@pytest.fixture
async def database(sqlite_url):
    """One engine suffices: what differs between them is tested with the store."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
def last_used(database) -> LastUsed:
    return LastUsed(database)


@pytest.fixture
def accounts(database, store, vault, last_used) -> AccountSource:
    return build_accounts(database, store, vault, client_of(Upstream({}), EgressPolicy()), last_used)


async def test_an_account_is_what_the_client_needs_of_a_connection(accounts, store, vault, admin):
    stored = await add_connection(store, vault, admin)
    connection, account = await accounts.account(admin, stored.id)
    assert connection.id == stored.id
    assert (account.tenant_id, account.connection_id, account.organization) == ("ten_1", stored.id, "acme")
    assert (account.control, account.api) == (Origin.parse("https://sentry.io"), Origin.parse("https://us.sentry.io"))
    token = await account.tokens.token()
    assert (token.value, token.version) == (TOKEN, 1)
    assert TOKEN not in repr(account)
    assert TOKEN not in repr(connection)


async def test_a_token_is_opened_once_for_an_account(accounts, store, vault, admin):
    stored = await add_connection(store, vault, admin)
    _, one = await accounts.account(admin, stored.id)
    _, other = await accounts.account(admin, stored.id)
    assert await one.tokens.token() is await one.tokens.token()
    assert await one.tokens.token() is not await other.tokens.token()


async def test_equal_tokens_share_a_fingerprint(accounts, store, vault, admin):
    fingerprints = []
    for token in (TOKEN, TOKEN, TOKEN + "2"):
        connection = await add_connection(store, vault, admin, token=token)
        fingerprints.append((await accounts.account(admin, connection.id))[1].fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


async def test_a_rejected_token_gives_way_to_the_one_stored_since(accounts, store, vault, admin, database):
    connection = await add_connection(store, vault, admin, "cust")
    _, account = await accounts.account(admin, connection.id)
    rejected = await account.tokens.token()
    await add_connection(ConnectionStore(database), vault, admin, "cust", token=TOKEN + "2")  # by another process
    assert (await account.tokens.token()).value == TOKEN
    fresh = await account.tokens.fresh_token(rejected)
    assert (fresh.value, fresh.version) == (TOKEN + "2", 2)


async def test_one_refusal_marks_nothing(accounts, store, vault, admin):
    connection = await add_connection(store, vault, admin)
    _, account = await accounts.account(admin, connection.id)
    with pytest.raises(UpstreamUnauthorized):
        await account.tokens.fresh_token(await account.tokens.token())
    after = await store.get_linked(admin, connection.id, fresh=True)
    assert after.connection.status is ConnectionStatus.ACTIVE
    assert after.credential is not None


async def test_the_same_token_linked_again_is_not_fresh(accounts, store, vault, admin):
    connection = await add_connection(store, vault, admin, "cust")
    _, account = await accounts.account(admin, connection.id)
    rejected = await account.tokens.token()
    await add_connection(store, vault, admin, "cust")
    with pytest.raises(UpstreamUnauthorized):
        await account.tokens.fresh_token(rejected)


async def test_a_token_for_another_address_is_not_given_to_an_account_in_use(accounts, store, vault, admin):
    connection = await add_connection(store, vault, admin, "cust")
    _, account = await accounts.account(admin, connection.id)
    rejected = await account.tokens.token()
    elsewhere = {"control_origin": "https://errors.acme.example", "api_origin": "https://errors.acme.example"}
    await add_connection(store, vault, admin, "cust", token=TOKEN + "2", **elsewhere)
    with pytest.raises(UpstreamUnauthorized, match="another address"):
        await account.tokens.fresh_token(rejected)


async def test_an_unlinked_connection_cannot_be_used(accounts, store, vault, admin, database):
    connection = await add_connection(store, vault, admin)
    _, account = await accounts.account(admin, connection.id)
    await ConnectionStore(database).unlink(admin, connection.id)  # by another process
    with pytest.raises(NeedsReauth):
        await account.tokens.fresh_token(await account.tokens.token())
    await store.unlink(admin, connection.id)
    with pytest.raises(NeedsReauth, match="unlinked") as caught:
        await accounts.account(admin, connection.id)
    assert "externalId" in str(caught.value.cure)


async def test_a_connection_that_needs_a_new_credential_says_why(accounts, store, vault, admin, database):
    connection = await add_connection(store, vault, admin)

    async def spoil(session) -> None:
        record = await session.get(ConnectionRecord, connection.id)
        record.status, record.status_reason = ConnectionStatus.NEEDS_REAUTH, "The token was revoked."

    await database.run_transaction(spoil)
    with pytest.raises(NeedsReauth, match="revoked"):
        await accounts.account(admin, connection.id)


async def test_foreign_and_missing_accounts_are_the_same(accounts, store, vault, admin, stranger):
    connection = await add_connection(store, vault, admin, "cust")
    await accounts.account(admin, connection.id)
    said = []
    for caller, connection_id in (
        (stranger, connection.id),
        (replace(admin, external_ids=frozenset({"other"})), connection.id),
        (admin, "con_" + "0" * 26),
        (admin, "x"),
    ):
        with pytest.raises(NotFound) as caught:
            await accounts.account(caller, connection_id)
        said.append(str(caught.value))
    assert len(set(said)) == 1


async def test_a_key_retired_while_its_sealing_is_remembered_changes_nothing(
    accounts, store, vault, keyring, admin, database
):
    connection = await add_connection(store, vault, admin)
    await store.get_many(admin, [connection.id])
    old = keyring.active_id
    keyring.rotate()
    await rewrap(database, vault)
    await retire(database, keyring, old)
    _, account = await accounts.account(admin, connection.id)
    assert (await account.tokens.token()).value == TOKEN


async def test_a_credential_moved_in_the_database_is_not_opened(accounts, store, vault, admin, stranger, database):
    mine = await add_connection(store, vault, admin, token=TOKEN + "mine")
    theirs = await add_connection(store, vault, stranger, token=TOKEN + "theirs")

    async def steal(session) -> None:
        credential = await session.get(CredentialRecord, theirs.id)
        values = {"key_id": credential.key_id, "access_token": credential.access_token}
        await session.exec(
            update(CredentialRecord).where(col(CredentialRecord.connection_id) == mine.id).values(values)
        )

    await database.run_transaction(steal)
    _, account = await accounts.account(admin, mine.id)
    with pytest.raises(SecretUnreadable):
        await account.tokens.token()


@pytest.mark.parametrize("column", ["control_origin", "api_origin"])
async def test_an_address_changed_in_the_database_never_gets_the_token(accounts, store, vault, admin, database, column):
    connection = await add_connection(store, vault, admin)
    changed = update(ConnectionRecord).where(col(ConnectionRecord.id) == connection.id)
    await database.run_transaction(lambda session: session.exec(changed.values({column: "https://evil.example"})))
    _, account = await accounts.account(admin, connection.id)
    with pytest.raises(SecretUnreadable):
        await account.tokens.token()


async def test_use_is_noted(accounts, store, vault, admin, last_used):
    connection = await add_connection(store, vault, admin)
    await accounts.account(admin, connection.id)
    await last_used.flush()
    assert (await store.get_linked(admin, connection.id, fresh=True)).connection.last_used_at is not None
