from datetime import timedelta

import pytest

from service.columns import now
from service.connections.keyring import Keyring
from service.connections.receiver_models import ReceiverKind
from service.connections.rewrap import rewrap
from service.connections.vault import Vault
from service.db import Database
from service.errors import AddressUnavailable, BadInput, Conflict, Forbidden, NotFound
from service.ids import new_id
from service.journal import Journal
from service.tenants.caller import Caller, Role
from service.webhooks.addresses import Addresses
from service.webhooks.finding import ReceiverFinder
from service.webhooks.receivers import MOST, Receivers
from tests.canary import find_canary
from tests.webhooks.receiving import SECRET, Receiving, issue

INTERNAL, HOOK, PLUGIN = ReceiverKind.INTERNAL_INTEGRATION, ReceiverKind.SERVICE_HOOK, ReceiverKind.LEGACY_PLUGIN


async def test_a_receiver_is_made_listed_and_deleted(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    made = [await service.receiver(admin, connection, kind) for kind in (INTERNAL, HOOK)]
    made.append(await service.receiver(admin, connection, PLUGIN, None))
    assert len({service.receivers.url(each) for each in made}) == 3
    assert [each.id for each in await service.receivers.list_of(admin, connection.id)] == [each.id for each in made]
    await service.receivers.delete(admin, made[1].id)
    listed = await service.receivers.list_of(admin, connection.id)
    assert [each.kind for each in listed] == [INTERNAL, PLUGIN]
    await service.receivers.rotate_secret(admin, made[0].id, "a9" * 32, overlap=timedelta(1))
    entries = await Journal(service.database).page_audit("ten_1", limit=5)
    assert [entry.action for entry in entries if entry.action.startswith("webhook_receiver")] == [
        "webhook_receiver.rotate_secret",
        "webhook_receiver.delete",
        *["webhook_receiver.create"] * 3,
    ]
    assert entries[0].details == {"receiver": made[0].id, "kind": "internal_integration"}
    assert entries[0].connection_id == connection.id


async def test_a_secret_is_sealed_and_sealed_anew(service: Receiving, admin: Caller, keyring: Keyring):
    receiver = await service.receiver(admin, await service.link(admin), secret=f"  {SECRET}\n")
    assert find_canary(SECRET, receiver.secret or b"") == []
    await service.receivers.rotate_secret(admin, receiver.id, "a9" * 32, overlap=timedelta(1))
    keyring.rotate()
    assert (await rewrap(service.database, Vault(keyring))).unreadable == 0
    [found] = await service.receivers.list_of(admin, receiver.connection_id)
    assert found.key_id == found.previous_key_id == keyring.active_id
    finder = ReceiverFinder(service.database, service.vault, legacy=False)
    assert finder.secrets(found) == ("a9" * 32, SECRET)
    found.previous_until = now()
    assert finder.secrets(found) == ("a9" * 32,)


@pytest.mark.parametrize(
    "secret", [None, "", " " * 40, "short", "x" * 201, "ü" * 32, "x" * 20 + "\0" + "x" * 20, "a b\tc" * 8]
)
async def test_a_secret_that_cannot_be_one_is_refused_unrepeated(service: Receiving, admin: Caller, secret: str | None):
    connection = await service.link(admin)
    with pytest.raises(BadInput) as caught:
        await service.receiver(admin, connection, secret=secret)
    assert not secret or len(secret) < 10 or secret not in str(caught.value)


async def test_the_legacy_plugin_has_no_secret_and_must_be_allowed(
    service: Receiving, admin: Caller, database: Database, keyring: Keyring
):
    connection = await service.link(admin)
    with pytest.raises(BadInput, match="signs nothing"):
        await service.receiver(admin, connection, PLUGIN, SECRET)
    plugin = await service.receiver(admin, connection, PLUGIN, None)
    with pytest.raises(BadInput, match="no secret"):
        await service.receivers.rotate_secret(admin, plugin.id, SECRET, overlap=timedelta(0))
    strict = Receiving.build(database, keyring, legacy=False)
    async with strict.running():
        with pytest.raises(BadInput, match="operator") as caught:
            await strict.receiver(admin, connection, PLUGIN, None)
    assert "SENTRY_GRAPH_LEGACY_WEBHOOKS" in (caught.value.cure or "")


async def test_without_a_public_address_there_are_no_receivers(service: Receiving, admin: Caller, keyring: Keyring):
    connection = await service.link(admin)
    finder = ReceiverFinder(service.database, service.vault, legacy=True)
    receivers = Receivers(service.database, service.vault, Addresses(keyring, public_url=None), finder)
    with pytest.raises(AddressUnavailable):
        await receivers.create(admin, connection.id, INTERNAL, SECRET)


async def test_a_connection_has_so_many_at_most(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    for _ in range(MOST):
        await service.receiver(admin, connection)
    with pytest.raises(Conflict):
        await service.receiver(admin, connection)
    await service.receiver(admin, await service.link(admin, "other", installation_id=None))


async def test_what_is_foreign_is_not_there(service: Receiving, admin: Caller, stranger: Caller):
    connection = await service.link(admin)
    receiver = await service.receiver(admin, connection)
    narrowed = Caller("ten_1", Role.ADMIN, "test", frozenset({new_id("con")}), None)
    answers = set()
    for caller in (stranger, narrowed):
        for id_ in (connection.id, new_id("con"), "x", "\0", "\ud800"):
            for work in (
                service.receivers.create(caller, id_, INTERNAL, SECRET),
                service.receivers.list_of(caller, id_),
            ):
                with pytest.raises(NotFound) as caught:
                    await work
                answers.add(caught.value.message)
        for id_ in (receiver.id, new_id("whr"), "x", "\0", "\ud800"):
            for work in (
                service.receivers.rotate_secret(caller, id_, SECRET, overlap=timedelta(0)),
                service.receivers.delete(caller, id_),
            ):
                with pytest.raises(NotFound) as caught:
                    await work
                answers.add(caught.value.message)
    assert answers == {"There is no such connection.", "There is no such webhook receiver."}
    seen = Caller("ten_1", Role.ADMIN, "test", None, frozenset({"cust"}))
    assert [each.id for each in await service.receivers.list_of(seen, connection.id)] == [receiver.id]
    assert await service.send_to(receiver, issue()) == 200


@pytest.mark.parametrize("role", [Role.READ, Role.WRITE])
async def test_it_takes_an_admin(service: Receiving, admin: Caller, role: Role):
    receiver = await service.receiver(admin, await service.link(admin))
    lesser = Caller("ten_1", role, "test")
    for work in (
        service.receivers.create(lesser, receiver.connection_id, INTERNAL, SECRET),
        service.receivers.list_of(lesser, receiver.connection_id),
        service.receivers.rotate_secret(lesser, receiver.id, SECRET, overlap=timedelta(0)),
        service.receivers.delete(lesser, receiver.id),
    ):
        with pytest.raises(Forbidden):
            await work
