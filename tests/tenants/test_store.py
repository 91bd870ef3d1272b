from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.columns import now
from service.db import Database
from service.errors import BadInput, Conflict, NotFound
from service.ids import new_id
from service.journal import Journal
from service.tenants.caller import Role
from service.tenants.keys import is_key, parse_prefix
from service.tenants.store import TenantStore

PEPPER = b"p" * 32


@pytest.fixture
def store(database: Database) -> TenantStore:
    return TenantStore(database)


async def test_tenants_are_created_listed_and_found(store: TenantStore):
    first = await store.create_tenant(" Acme ")
    second = await store.create_tenant("Globex", tenant_id="org_2:eu.1")
    assert (first.name, second.id) == ("Acme", "org_2:eu.1")
    assert [tenant.id for tenant in await store.list_tenants()] == [first.id, second.id]
    assert (await store.get_tenant(second.id)).name == "Globex"
    with pytest.raises(NotFound):
        await store.get_tenant("nobody")


async def test_a_tenants_id_is_taken_once(store: TenantStore):
    await store.create_tenant("Acme", tenant_id="acme")
    with pytest.raises(Conflict, match="acme"):
        await store.create_tenant("Other", tenant_id="acme")


@pytest.mark.parametrize("tenant_id", ["", "-x", "a b", "a" * 65, "a\n", "ä"])
async def test_a_tenants_id_has_a_plain_form(store: TenantStore, tenant_id: str):
    with pytest.raises(BadInput):
        await store.create_tenant("Acme", tenant_id=tenant_id)


@pytest.mark.parametrize("name", ["", " ", "a" * 201, "a\x00b", "a\nb"])
async def test_a_name_is_printable(store: TenantStore, name: str):
    with pytest.raises(BadInput):
        await store.create_tenant(name)


async def test_a_key_is_stored_as_its_digest_only(store: TenantStore):
    tenant = await store.create_tenant("Acme")
    record, shown = await store.create_key(tenant.id, name="gateway", role=Role.WRITE, pepper=PEPPER)
    (listed,) = await store.list_keys(tenant.id)
    assert (listed.id, listed.name, listed.role, listed.prefix) == (
        record.id,
        "gateway",
        Role.WRITE,
        parse_prefix(shown),
    )
    assert is_key(shown, listed.digest, PEPPER)
    secret = shown.rpartition("_")[2]
    assert secret not in repr(listed.model_dump())
    assert (listed.connection_ids, listed.external_ids, listed.expires_at, listed.revoked_at) == (None,) * 4


async def test_a_key_is_narrowed_and_expires(store: TenantStore):
    tenant = await store.create_tenant("Acme")
    one, two = sorted([new_id("con"), new_id("con")])
    expires_at = now() + timedelta(days=1)
    await store.create_key(
        tenant.id,
        name="customer",
        role=Role.READ,
        pepper=PEPPER,
        connection_ids=[two, one, one],
        external_ids=[],
        expires_at=expires_at,
    )
    (listed,) = await store.list_keys(tenant.id)
    assert (listed.connection_ids, listed.external_ids) == ([one, two], [])  # [] is narrowed to nothing, not None
    assert listed.expires_at == expires_at


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires_at": datetime(2999, 1, 1)},  # noqa: DTZ001
        {"connection_ids": ["con_1"]},
        {"external_ids": [""]},
        {"external_ids": ["a" * 201]},
        {"external_ids": ["a\x00"]},
        {"external_ids": [str(number) for number in range(1001)]},
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(store: TenantStore, wrong: dict[str, Any]):
    tenant = await store.create_tenant("Acme")
    options: dict[str, Any] = {"name": "key", "role": Role.READ, "pepper": PEPPER} | wrong
    with pytest.raises(BadInput):
        await store.create_key(tenant.id, **options)
    assert await store.list_keys(tenant.id) == []


async def test_a_key_needs_a_tenant(store: TenantStore):
    with pytest.raises(NotFound):
        await store.create_key("nobody", name="key", role=Role.READ, pepper=PEPPER)


async def test_a_key_is_revoked_once_and_by_its_tenant_only(store: TenantStore):
    acme, globex = await store.create_tenant("Acme"), await store.create_tenant("Globex")
    record, _ = await store.create_key(acme.id, name="key", role=Role.READ, pepper=PEPPER)
    answers = []
    for key_id in (record.id, "key_missing"):
        with pytest.raises(NotFound) as caught:
            await store.revoke_key(globex.id, key_id)
        answers.append(caught.value.extensions() | {"message": caught.value.message})
    assert answers[0] == answers[1]
    assert await store.list_keys(globex.id) == []
    revoked = await store.revoke_key(acme.id, record.id)
    assert revoked.revoked_at is not None
    assert (await store.revoke_key(acme.id, record.id)).revoked_at == revoked.revoked_at


# --- the audit log ---


async def test_tenants_and_keys_are_audited_with_who_and_what_and_no_secret(store: TenantStore, database: Database):
    tenant = await store.create_tenant("Acme")
    record, shown = await store.create_key(
        tenant.id, name="key", role=Role.WRITE, pepper=PEPPER, external_ids=["cust"], actor="key:key_1"
    )
    await store.revoke_key(tenant.id, record.id, actor="jwt:ann")
    await store.revoke_key(tenant.id, record.id, actor="jwt:ann")  # changes nothing
    entries = (await Journal(database).page_audit(tenant.id, limit=10))[::-1]
    assert [(entry.action, entry.actor) for entry in entries] == [
        ("tenant.create", "command line"),
        ("api_key.create", "key:key_1"),
        ("api_key.revoke", "jwt:ann"),
    ]
    assert entries[1].details == {"apiKey": record.id, "name": "key", "role": "write", "isNarrowed": True}
    assert shown.rpartition("_")[2] not in repr([entry.model_dump() for entry in entries])


async def test_what_was_refused_left_no_entry(store: TenantStore, database: Database):
    tenant = await store.create_tenant("Acme", tenant_id="acme")
    with pytest.raises(Conflict):
        await store.create_tenant("Other", tenant_id="acme")
    with pytest.raises(BadInput):
        await store.create_key(tenant.id, name="", role=Role.READ, pepper=PEPPER)
    with pytest.raises(NotFound):
        await store.revoke_key(tenant.id, "key_" + "0" * 26)
    assert [entry.action for entry in await Journal(database).page_audit(tenant.id, limit=10)] == ["tenant.create"]
