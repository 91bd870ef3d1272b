import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk, jwt
from sqlalchemy import event

from service.columns import now
from service.db import Database
from service.errors import StorageUnavailable, Unauthenticated
from service.ids import new_id
from service.last_used import LastUsed
from service.settings import JwtIssuer
from service.tenants.authenticator import Authenticator
from service.tenants.caller import Caller, Role
from service.tenants.keys import new_key
from service.tenants.store import TenantStore
from tests.scale import scaled

PEPPER = b"p" * 32
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"})


class World:
    """A tenant with an authenticator whose clock a test sets, and a count of the queries it makes."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.seconds = 0.0
        self.queries = 0
        self.store = TenantStore(database)
        self.last_used = LastUsed(database)
        self.authenticator = Authenticator(
            database, pepper=PEPPER, last_used=self.last_used, clock=lambda: self.seconds, **options
        )
        event.listen(database._engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.queries += 1

    async def key(self, **options: Any) -> tuple[str, str]:
        """The id of a new key, and the header that carries it."""
        chosen: dict[str, Any] = {"name": "key", "role": Role.READ, "pepper": PEPPER} | options
        record, shown = await self.store.create_key("acme", **chosen)
        return record.id, f"Bearer {shown}"

    async def refusal(self, header: str | None) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.authenticator.authenticate(header)
        return caught.value.message


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    await world.store.create_tenant("Acme", tenant_id="acme")
    return world


# --- API keys ---


async def test_a_key_names_its_caller(world: World):
    connection_id = new_id("con")
    key_id, header = await world.key(role=Role.WRITE, connection_ids=[connection_id], external_ids=[])
    caller = await world.authenticator.authenticate(header)
    assert caller == Caller("acme", Role.WRITE, f"key:{key_id}", frozenset({connection_id}), frozenset())


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_not_case_sensitive(world: World, scheme: str):
    _, header = await world.key()
    assert (await world.authenticator.authenticate(header.replace("Bearer", scheme))).tenant_id == "acme"


async def test_unknown_wrong_revoked_and_expired_keys_are_refused_in_the_same_words(world: World):
    _, good = await world.key()
    expired_id, expired = await world.key(expires_at=now() + timedelta(milliseconds=100))
    revoked_id, revoked = await world.key()
    await world.store.revoke_key("acme", revoked_id)
    await asyncio.sleep(0.1)
    unknown = f"Bearer {new_key().shown}"
    wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
    assert {await world.refusal(header) for header in (unknown, wrong, expired, revoked)} == {
        "The API key or JWT is not valid."
    }
    assert expired_id != revoked_id


async def test_a_key_made_under_another_pepper_is_refused(world: World):
    _, header = await world.key(pepper=b"q" * 32)
    await world.refusal(header)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "sg_x", "Bearer x", "Bearer \ud800", "Bearer " + "x" * 9000]
)
async def test_other_headers_are_refused_without_asking_the_database(world: World, header: str | None):
    world.queries = 0
    await world.refusal(header)
    assert world.queries == 0


@given(header=st.text(max_size=80) | st.text(max_size=80).map("Bearer ".__add__))
@settings(
    max_examples=scaled(test=100, soak=5000), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_other_header_is_accepted_or_breaks_it(sqlite_url: str, header: str):
    async def refuse() -> None:
        database = Database(sqlite_url)
        await World(database).refusal(header)
        await database.dispose()

    asyncio.run(refuse())


# --- what is remembered ---


async def test_a_known_key_costs_no_query(world: World):
    _, header = await world.key()
    await world.authenticator.authenticate(header)
    world.queries = 0
    callers = [await world.authenticator.authenticate(header) for _ in range(100)]
    assert world.queries == 0
    assert len(set(callers)) == 1


async def test_callers_at_once_share_one_look_up(world: World):
    _, header = await world.key()
    world.queries = 0
    await asyncio.gather(*(world.authenticator.authenticate(header) for _ in range(64)))
    assert world.queries == 1


async def test_a_revocation_takes_effect_within_five_seconds(world: World):
    key_id, header = await world.key()
    await world.authenticator.authenticate(header)
    await world.store.revoke_key("acme", key_id)
    world.seconds = 2.9
    await world.authenticator.authenticate(header)  # remembered
    world.seconds = 4.9
    await world.refusal(header)


async def test_a_key_in_use_is_looked_up_anew_beside_a_request_before_it_is_forgotten(world: World):
    key_id, header = await world.key()
    await world.authenticator.authenticate(header)
    world.queries = 0
    world.seconds = 3.1
    await asyncio.gather(*(world.authenticator.authenticate(header) for _ in range(8)))
    assert world.queries == 0
    await world.authenticator._lookups.drain()
    assert world.queries == 1
    world.seconds = 6.0
    await world.authenticator.authenticate(header)
    assert world.queries == 1

    await world.store.revoke_key("acme", key_id)
    world.queries = 0
    world.seconds = 6.2
    await world.authenticator.authenticate(header)
    await world.authenticator._lookups.drain()
    await world.refusal(header)
    assert world.queries == 1


async def test_a_key_is_remembered_until_it_expires_at_most(world: World):
    _, header = await world.key(expires_at=now() + timedelta(seconds=3))
    await world.authenticator.authenticate(header)
    (known,) = world.authenticator._known.values()
    assert 0 < known.until <= 3


async def test_guessing_is_remembered_for_a_second_and_pushes_out_no_known_key(world: World):
    _, header = await world.key()
    await world.authenticator.authenticate(header)
    guess = f"Bearer {new_key().shown}"
    await world.refusal(guess)
    world.queries = 0
    await world.refusal(guess)
    assert world.queries == 0
    world.seconds = 1.1
    await world.refusal(guess)
    assert world.queries == 1
    for number in range(2000):
        await world.refusal(f"Bearer x{number}")
    world.queries = 0
    await world.authenticator.authenticate(header)
    assert world.queries == 0


async def test_no_key_stays_in_memory(world: World):
    _, header = await world.key()
    await world.authenticator.authenticate(header)
    secret = header.rpartition("_")[2]
    assert secret not in repr(vars(world.authenticator))
    assert secret not in repr([*world.authenticator._known.items()])


async def test_uses_of_keys_are_noted(world: World):
    key_id, header = await world.key()
    await world.authenticator.authenticate(header)
    await world.last_used.flush()
    (key,) = await world.store.list_keys("acme")
    assert key.id == key_id
    assert key.last_used_at is not None
    first = key.last_used_at
    await world.authenticator.authenticate(header)  # remembered, and noted all the same
    await world.last_used.flush()
    (key,) = await world.store.list_keys("acme")
    assert key.last_used_at is not None
    assert key.last_used_at > first


async def test_a_database_that_is_down_is_no_refusal(tmp_path: Path):
    world = World(Database(f"sqlite:///{tmp_path}/none.db"))
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await world.authenticator.authenticate(f"Bearer {new_key().shown}")


REVOKE = """
import asyncio, sys
from service.db import Database
from service.tenants.store import TenantStore

async def main():
    database = Database(sys.argv[1])
    await TenantStore(database).revoke_key("acme", sys.argv[2])
    await database.dispose()

asyncio.run(main())
"""


async def test_a_revocation_by_another_process_takes_effect(world: World, database_url: str):
    key_id, header = await world.key()
    await world.authenticator.authenticate(header)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", REVOKE, database_url, key_id], check=True)
    world.seconds = 4.9
    await world.refusal(header)


# --- JWTs ---


@pytest.fixture
async def jwt_world(database: Database, tmp_path: Path) -> World:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [EC.as_dict(private=False)]}))
    issuer = JwtIssuer(issuer="idp", audience="graph", tenants=("acme", "ghost"), jwks_file=path, max_role="write")
    world = World(database, issuers=[issuer])
    await world.store.create_tenant("Acme", tenant_id="acme")
    return world


def sign(**changes: Any) -> str:
    claims = {"iss": "idp", "aud": "graph", "sub": "alice", "tenant": "acme", "exp": int(time.time()) + 300} | changes
    return "Bearer " + jwt.encode({"alg": "ES256", "kid": "ec"}, claims, EC)


async def test_a_jwt_names_its_caller(jwt_world: World):
    header = sign(role="admin", external_ids=["shop"])
    caller = await jwt_world.authenticator.authenticate(header)
    assert caller == Caller("acme", Role.WRITE, "jwt:alice", None, frozenset({"shop"}))
    jwt_world.queries = 0
    assert await jwt_world.authenticator.authenticate(header) is caller
    assert jwt_world.queries == 0


async def test_a_jwt_of_a_tenant_that_does_not_exist_is_refused(jwt_world: World):
    assert "does not exist" in await jwt_world.refusal(sign(tenant="ghost"))
    await jwt_world.store.create_tenant("Ghost", tenant_id="ghost")
    jwt_world.seconds = 1.1
    assert (await jwt_world.authenticator.authenticate(sign(tenant="ghost"))).tenant_id == "ghost"


async def test_a_jwt_is_verified_again_every_few_seconds(jwt_world: World):
    header = sign()
    await jwt_world.authenticator.authenticate(header)
    jwt_world.seconds = 4.1
    jwt_world.queries = 0
    await jwt_world.authenticator.authenticate(header)
    assert jwt_world.queries == 1


async def test_a_jwt_that_is_not_ours_is_refused(jwt_world: World):
    assert await jwt_world.refusal(sign(iss="other")) == "The API key or JWT is not valid."
    assert "expired" in await jwt_world.refusal(sign(exp=int(time.time()) - 60))
