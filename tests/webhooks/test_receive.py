"""What becomes of genuine webhooks: whose they are, what is stored of them, and what is answered."""

from datetime import timedelta

import pytest
from sqlmodel import col, select

from service.columns import now
from service.connections.models import ConnectionStatus
from service.connections.receiver_models import ReceiverKind
from service.events.models import DeliveryRecord, EndpointPayload, EndpointRecord, EndpointStatus, EventRecord
from service.journal import Journal
from service.tenants.caller import Caller
from tests.webhooks.receiving import (
    OTHER_UUID,
    UUID,
    Receiving,
    envelope,
    installation,
    issue,
    plugin_post,
    service_hook,
)

INTERNAL, HOOK, PLUGIN = ReceiverKind.INTERNAL_INTEGRATION, ReceiverKind.SERVICE_HOOK, ReceiverKind.LEGACY_PLUGIN


async def statuses(service: Receiving, caller: Caller) -> dict[str, ConnectionStatus]:
    return {each.external_id: each.status for each in await service.store.every(caller)}


# --- public apps ---


async def test_an_event_of_the_connection_that_the_app_linked(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    body = issue(121, "resolved")
    assert await service.send(body) == 200
    [event] = await service.events()
    assert (event.tenant_id, event.connection_id, event.type) == ("ten_1", connection.id, "issue.resolved")
    assert (event.issue_id, event.project_id, event.project_slug, event.level) == ("121", "5", "web", "error")
    assert (event.body, event.repeat_of, event.is_synthetic, event.data) == (body, None, False, {})
    assert event.headers == {
        "content-type": "application/json",
        "request-id": "5a" * 16,
        "sentry-hook-resource": "issue",
        "sentry-hook-timestamp": "1795407890",
    }
    assert service.observed == [("app", "accepted")]


async def test_its_deliveries_are_stored_with_it(service: Receiving, admin: Caller):
    await service.link(admin)
    endpoint = EndpointRecord(
        id="whe_1",
        tenant_id="ten_1",
        url="https://consumer.example",
        status=EndpointStatus.ENABLED,
        payload=EndpointPayload.SENTRY,
        types=["issue.*"],
        key_id="key",
        secret=b"",
        created_at=now(),
        updated_at=now(),
    )
    async with service.database.session() as session:
        session.add(endpoint)
        await session.commit()
    assert await service.send(issue()) == 200
    assert await service.send(envelope("created", {"comment_id": 1, "issue_id": 1}), "comment") == 200
    [event, _] = await service.events()
    async with service.database.session() as session:
        assert [each.event_id for each in await session.exec(select(DeliveryRecord))] == [event.id]


async def test_an_old_word_is_kept_under_the_new_one(service: Receiving, admin: Caller):
    await service.link(admin)
    assert await service.send(issue(action="ignored")) == 200
    assert await service.types() == ["issue.archived"]


@pytest.mark.parametrize(
    ("resource", "body", "type_"),
    [
        ("brand_new", envelope("happened", {"thing": [1, 2, {"a": None}]}), "brand_new.happened"),
        ("issue", envelope("transmogrified", {"issue": {"id": "7"}}), "issue.transmogrified"),
        ("issue", envelope("created", [1, 2]), "issue.created"),
        (None, envelope("created", {"thing": 1}), "unknown.created"),
        ("x y", b'{"installation":{"uuid":"%s"},"action":7}' % UUID.encode(), "unknown.unknown"),
        ("issue", b' {"installation" : {"uuid":"%s"},\n"action":"created","a":1e1 } ' % UUID.encode(), "issue.created"),
    ],
)  # fmt: skip
async def test_what_is_unknown_is_kept_byte_by_byte(
    service: Receiving, admin: Caller, resource: str | None, body: bytes, type_: str
):
    await service.link(admin)
    assert await service.send(body, resource) == 200
    [event] = await service.events()
    assert (event.type, event.body) == (type_, body)


async def test_a_repeat_is_marked_and_kept(service: Receiving, admin: Caller):
    await service.link(admin)
    for body in (issue(1), issue(2), issue(1), issue(1)):
        assert await service.send(body) == 200
    first, second, *repeats = await service.events()
    assert (first.repeat_of, second.repeat_of) == (None, None)
    assert [event.repeat_of for event in repeats] == [first.id, first.id]
    assert [outcome for _, outcome in service.observed] == ["accepted", "accepted", "repeat", "repeat"]


async def test_an_installation_of_two_tenants_is_an_event_of_each(service: Receiving, admin: Caller, stranger: Caller):
    await service.link(admin)
    await service.link(stranger)
    assert await service.send(issue()) == 200
    assert {event.tenant_id for event in await service.events()} == {"ten_1", "ten_2"}


async def test_a_connection_that_needs_a_new_link_still_hears(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    async with service.database.session() as session:
        connection.status = ConnectionStatus.NEEDS_REAUTH
        session.add(connection)
        await session.commit()
    assert await service.send(issue()) == 200
    assert await service.types() == ["issue.created"]


async def test_a_connection_that_is_limited_to_projects_hears_of_those(service: Receiving, admin: Caller):
    await service.link(admin, projects=[{"id": "5", "slug": "renamed-since"}])
    comment = {"comment_id": 1, "issue_id": 1, "project_slug": "renamed-since"}
    for body in (issue(1), envelope("created", {"thing": 1}), envelope("created", comment)):
        assert await service.send(body, None) == 200
    assert await service.reasons() == []
    assert await service.send(issue(2, project={"id": "6", "slug": "renamed-since"})) == 200
    assert await service.send(envelope("created", comment | {"project_slug": "web"}), "comment") == 200
    assert len(await service.events()) == 3
    assert await service.reasons() == ["other_project"] * 2
    assert {record.tenant_id for record in await service.quarantined()} == {"ten_1"}
    assert [outcome for _, outcome in service.observed] == ["accepted"] * 3 + ["quarantined"] * 2


# --- installing and uninstalling ---


async def test_an_uninstalled_app_unlinks_its_connection(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    assert (await service.store.get_linked(admin, connection.id)).credential is not None
    assert await service.send(installation("created"), "installation") == 200
    assert await service.send(installation(), "installation") == 200
    linked = await service.store.get_linked(admin, connection.id)  # also out of the cache
    assert linked.connection.status is ConnectionStatus.UNLINKED
    assert linked.credential is None
    async with service.database.session() as session:
        types = list(await session.exec(select(EventRecord.type).order_by(col(EventRecord.position))))
    assert types == ["connection.linked", "installation.created", "installation.deleted", "connection.unlinked"]
    entry = (await Journal(service.database).page_audit("ten_1", limit=1))[0]
    assert (entry.action, entry.actor, entry.connection_id) == ("connection.unlink", "Sentry", connection.id)
    assert await service.send(issue()) == 200
    assert await service.reasons() == ["unlinked"]


async def test_the_secret_before_still_signs(service: Receiving, admin: Caller):
    await service.link(admin)
    assert await service.send(installation(), "installation", secret="secret-0") == 200
    assert await statuses(service, admin) == {"cust": ConnectionStatus.UNLINKED}


async def test_the_body_alone_says_that_an_app_was_uninstalled(service: Receiving, admin: Caller):
    await service.link(admin)
    thing = envelope("deleted", {"thing": {"uuid": UUID}})
    assert await service.send(thing, "installation") == 200
    assert await service.send(installation("suspended"), "installation") == 200
    assert await statuses(service, admin) == {"cust": ConnectionStatus.ACTIVE}
    assert await service.send(installation(), None) == 200
    assert await statuses(service, admin) == {"cust": ConnectionStatus.UNLINKED}


async def test_a_body_that_contradicts_itself_is_refused(service: Receiving, admin: Caller):
    await service.link(admin)
    two = installation().replace(UUID.encode(), OTHER_UUID.encode(), 1)
    assert await service.send(two, "installation") == 400
    assert await service.send(installation(), "issue") == 400
    assert await service.send(issue(), "installation") == 400
    assert await service.types() == []
    assert await service.reasons() == []
    assert service.observed == [("app", "refused")] * 3
    assert await statuses(service, admin) == {"cust": ConnectionStatus.ACTIVE}


# --- receivers ---


@pytest.mark.parametrize(
    ("kind", "body", "type_"),
    [
        (INTERNAL, issue(7, "resolved"), "issue.resolved"),
        (INTERNAL, issue(7, "resolved", uuid=None), "issue.resolved"),
        (INTERNAL, issue(7, "resolved", uuid=OTHER_UUID), "issue.resolved"),  # the connection knows of none
        (HOOK, service_hook(number=7), "event.created"),
        (HOOK, b"[7]", "event.unknown"),
        (PLUGIN, plugin_post(7), "event.alert"),
        (PLUGIN, b"7", "event.unknown"),
    ],
)
async def test_what_comes_to_a_receiver_is_its_connections(
    service: Receiving, admin: Caller, kind: ReceiverKind, body: bytes, type_: str
):
    connection = await service.link(admin, client=None, installation_id=None)
    await service.link(admin, "other")
    receiver = await service.receiver(admin, connection, kind, None if kind is PLUGIN else "5f" * 32)
    assert await service.send_to(receiver, body) == 200
    [event] = await service.events()
    assert (event.connection_id, event.type, event.body) == (connection.id, type_, body)
    assert event.issue_id == ("7" if body.startswith(b"{") else None)
    assert service.observed == [("receiver", "accepted")]
    await service.last_used.flush()
    [listed] = await service.receivers.list_of(admin, connection.id)
    assert listed.last_used_at is not None


async def test_both_secrets_are_good_while_one_is_rotated(service: Receiving, admin: Caller):
    receiver = await service.receiver(admin, await service.link(admin))
    assert await service.send_to(receiver, issue(1)) == 200
    new = "a9" * 32
    await service.receivers.rotate_secret(admin, receiver.id, new, overlap=timedelta(hours=1))
    assert await service.send_to(receiver, issue(2)) == 200
    assert await service.send_to(receiver, issue(3), secret=new) == 200
    newest = "b1" * 32
    await service.receivers.rotate_secret(admin, receiver.id, newest, overlap=timedelta(0))
    assert await service.send_to(receiver, issue(4)) == 401
    assert await service.send_to(receiver, issue(5), secret=new) == 401
    assert await service.send_to(receiver, issue(6), secret=newest) == 200
    assert len(await service.events()) == 4


async def test_what_is_not_the_connections_is_put_into_quarantine(service: Receiving, admin: Caller):
    known = await service.link(admin, projects=[{"id": "5", "slug": "web"}])
    own = await service.receiver(admin, known)
    hook = await service.receiver(admin, known, HOOK)
    assert await service.send_to(own, issue(1, uuid=OTHER_UUID)) == 200
    assert await service.send_to(own, issue(2, project={"id": "6"})) == 200
    assert await service.send_to(hook, service_hook("acme", "api")) == 200
    assert await service.send_to(hook, service_hook("other", "web")) == 200
    assert await service.types() == []
    assert await service.reasons() == ["other_installation", "other_project", "other_project", "other_project"]
    assert await service.send_to(own, issue(3)) == 200
    assert await service.send_to(hook, service_hook()) == 200
    await service.store.unlink(admin, known.id)
    service.hooks._finder.forget(own.id)
    assert await service.send_to(own, issue(4)) == 200
    assert await service.types() == ["issue.created", "event.created"]
    last = (await service.quarantined())[-1]
    assert (last.reason, last.tenant_id, last.connection_id) == ("unlinked", "ten_1", known.id)
    assert (last.receiver_id, last.client_id, last.body) == (own.id, None, issue(4))


async def test_a_deleted_receiver_takes_nothing_more(service: Receiving, admin: Caller):
    receiver = await service.receiver(admin, await service.link(admin))
    assert await service.send_to(receiver, issue(1)) == 200
    await service.receivers.delete(admin, receiver.id)
    assert await service.send_to(receiver, issue(2)) == 401
    assert len(await service.events()) == 1


async def test_the_legacy_plugin_is_refused_once_it_is_switched_off(service: Receiving, admin: Caller):
    receiver = await service.receiver(admin, await service.link(admin), PLUGIN, None)
    assert await service.send_to(receiver, plugin_post()) == 200
    off = Receiving.build(service.database, service.keyring, legacy=False)
    async with off.running():
        assert await off.send_to(receiver, plugin_post()) == 401


async def test_an_internal_integration_unlinks_nothing(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    receiver = await service.receiver(admin, connection)
    assert await service.send_to(receiver, installation(), "installation") == 200
    assert await service.types() == ["installation.deleted"]
    assert await statuses(service, admin) == {"cust": ConnectionStatus.ACTIVE}
