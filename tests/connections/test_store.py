import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete
from sqlmodel import select

from service.columns import now
from service.connections.cache import SECONDS, ConnectionCache
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialRecord, IdempotencyRecord
from service.connections.store import ConnectionFilter, ConnectionStore
from service.connections.vault import Sealed, bind_token
from service.db import Database
from service.errors import BadInput, Conflict, Forbidden, NotFound
from service.ids import new_id
from service.tenants.caller import Caller, Role
from tests.connections.factory import ACME, TOKEN, add_connection
from tests.statements import statements

MISSING = "con_" + "0" * 26


async def credentials(database: Database) -> list[CredentialRecord]:
    async with database.session() as session:
        return list(await session.exec(select(CredentialRecord)))


async def add_answer(database: Database, connection) -> None:
    async def work(session) -> None:
        session.add(
            IdempotencyRecord(
                tenant_id=connection.tenant_id,
                connection_id=connection.id,
                key="k",
                request_hash="h",
                started_at=now(),
            )
        )

    await database.run_transaction(work)


async def answers(database: Database) -> int:
    async with database.session() as session:
        return len(list(await session.exec(select(IdempotencyRecord))))


# --- linking ---


async def test_a_new_connection_is_its_own_external_id_and_named_after_its_organization(store, vault, admin):
    connection = await add_connection(store, vault, admin)
    assert connection.external_id == connection.id
    assert connection.name == "Acme"
    assert connection.status is ConnectionStatus.ACTIVE
    linked = await store.get_linked(admin, connection.id)
    sealed = Sealed(linked.credential.key_id, linked.credential.access_token)
    assert vault.open(sealed, bind_token(linked.connection)) == TOKEN.encode()
    assert linked.credential.version == 1


async def test_linking_again_updates_the_same_connection_and_keeps_what_is_not_said(store, vault, admin, database):
    first = await add_connection(
        store, vault, admin, "cust", customer_id="c", name="Mine", projects=[{"id": "1", "slug": "web"}]
    )
    again = await add_connection(store, vault, admin, "cust", token=TOKEN + "2", organization_slug="acme-renamed")
    assert again.id == first.id
    assert (again.customer_id, again.name, again.projects) == ("c", "Mine", [{"id": "1", "slug": "web"}])
    assert again.organization_slug == "acme-renamed"
    [credential] = await credentials(database)
    assert credential.version == 2
    assert vault.open(Sealed(credential.key_id, credential.access_token), bind_token(again)) == (TOKEN + "2").encode()


async def test_linking_by_id_updates_the_connection(store, vault, admin):
    first = await add_connection(store, vault, admin)
    assert (await add_connection(store, vault, admin, first.id)).id == first.id
    with pytest.raises(NotFound):
        await add_connection(store, vault, admin, MISSING)


@pytest.mark.parametrize(
    "other",
    [
        {"organization_id": "3"},
        {"organization_id": None, "organization_slug": "other"},
        {"control_origin": "https://sentry.example", "organization_id": "3"},
        {"control_origin": "https://sentry.example", "organization_slug": "other"},
    ],
)
async def test_an_external_id_stands_for_one_organization_while_linked(store, vault, admin, other):
    first = await add_connection(store, vault, admin, "cust")
    with pytest.raises(Conflict, match="acme"):
        await add_connection(store, vault, admin, "cust", **other)
    linked = await store.get_linked(admin, first.id)
    assert linked.connection == first


async def test_once_unlinked_another_organization_takes_the_external_id_over_under_a_new_id(
    store, vault, admin, database
):
    first = await add_connection(store, vault, admin, "cust")
    await store.unlink(admin, first.id)
    second = await add_connection(store, vault, admin, "cust", organization_id="3", organization_slug="other")
    assert second.id != first.id
    assert set(await store.get_many(admin, [first.id, second.id])) == {second.id}
    assert (await store.get_many_by_external_id(admin, ["cust"]))["cust"].id == second.id
    assert len(await credentials(database)) == 1


async def test_an_organization_token_that_knows_only_the_slug_keeps_the_id(store, vault, admin):
    await add_connection(store, vault, admin, "cust")
    again = await add_connection(store, vault, admin, "cust", organization_id=None)
    assert again.organization_id == "2"


async def test_another_origin_replaces_the_credential_and_drops_the_answers(store, vault, admin, database):
    first = await add_connection(store, vault, admin, "cust")
    await add_answer(database, first)
    [before] = await credentials(database)
    moved = await add_connection(
        store, vault, admin, "cust", control_origin="https://sentry.example", api_origin="https://sentry.example"
    )
    assert moved.id == first.id
    [after] = await credentials(database)
    assert after.access_token != before.access_token
    assert await answers(database) == 0


async def test_the_same_origin_keeps_the_answers(store, vault, admin, database):
    first = await add_connection(store, vault, admin, "cust")
    await add_answer(database, first)
    await add_connection(store, vault, admin, "cust")
    assert await answers(database) == 1


async def test_eight_links_of_one_external_id_at_once_make_one_connection(store, vault, admin, database):
    made = await asyncio.gather(*(add_connection(store, vault, admin, "cust", token=TOKEN + str(n)) for n in range(8)))
    assert len({connection.id for connection in made}) == 1
    [credential] = await credentials(database)
    assert credential.version == 8
    assert vault.open(Sealed(credential.key_id, credential.access_token), bind_token(made[0]))


async def test_a_seal_that_fails_stores_nothing(store, admin, database):
    def fail(_):
        raise RuntimeError("no key")

    with pytest.raises(RuntimeError):
        await store.link(admin, replace(ACME, external_id="cust"), fail)
    assert await store.count(admin) == 0


async def test_linking_needs_an_admin_of_an_existing_tenant(store, vault, admin):
    for role in (Role.READ, Role.WRITE):
        with pytest.raises(Forbidden):
            await add_connection(store, vault, replace(admin, role=role))
    with pytest.raises(NotFound, match="tenant"):
        await add_connection(store, vault, replace(admin, tenant_id="ten_never"))


async def test_a_narrowed_admin_links_its_own_connections_again_but_makes_none(store, vault, admin):
    mine = await add_connection(store, vault, admin, "mine")
    await add_connection(store, vault, admin, "other")
    narrowed = replace(admin, external_ids=frozenset({"mine", "new"}))
    assert (await add_connection(store, vault, narrowed, "mine")).id == mine.id
    refused = []
    for external_id in ("other", "new", "never", None):
        with pytest.raises(Forbidden) as caught:
            await add_connection(store, vault, narrowed, external_id)
        refused.append(str(caught.value))
    assert len(set(refused)) == 1
    await store.unlink(admin, mine.id)
    with pytest.raises(Forbidden):
        await add_connection(store, vault, narrowed, "mine", organization_id="3")


# --- changing ---


async def test_update_changes_what_it_is_told(store, vault, admin):
    connection = await add_connection(store, vault, admin, customer_id="c")
    changed = await store.update(admin, connection.id, name="Other")
    assert (changed.name, changed.customer_id) == ("Other", "c")
    changed = await store.update(admin, connection.id, customer_id=None)
    assert (changed.name, changed.customer_id) == ("Other", None)
    changed = await store.update(admin, connection.id, customer_id="d")
    assert changed.updated_at > connection.updated_at
    assert (await store.get_many(admin, [connection.id]))[connection.id].customer_id == "d"


@pytest.mark.parametrize("text", ["", "  ", "x" * 201, "a\0b", "\ud800"])
async def test_update_refuses_what_cannot_be_stored(store, vault, admin, text):
    connection = await add_connection(store, vault, admin)
    with pytest.raises(BadInput, match="name"):
        await store.update(admin, connection.id, name=text)
    with pytest.raises(BadInput, match="customerId"):
        await store.update(admin, connection.id, customer_id=text)


async def test_projects_are_set_and_lifted(store, vault, admin):
    connection = await add_connection(store, vault, admin)
    limited = await store.set_projects(admin, connection.id, [{"id": "1", "slug": "web"}])
    assert limited.projects == [{"id": "1", "slug": "web"}]
    assert (await store.set_projects(admin, connection.id, None)).projects is None


async def test_unlinking_destroys_the_secret_and_linking_again_keeps_the_id(store, vault, admin, database):
    connection = await add_connection(store, vault, admin, "cust")
    await add_answer(database, connection)
    unlinked = await store.unlink(admin, connection.id)
    assert unlinked.status is ConnectionStatus.UNLINKED
    assert unlinked.scopes == []
    assert await credentials(database) == []
    assert await answers(database) == 0
    assert (await store.get_linked(admin, connection.id)).credential is None
    assert [found.id for found in await store.page(admin, limit=10)] == [connection.id]
    again = await add_connection(store, vault, admin, "cust")
    assert again.id == connection.id
    assert again.status is ConnectionStatus.ACTIVE


async def test_changes_need_an_admin(store, vault, admin):
    connection = await add_connection(store, vault, admin)
    writer = replace(admin, role=Role.WRITE)
    for change in (
        store.update(writer, connection.id, name="x"),
        store.set_projects(writer, connection.id, None),
        store.unlink(writer, connection.id),
    ):
        with pytest.raises(Forbidden):
            await change


# --- what is not the caller's ---


async def every_answer(store: ConnectionStore, caller: Caller, connection_id: str, external_id: str) -> list[object]:
    """What every operation says about a connection: its result, or its error in full."""

    async def say(operation) -> object:
        try:
            return await operation
        except Exception as error:  # noqa: BLE001  # every error is compared
            return type(error), str(error), getattr(error, "cure", None)

    return [
        await say(store.get_many(caller, [connection_id])),
        await say(store.get_many_by_external_id(caller, [external_id])),
        await say(store.get_linked(caller, connection_id)),
        await say(store.get_linked(caller, connection_id, fresh=True)),
        await say(store.page(caller, ConnectionFilter(external_id=external_id), limit=10)),
        await say(store.count(caller, ConnectionFilter(external_id=external_id))),
        await say(store.update(caller, connection_id, name="x")),
        await say(store.set_projects(caller, connection_id, [])),
        await say(store.unlink(caller, connection_id)),
    ]


@pytest.mark.parametrize("is_warm", [False, True])
async def test_foreign_and_missing_are_the_same(store, vault, admin, stranger, *, is_warm):
    foreign = await add_connection(store, vault, admin, "cust")
    other = await add_connection(store, vault, admin, "other")
    if is_warm:
        await store.get_many(admin, [foreign.id, other.id])
    callers = [
        stranger,
        replace(admin, connection_ids=frozenset({other.id})),
        replace(admin, external_ids=frozenset({"other"})),
        replace(admin, connection_ids=frozenset()),
        replace(stranger, connection_ids=frozenset({foreign.id}), external_ids=frozenset({"cust"})),
    ]
    for caller in callers:
        expected = await every_answer(store, caller, MISSING, "never")
        assert await every_answer(store, caller, foreign.id, "cust") == expected
        for malformed in ("", "x", "con_", foreign.id + "\0", foreign.id.upper(), "usr_1", "\ud800"):
            assert await every_answer(store, caller, malformed, malformed) == expected
    assert (await store.get_linked(admin, foreign.id, fresh=True)).connection == foreign


async def test_narrowing_names_connections_by_id_or_by_external_id(store, vault, admin):
    one, two, three = [await add_connection(store, vault, admin, name) for name in ("one", "two", "three")]
    narrowed = replace(admin, connection_ids=frozenset({one.id, "\0"}), external_ids=frozenset({"two", "\ud800"}))
    assert [found.id for found in await store.page(narrowed, limit=10)] == [one.id, two.id]
    assert set(await store.get_many(narrowed, [one.id, two.id, three.id])) == {one.id, two.id}
    assert set(await store.get_many_by_external_id(narrowed, ["one", "two", "three"])) == {"one", "two"}


# --- listing ---


async def test_pages_go_forward_and_backward_by_id(store, vault, admin):
    ids = sorted([(await add_connection(store, vault, admin)).id for _ in range(5)])

    async def page(**arguments) -> list[int]:
        return [ids.index(found.id) for found in await store.page(admin, **arguments)]

    assert await page(limit=2) == [0, 1]
    assert await page(limit=2, after=ids[1]) == [2, 3]
    assert await page(limit=2, after=ids[4]) == []
    assert await page(limit=2, before=ids[4]) == [2, 3]
    assert await page(limit=9, before=ids[0]) == []
    assert await page(limit=9, after=ids[0], before=ids[3]) == [1, 2]
    assert await page(limit=9, after="\0") == []
    assert await page(limit=9, before="\ud800") == []


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (ConnectionFilter(), {"100% Acme", "Acme_1", "beta"}),
        (ConnectionFilter(name="ACME"), {"100% Acme", "Acme_1"}),
        (ConnectionFilter(name="%"), {"100% Acme"}),
        (ConnectionFilter(name="_"), {"Acme_1"}),
        (ConnectionFilter(name="\\"), set()),
        (ConnectionFilter(name="a\0"), set()),
        (ConnectionFilter(customer_id="c"), {"Acme_1", "beta"}),
        (ConnectionFilter(customer_id="\ud800"), set()),
        (ConnectionFilter(external_id="b"), {"beta"}),
        (ConnectionFilter(organization="small"), {"beta"}),
        (ConnectionFilter(status=ConnectionStatus.UNLINKED), {"beta"}),
        (ConnectionFilter(status=ConnectionStatus.ACTIVE, customer_id="c"), {"Acme_1"}),
    ],
)
async def test_filters(store, vault, admin, stranger, *, wanted, names):
    await add_connection(store, vault, admin, name="100% Acme")
    await add_connection(store, vault, admin, name="Acme_1", customer_id="c")
    beta = await add_connection(store, vault, admin, "b", name="beta", customer_id="c", organization_slug="small")
    await store.unlink(admin, beta.id)
    await add_connection(store, vault, stranger, "b", name="Acme_1 beta 100%", customer_id="c")
    assert {found.name for found in await store.page(admin, wanted, limit=10)} == names
    assert await store.count(admin, wanted) == len(names)


# --- the cache ---


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


async def test_changes_of_this_process_are_seen_at_once_and_of_others_within_seconds(database, vault, admin):
    clock = Clock()
    store, other = ConnectionStore(database, ConnectionCache(timer=clock)), ConnectionStore(database)
    connection = await add_connection(store, vault, admin, "cust")

    async def seen() -> str:
        by_id = (await store.get_many(admin, [connection.id]))[connection.id]
        by_external_id = (await store.get_many_by_external_id(admin, ["cust"]))["cust"]
        linked = await store.get_linked(admin, connection.id)
        (listed,) = await store.page(admin, limit=10)
        assert by_id.name == by_external_id.name == linked.connection.name == listed.name
        return by_id.name

    assert await seen() == "Acme"
    await store.update(admin, connection.id, name="Ours")
    assert await seen() == "Ours"
    await other.update(admin, connection.id, name="Theirs")
    assert await seen() == "Ours"
    assert (await store.get_linked(admin, connection.id, fresh=True)).connection.name == "Theirs"
    await other.update(admin, connection.id, name="Later")
    clock.time += SECONDS + 0.1
    assert await seen() == "Later"


async def test_a_connection_in_use_is_read_anew_beside_a_request_before_it_is_forgotten(database, vault, admin):
    clock = Clock()
    store, other = ConnectionStore(database, ConnectionCache(timer=clock)), ConnectionStore(database)
    connections = [await add_connection(store, vault, admin, name) for name in ("one", "two")]
    await store.get_many(admin, [each.id for each in connections])
    for each in connections:
        await other.update(admin, each.id, name="Theirs")

    async def seen() -> list[str]:
        by_external_id = (await store.get_many_by_external_id(admin, ["one"]))["one"]
        return [(await store.get_linked(admin, connections[1].id)).connection.name, by_external_id.name]

    clock.time += 2.1
    with statements() as sent:
        assert await seen() == await seen() == ["Acme"] * 2
        assert sent == []
        await store._loads_ahead.drain()
        assert len(sent) == 1  # for both
        assert await seen() == ["Theirs"] * 2
        clock.time += 1.9
        assert await seen() == ["Theirs"] * 2
        assert len(sent) == 1
    assert store._ageing == {}


async def test_what_is_read_beside_requests_ends_when_the_store_is_closed(database, vault, admin):
    clock = Clock()
    store = ConnectionStore(database, ConnectionCache(timer=clock))
    connection = await add_connection(store, vault, admin, "cust")
    await store.get_linked(admin, connection.id)
    clock.time += 2.1
    await store.get_linked(admin, connection.id)
    await store.aclose()
    assert store._loads_ahead._running == {}
    assert store._ageing == {}


async def test_lists_are_remembered_for_who_asked_and_what(store, vault, admin):
    one = await add_connection(store, vault, admin, "one", customer_id="c1")
    other = await add_connection(store, vault, admin, "other", customer_id="c2")
    narrowed = replace(admin, external_ids=frozenset({"other"}))

    async def lists() -> list[list[str]]:
        pages = [
            await store.page(admin, limit=10),
            await store.page(admin, limit=1),
            await store.page(admin, limit=10, after=one.id),
            await store.page(admin, limit=10, before=other.id),
            await store.page(admin, ConnectionFilter(customer_id="c1"), limit=10),
            await store.page(narrowed, limit=10),
            await store.page(replace(admin, tenant_id="ten_2"), limit=10),
        ]
        return [[each.id for each in page] for page in pages]

    expected = [[one.id, other.id], [one.id], [other.id], [one.id], [one.id], [other.id], []]
    assert await lists() == expected
    (await store.page(admin, limit=10)).clear()  # whoever changes the list has one of their own
    with statements() as asked:
        assert await lists() == expected
    assert asked == []


async def test_whoever_lists_connections_reads_through_them_without_asking_again(store, vault, admin):
    for name in ("one", "other"):
        await add_connection(store, vault, admin, name)
    with statements() as asked:
        for each in await store.page(admin, limit=10):
            assert (await store.get_linked(admin, each.id)).credential is not None
    assert len(asked) == 1


async def test_a_cached_connection_needs_no_database(store, vault, admin, database):
    connection = await add_connection(store, vault, admin, "cust")
    await store.get_many(admin, [connection.id])
    await database.run_transaction(lambda session: session.exec(delete(ConnectionRecord)))
    assert set(await store.get_many(admin, [connection.id])) == {connection.id}
    assert set(await store.get_many_by_external_id(admin, ["cust"])) == {"cust"}
    assert (await store.get_linked(admin, connection.id)).connection.id == connection.id


async def test_who_misses_it_in_the_cache_at_once_shares_a_reading_and_what_it_shows_is_their_own(
    store, vault, admin, stranger
):
    connection = await add_connection(store, vault, admin)
    found = await asyncio.gather(
        *(store.get_linked(admin, connection.id) for _ in range(50)),
        *(store.get_linked(stranger, connection.id) for _ in range(50)),
        return_exceptions=True,
    )
    assert len({id(each) for each in found[:50]}) == 1
    assert {type(each) for each in found[50:]} == {NotFound}


async def test_who_misses_the_same_ones_in_the_cache_at_once_shares_a_reading(store, vault, admin):
    ids = {(await add_connection(store, vault, admin, name)).id for name in ("one", "other")}
    with statements() as asked:
        found = await asyncio.gather(*(store.get_many(admin, ids) for _ in range(50)))
    assert [set(each) for each in found] == [ids] * 50
    assert len(asked) == 1


async def test_what_was_just_written_is_read_whatever_reading_is_under_way(store, vault, admin):
    connection = await add_connection(store, vault, admin)
    for number in range(20):
        store._cache.forget(connection)
        earlier = asyncio.create_task(store.get_linked(admin, connection.id))
        await asyncio.sleep(0)
        await store.update(admin, connection.id, name=f"name {number}")
        assert (await store.get_linked(admin, connection.id)).connection.name == f"name {number}"
        await earlier


async def test_what_was_read_before_a_write_is_not_remembered(store, vault, admin):
    connection = await add_connection(store, vault, admin)
    linked = await store.get_linked(admin, connection.id)
    cache = ConnectionCache()
    writes = cache.writes
    cache.forget(connection)
    cache.add(linked, writes=writes)
    assert cache.get(connection.tenant_id, connection.id) is None
    cache.add(linked, writes=cache.writes)
    remembered = cache.get(connection.tenant_id, connection.id)
    assert remembered is not None
    assert (remembered.connection, remembered.credential) == (linked.connection, linked.credential)


async def test_every_connection_is_found_over_several_reads(store, vault, admin, stranger, database):
    assert await store.every(admin) == []
    first = await add_connection(store, vault, admin)
    copied = first.model_dump(exclude={"id", "external_id"})
    ids = [new_id("con") for _ in range(1000)]
    async with database.session() as session:
        session.add_all([ConnectionRecord(id=each, external_id=each, **copied) for each in ids])
        await session.commit()
    assert [connection.id for connection in await store.every(admin)] == sorted([first.id, *ids])
    assert await store.every(stranger) == []
