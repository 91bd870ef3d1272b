"""Endpoints: made, changed, their secrets replaced, tested, deleted; and whose they are."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from service.columns import now
from service.connections.keyring import Keyring
from service.connections.models import ConnectionRecord
from service.connections.rewrap import rewrap
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.errors import BadInput, Conflict, Forbidden, NotFound, SecretUnreadable
from service.events.append import plan_delivery
from service.events.models import (
    AttemptRecord,
    DeliveryStatus,
    EndpointPayload,
    EndpointRecord,
    EndpointStatus,
)
from service.journal import AuditRecord
from service.tenants.caller import Caller, Role
from service.webhooks.endpoint_rules import MOST_ENDPOINTS, EndpointChange
from service.webhooks.endpoints import OVERLAP
from service.webhooks.secrets import open_secrets
from tests.connections.factory import add_connection
from tests.webhooks.delivering import Post
from tests.webhooks.test_settling import GONE, OK, Desk


async def narrowed(post: Post, *connections: ConnectionRecord) -> Caller:
    return replace(post.caller, connection_ids=frozenset(each.id for each in connections))


async def audited(post: Post) -> list[tuple[str, str | None]]:
    """What was done, to which connection."""
    async with post.database.session() as session:
        found = await session.exec(select(AuditRecord).order_by(AuditRecord.id))
        return [(entry.action, entry.connection_id) for entry in found if entry.action.startswith("webhook")]


async def test_an_endpoint_is_made_as_asked_with_a_secret_that_is_sealed(
    post: Post, store: ConnectionStore, vault: Vault
) -> None:
    connection = await add_connection(store, vault, post.caller)
    change = EndpointChange(
        url="https://Consumer.example/hooks",
        name="Billing",
        payload=EndpointPayload.SENTRY,
        types=["issue.*", "error.created", "issue.*"],
        connection_ids=[connection.id],
        projects=["web"],
        environments=["production"],
        levels=["error", "fatal"],
    )
    made, secret = await post.endpoints.create(post.caller, change)
    stored = await post.endpoints.get(post.caller, made.id)
    assert stored == made
    assert (stored.url, stored.name, stored.payload) == ("https://consumer.example/hooks", "Billing", change.payload)
    assert (stored.types, stored.connection_ids) == (["error.created", "issue.*"], [connection.id])
    assert (stored.projects, stored.environments, stored.levels) == (["web"], ["production"], ["error", "fatal"])
    assert (stored.status, stored.failing_since, stored.problem) == (EndpointStatus.ENABLED, None, None)
    assert open_secrets(vault, stored, now()) == [secret]
    assert base64.b64decode(secret.removeprefix("whsec_")) not in stored.secret
    assert await audited(post) == [("webhook_endpoint.create", connection.id)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "ftp://consumer.example"}, "`url`"),
        ({"name": "x" * 201}, "`name`"),
        ({"name": "a\0"}, "`name`"),
        ({"types": []}, "`types`"),
        ({"types": ["issue"]}, "`types`"),
        ({"types": ["issue.resolved"] * 101}, "`types`"),
        ({"projects": [""]}, "`projects`"),
        ({"projects": ["x" * 201]}, "`projects`"),
        ({"environments": ["\ud800"]}, "`environments`"),
        ({"levels": [str(number) for number in range(101)]}, "`levels`"),
        ({"connection_ids": ["con_x"] * 1001}, "`connectionIds`"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_argument(sqlite_post: Post, change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        await sqlite_post.add(**change)
    endpoint, _ = await sqlite_post.add()
    with pytest.raises(BadInput, match=said):
        await sqlite_post.endpoints.update(sqlite_post.caller, endpoint.id, EndpointChange(**change))
    assert await sqlite_post.endpoints.get(sqlite_post.caller, endpoint.id) == endpoint


async def test_a_tenant_has_so_many_endpoints_however_many_are_made_at_once(post: Post) -> None:
    await asyncio.gather(*(post.add() for _ in range(MOST_ENDPOINTS - 2)))
    made = await asyncio.gather(*(post.add() for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in made) == 4
    assert len(await post.endpoints.every(post.caller)) == MOST_ENDPOINTS


async def test_what_is_changed_and_what_stays(post: Post) -> None:
    endpoint, _ = await post.add(name="before", types=["issue.*"], projects=["web"])
    changed = await post.endpoints.update(post.caller, endpoint.id, EndpointChange(name="after", types=None))
    assert (changed.name, changed.types, changed.projects, changed.url) == ("after", None, ["web"], endpoint.url)
    assert await post.endpoints.get(post.caller, endpoint.id) == changed


async def test_a_new_address_keeps_the_secrets_and_forgets_the_failures(post: Post, vault: Vault) -> None:
    endpoint, first = await post.add()
    _, second = await post.endpoints.rotate_secret(post.caller, endpoint.id)
    await post.append()
    await Desk(post).attempt(endpoint, replace(GONE, status=500))
    assert (await post.endpoints.get(post.caller, endpoint.id)).problem == "500"
    change = EndpointChange(url="https://other.example/")
    moved = await post.endpoints.update(post.caller, endpoint.id, change)
    assert (moved.url, moved.problem, moved.failing_since) == ("https://other.example/", None, None)
    assert open_secrets(vault, moved, now()) == [second, first]
    moved.url = endpoint.url  # as whoever can write to the database would
    with pytest.raises(SecretUnreadable):
        open_secrets(vault, moved, now())


async def test_a_secret_that_was_replaced_signs_for_a_day(post: Post, vault: Vault) -> None:
    endpoint, first = await post.add()
    rotated, second = await post.endpoints.rotate_secret(post.caller, endpoint.id)
    assert rotated.previous_until is not None
    assert timedelta(hours=23) < rotated.previous_until - now() <= OVERLAP
    assert open_secrets(vault, rotated, now()) == [second, first]
    _, third = await post.endpoints.rotate_secret(post.caller, endpoint.id)
    rotated = await post.endpoints.get(post.caller, endpoint.id)
    assert open_secrets(vault, rotated, now()) == [third, second]
    await post.pass_time(OVERLAP)
    assert open_secrets(vault, await post.endpoints.get(post.caller, endpoint.id), now()) == [third]


async def test_secrets_are_sealed_anew_with_all_others(post: Post, keyring: Keyring, vault: Vault) -> None:
    endpoint, first = await post.add()
    _, second = await post.endpoints.rotate_secret(post.caller, endpoint.id)
    before = await post.endpoints.get(post.caller, endpoint.id)
    keyring.rotate()
    await rewrap(post.database, vault)
    after = await post.endpoints.get(post.caller, endpoint.id)
    assert {before.key_id, before.previous_key_id}.isdisjoint({after.key_id, after.previous_key_id})
    assert open_secrets(vault, after, now()) == [second, first]


async def test_a_secret_that_no_key_opens_is_healed_by_a_new_one(post: Post, vault: Vault) -> None:
    endpoint, _ = await post.add()
    async with post.database.session() as session:
        record = await session.get_one(EndpointRecord, endpoint.id)
        record.secret = record.secret[:-1] + b"\0"
        await session.commit()
    rotated, secret = await post.endpoints.rotate_secret(post.caller, endpoint.id)
    assert open_secrets(vault, rotated, now()) == [secret]


async def test_a_disabled_endpoint_is_enabled_as_if_it_had_never_failed(post: Post) -> None:
    endpoint, _ = await post.add()
    await post.append()
    await Desk(post).attempt(endpoint, GONE)
    assert (await post.endpoints.get(post.caller, endpoint.id)).status is EndpointStatus.DISABLED
    with pytest.raises(Conflict, match="disabled"):
        await post.endpoints.test(post.caller, endpoint.id)
    enabled = await post.endpoints.enable(post.caller, endpoint.id)
    assert (enabled.status, enabled.disabled_reason, enabled.problem) == (EndpointStatus.ENABLED, None, None)
    assert enabled.failing_since is None
    await post.append()
    assert [delivery.status for delivery in await post.read()] == [DeliveryStatus.DEAD, DeliveryStatus.PENDING]


async def test_a_test_goes_to_that_endpoint_alone_whatever_it_wants(post: Post) -> None:
    endpoint, _ = await post.add(types=["comment.created"], payload=EndpointPayload.SENTRY)
    await post.add()
    await post.add(types=["webhook_endpoint.*"])
    planned = await post.endpoints.test(post.caller, endpoint.id)
    assert [(each.id, each.endpoint_id) for each in await post.read()] == [(planned.id, endpoint.id)]
    [claim] = await Desk(post).claim(endpoint)
    assert (claim.event.type, claim.event.connection_id) == ("webhook_endpoint.test", None)
    assert claim.event.body is not None
    assert ("webhook_endpoint.test", None) in await audited(post)


async def test_a_deleted_endpoint_is_gone_with_its_deliveries(post: Post) -> None:
    endpoint, _ = await post.add()
    other, _ = await post.add()
    await post.append("issue.resolved", "issue.created")
    await Desk(post).attempt(endpoint, OK)
    await post.endpoints.delete(post.caller, endpoint.id)
    with pytest.raises(NotFound):
        await post.endpoints.get(post.caller, endpoint.id)
    assert {delivery.endpoint_id for delivery in await post.read()} == {other.id}
    async with post.database.session() as session:
        assert list(await session.exec(select(AttemptRecord))) == []


async def test_one_with_many_deliveries_is_deleted_in_turns(sqlite_post: Post) -> None:
    endpoint, _ = await sqlite_post.add()
    [event] = await sqlite_post.append()
    rows = [plan_delivery(endpoint, event.id, event.created_at) for _ in range(450)]
    async with sqlite_post.database.session() as session:
        session.add_all(rows)
        await session.commit()
    await sqlite_post.endpoints.delete(sqlite_post.caller, endpoint.id)
    assert await sqlite_post.read() == []


# --- whose they are ---


async def test_a_narrowed_caller_sees_and_makes_endpoints_of_its_own_connections_only(
    post: Post, store: ConnectionStore, vault: Vault
) -> None:
    mine, other = [await add_connection(store, vault, post.caller) for _ in range(2)]
    caller = await narrowed(post, mine)
    endpoints = post.endpoints
    wide, _ = await post.add()
    theirs, _ = await post.add(connection_ids=[other.id])
    both, _ = await post.add(connection_ids=[mine.id, other.id])
    own, _ = await post.add(caller=caller, connection_ids=[mine.id])

    assert [each.id for each in await endpoints.every(caller)] == [own.id]
    for hidden in (wide, theirs, both):
        with pytest.raises(NotFound):
            await endpoints.get(caller, hidden.id)
        with pytest.raises(NotFound):
            await endpoints.delete(caller, hidden.id)
    for connection_ids in ([other.id], [mine.id, other.id]):
        with pytest.raises(NotFound, match="connection"):
            await post.add(caller=caller, connection_ids=connection_ids)
        with pytest.raises(NotFound, match="connection"):
            await endpoints.update(caller, own.id, EndpointChange(connection_ids=connection_ids))
    with pytest.raises(Forbidden, match="narrowed"):
        await post.add(caller=caller)
    with pytest.raises(Forbidden, match="narrowed"):
        await endpoints.update(caller, own.id, EndpointChange(connection_ids=None))
    await endpoints.update(caller, own.id, EndpointChange(name="mine"))
    assert len(await endpoints.every(post.caller)) == 4


async def test_a_caller_that_is_narrowed_to_nothing_sees_none(post: Post) -> None:
    await post.add()
    assert await post.endpoints.every(await narrowed(post)) == []


async def test_another_tenants_endpoint_is_not_there(post: Post, stranger: Caller) -> None:
    endpoint, _ = await post.add()
    endpoints = post.endpoints
    assert await endpoints.every(stranger) == []
    for work in (endpoints.get, endpoints.enable, endpoints.rotate_secret, endpoints.test, endpoints.delete):
        with pytest.raises(NotFound):
            await work(stranger, endpoint.id)
    with pytest.raises(NotFound):
        await endpoints.update(stranger, endpoint.id, EndpointChange(name="x"))


@pytest.mark.parametrize("id_", ["", "whe_x", "\0", "\ud800", "x" * 300])
async def test_an_id_that_is_none(post: Post, id_: str) -> None:
    with pytest.raises(NotFound):
        await post.endpoints.get(post.caller, id_)


@pytest.mark.parametrize("role", [Role.READ, Role.WRITE])
async def test_all_of_it_is_for_admins(sqlite_post: Post, role: Role) -> None:
    endpoint, _ = await sqlite_post.add()
    caller, endpoints = replace(sqlite_post.caller, role=role), sqlite_post.endpoints
    with pytest.raises(Forbidden):
        await endpoints.every(caller)
    with pytest.raises(Forbidden):
        await sqlite_post.add(caller=caller)
    for work in (endpoints.get, endpoints.enable, endpoints.rotate_secret, endpoints.test, endpoints.delete):
        with pytest.raises(Forbidden):
            await work(caller, endpoint.id)


async def test_a_tenant_that_does_not_exist_makes_none(sqlite_post: Post) -> None:
    with pytest.raises(NotFound, match="tenant"):
        await sqlite_post.add(caller=replace(sqlite_post.caller, tenant_id="ten_nobody"))
