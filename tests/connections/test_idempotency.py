import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select

from service.columns import now
from service.connections.idempotency import IdempotencyStore
from service.connections.models import IdempotencyRecord
from service.connections.vault import Sealed, bind_answer
from service.errors import Forbidden, NotFound, SecretUnreadable
from service.tenants.caller import Role
from tests.connections.factory import add_connection

DAY = timedelta(hours=24)


@pytest.fixture
def keys(database) -> IdempotencyStore:
    return IdempotencyStore(database)


@pytest.fixture
async def connection(store, vault, admin):
    return await add_connection(store, vault, admin, "cust")


@pytest.fixture
def claim(keys, admin, connection):
    async def claim(key: str = "k", **changes) -> IdempotencyRecord | None:
        arguments = {"request_hash": "h", "forgotten": now() - DAY} | changes
        found: IdempotencyRecord | None = await keys.claim(admin, connection.id, key, **arguments)
        return found

    return claim


async def test_of_claims_at_once_one_gets_the_key(claim):
    results = await asyncio.gather(*(claim() for _ in range(6)))
    assert results.count(None) == 1
    running = next(result for result in results if result)
    assert (running.request_hash, running.finished_at, running.status) == ("h", None, None)


async def test_the_answer_is_remembered_and_sealed_to_its_key(claim, keys, admin, connection, vault):
    await claim()
    sealed = vault.seal(b"[1]", binding=bind_answer(connection, "k"))
    await keys.finish(admin, connection.id, "k", status=201, answer=sealed)
    found = await claim()
    assert found is not None
    assert found.status == 201
    assert found.finished_at is not None
    assert vault.open(Sealed(found.key_id, found.answer), bind_answer(connection, "k")) == b"[1]"
    with pytest.raises(SecretUnreadable):
        vault.open(Sealed(found.key_id, found.answer), bind_answer(connection, "other"))


async def test_an_unknown_outcome_is_finished_without_a_status(claim, keys, admin, connection):
    await claim()
    await keys.finish(admin, connection.id, "k", status=None, answer=None)
    found = await claim()
    assert found is not None
    assert found.finished_at is not None
    assert (found.status, found.answer, found.key_id) == (None, None, None)


async def test_a_released_key_can_be_claimed_again(claim, keys, admin, connection):
    await claim()
    await keys.release(admin, connection.id, "k")
    assert await claim() is None


async def test_a_forgotten_claim_gives_way(claim):
    await claim(request_hash="old")
    assert await claim(request_hash="new", forgotten=now() + timedelta(seconds=5)) is None
    found = await claim()
    assert found is not None
    assert found.request_hash == "new"


async def test_old_rows_of_all_tenants_are_deleted(claim, keys, database):
    await claim("a")
    await claim("b")
    assert await keys.delete_older(now() - DAY) == 0
    assert await keys.delete_older(now() + DAY) == 2
    assert await claim("a") is None


async def test_nothing_is_claimed_finished_or_released_for_others(claim, keys, admin, stranger, connection, database):
    await claim()
    for caller in (stranger, replace(admin, external_ids=frozenset({"other"}))):
        with pytest.raises(NotFound):
            await keys.claim(caller, connection.id, "k2", request_hash="h", forgotten=now())
        await keys.finish(caller, connection.id, "k", status=200, answer=None)
        await keys.release(caller, connection.id, "k")
    async with database.session() as session:
        [row] = await session.exec(select(IdempotencyRecord))
    assert (row.key, row.finished_at) == ("k", None)


async def test_claiming_needs_the_role_write(keys, admin, connection):
    with pytest.raises(Forbidden):
        await keys.claim(replace(admin, role=Role.READ), connection.id, "k", request_hash="h", forgotten=now())
