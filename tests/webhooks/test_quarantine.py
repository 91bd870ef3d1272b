import asyncio
from collections import Counter
from datetime import timedelta

from sqlmodel import update

from service.columns import now
from service.connections.models import ConnectionStatus
from service.connections.receiver_models import QuarantineReason, QuarantineRecord
from service.ids import new_id
from service.sentry.hooks import Hook
from service.tenants.caller import Caller
from service.webhooks.quarantine import ADOPTED_WITHIN, KEPT, MOST_OF_APP, MOST_OF_SOURCE, add_quarantined
from service.webhooks.sorting import Quarantined
from tests.webhooks.receiving import APP, OTHER_APP, OTHER_UUID, UUID, Receiving, envelope, installation, issue


async def age(service: Receiving, by: timedelta) -> None:
    async with service.database.session() as session:
        await session.exec(update(QuarantineRecord).values(created_at=now() - by))
        await session.commit()


async def test_what_is_nobodys_is_kept_whole(service: Receiving, admin: Caller):
    await service.link(admin)
    body = issue(3, "resolved", uuid=OTHER_UUID)
    assert await service.send(body) == 200
    [record] = await service.quarantined()
    assert (record.reason, record.type, record.body) == ("unknown_installation", "issue.resolved", body)
    assert (record.tenant_id, record.connection_id, record.receiver_id) == (None, None, None)
    assert (record.client_id, record.installation_id) == (APP.client_id, OTHER_UUID)
    assert record.headers["sentry-hook-resource"] == "issue"
    assert service.observed == [("app", "quarantined")]
    assert await service.types() == []


async def test_it_becomes_events_once_the_installation_is_linked(service: Receiving, admin: Caller):
    bodies = [installation("created"), issue(1), issue(2, "resolved"), issue(1)]
    for body in bodies:
        assert await service.send(body, None) == 200
    assert await service.send(issue(9, uuid=OTHER_UUID)) == 200
    assert await service.quarantine.adopt() == 0
    connection = await service.link(admin)
    assert await service.quarantine.adopt() == 4
    events = await service.events()
    assert [event.body for event in events] == bodies
    assert {event.connection_id for event in events} == {connection.id}
    assert [event.issue_id for event in events] == [None, "1", "2", "1"]
    assert events[3].repeat_of == events[1].id
    assert [record.installation_id for record in await service.quarantined()] == [OTHER_UUID]
    assert await service.quarantine.adopt() == 0
    assert len(await service.events()) == 4


async def test_what_came_while_it_was_unlinked_is_adopted_when_it_is_linked_again(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    await service.store.unlink(admin, connection.id)
    assert await service.send(issue()) == 200
    assert await service.reasons() == ["unlinked"]
    await service.link(admin)
    assert await service.quarantine.adopt() == 1
    assert await service.types() == ["issue.created"]


async def test_it_is_adopted_within_a_day_by_its_own_app_and_projects(service: Receiving, admin: Caller):
    assert await service.send(issue(1)) == 200
    await age(service, ADOPTED_WITHIN)
    assert await service.send(issue(2)) == 200
    assert await service.send(issue(3), app=OTHER_APP) == 200
    assert await service.send(issue(4, project={"id": "6", "slug": "api"})) == 200
    await service.link(admin, projects=[{"id": "5", "slug": "web"}])
    await service.quarantine.adopt()
    assert [event.issue_id for event in await service.events()] == ["2"]
    assert sorted(await service.reasons()) == ["other_project", "unknown_installation", "unknown_installation"]


async def test_a_connection_whose_end_was_in_quarantine_ends(service: Receiving, admin: Caller):
    assert await service.send(issue()) == 200
    assert await service.send(installation(), "installation") == 200
    connection = await service.link(admin)  # in the very moment
    assert await service.quarantine.adopt() == 2
    assert await service.types() == ["issue.created", "installation.deleted"]
    assert await service.quarantined() == []
    linked = await service.store.get_linked(admin, connection.id)
    assert linked.connection.status is ConnectionStatus.UNLINKED


async def test_what_is_no_ones_for_another_reason_is_not_adopted(service: Receiving, admin: Caller):
    connection = await service.link(admin, installation_id=OTHER_UUID)
    receiver = await service.receiver(admin, connection)
    assert await service.send_to(receiver, issue(1)) == 200
    assert await service.send(envelope("created", {}, uuid=None), "issue") == 200
    await service.link(admin, "of the installation")
    assert await service.quarantine.adopt() == 0
    assert sorted(await service.reasons()) == ["other_installation", "unknown_installation"]


async def put(service: Receiving, client_id: str, installation_id: str, count: int) -> None:
    hook = Hook("issue", "created", installation_id)
    item = Quarantined(QuarantineReason.UNKNOWN_INSTALLATION, hook, {}, b"", client_id=client_id)
    await service.database.run_transaction(lambda session: add_quarantined(session, [item] * count))


async def test_the_oldest_of_each_installation_and_app_make_room(service: Receiving):
    async def count() -> Counter[str | None]:
        return Counter(record.installation_id for record in await service.quarantined())

    await put(service, "other", "a", 7)
    await put(service, APP.client_id, "b", MOST_OF_SOURCE)
    before = {record.id for record in await service.quarantined()}
    await put(service, APP.client_id, "b", 3)
    assert await count() == {"a": 7, "b": MOST_OF_SOURCE}
    assert len({record.id for record in await service.quarantined()} - before) == 3
    for number in range(MOST_OF_APP // MOST_OF_SOURCE):
        await put(service, APP.client_id, str(number), MOST_OF_SOURCE)
    assert await count() == {"a": 7} | {str(number): MOST_OF_SOURCE for number in range(10)}


async def test_the_oldest_of_each_receiver_make_room(service: Receiving, admin: Caller):
    connection = await service.link(admin, installation_id=OTHER_UUID)
    first, second = [await service.receiver(admin, connection) for _ in range(2)]
    assert await service.send_to(first, issue(0)) == 200
    bodies = [issue(number) for number in range(MOST_OF_SOURCE + 2)]
    assert set(await asyncio.gather(*(service.send_to(second, body) for body in bodies))) == {200}
    assert Counter(record.receiver_id for record in await service.quarantined()) == {
        first.id: 1,
        second.id: MOST_OF_SOURCE,
    }


async def test_what_is_old_is_forgotten(service: Receiving):
    assert await service.send(issue(1)) == 200
    await age(service, KEPT)
    assert await service.send(issue(2)) == 200
    await service.quarantine.purge()
    assert [record.body for record in await service.quarantined()] == [issue(2)]


async def test_pages_of_a_tenant_and_of_all(service: Receiving, admin: Caller, stranger: Caller):
    mine = await service.receiver(admin, await service.link(admin, installation_id=OTHER_UUID))
    theirs = await service.receiver(stranger, await service.link(stranger, installation_id=OTHER_UUID))
    for number in range(3):
        assert await service.send_to(mine, issue(number)) == 200
        assert await service.send_to(theirs, issue(number)) == 200
        assert await service.send(issue(number, uuid=UUID)) == 200
    pages = service.quarantine.page
    assert len(await pages(None, limit=100)) == 9
    own = await pages("ten_1", limit=100)
    assert {record.receiver_id for record in own} == {mine.id}
    ids = [record.id for record in own]
    assert ids == sorted(ids, reverse=True)
    assert [record.id for record in await pages("ten_1", limit=2, after=ids[0])] == ids[1:]
    assert [record.id for record in await pages("ten_1", limit=1, before=ids[2])] == [ids[1]]
    assert await pages("ten_1", limit=9, seen=[new_id("con")]) == []
    assert len(await pages("ten_1", limit=9, seen=[mine.connection_id])) == 3
