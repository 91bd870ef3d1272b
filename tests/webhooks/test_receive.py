"""Forged, replayed and misdirected webhooks (rows 15 to 17 of the attacks), and what a genuine one does."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.installations import Installations
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_token
from service.db import Database
from service.errors import StorageUnavailable, Unauthenticated
from service.events.filters import EventFilter
from service.events.store import EventStore
from service.journal import Journal
from service.sentry.installations import SentryApp
from service.sentry.origin import Origin
from service.sentry.signatures import sign
from service.tenants.caller import Caller
from service.webhooks.receive import HookReceiver
from service.webhooks.routes import LARGEST_BODY, create_webhook_route
from tests.connections.factory import ACME

ORIGIN = Origin.parse("https://sentry.io")
APP = SentryApp(ORIGIN, "linker", "client-1", "secret-1", previous_client_secret="secret-0")
OTHER = SentryApp(ORIGIN, "other", "client-2", "secret-2")
UUID = "0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11"
ANOTHER = "7b2f9a40-1111-4a52-9d0e-3f6a8f0c7d22"


def installation(action: str = "deleted", uuid: str = UUID) -> bytes:
    return json.dumps(
        {
            "action": action,
            "installation": {"uuid": uuid},
            "data": {"installation": {"uuid": uuid, "organization": {"slug": "acme"}, "app": {"slug": "linker"}}},
            "actor": {"type": "user", "id": 1, "name": "Ann"},
        }
    ).encode()


ISSUE = json.dumps({"action": "created", "installation": {"uuid": UUID}, "data": {"issue": {"id": "1"}}}).encode()


@pytest.fixture
def cache() -> ConnectionCache:
    return ConnectionCache()


@pytest.fixture
def store(database: Database, cache: ConnectionCache) -> ConnectionStore:
    return ConnectionStore(database, cache)


@pytest.fixture
async def http(database: Database, cache: ConnectionCache) -> AsyncIterator[httpx.AsyncClient]:
    receiver = HookReceiver(Clients(apps=(APP, OTHER)), Installations(database, cache))
    app = Starlette(routes=[create_webhook_route(receiver)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test") as http:
        yield http


async def send(
    http: httpx.AsyncClient,
    body: bytes,
    *,
    signature: str | None = None,
    resource: str | None = "installation",
    client_id: str = APP.client_id,
    secret: str = APP.client_secret,
) -> int:
    headers = {"sentry-hook-signature": sign(body, secret) if signature is None else signature}
    if resource is not None:
        headers["sentry-hook-resource"] = resource
    answer = await http.post(f"/webhooks/sentry/{client_id}", content=body, headers=headers)
    assert answer.content == b""
    return answer.status_code


async def link(
    store: ConnectionStore,
    vault: Vault,
    caller: Caller,
    external_id: str = "cust",
    client: str = APP.client_id,
    **link: Any,
) -> ConnectionRecord:
    def seal(connection: ConnectionRecord) -> SealedToken:
        return SealedToken(vault.seal(b"t" * 64, binding=bind_token(connection)), "f" * 64, client_id=client)

    options = {"external_id": external_id, "installation_id": UUID, "authentication": CredentialKind.APP_TOKEN} | link
    return await store.link(caller, replace(ACME, **options), seal)


async def statuses(store: ConnectionStore, caller: Caller) -> dict[str, ConnectionStatus]:
    return {each.external_id: each.status for each in await store.every(caller)}


async def test_an_uninstalled_app_unlinks_its_connection(http, store, vault, admin, database):
    connection = await link(store, vault, admin)
    assert (await store.get_linked(admin, connection.id)).credential is not None
    assert await send(http, installation()) == 200
    linked = await store.get_linked(admin, connection.id)  # also out of the cache
    assert linked.connection.status is ConnectionStatus.UNLINKED
    assert linked.credential is None
    journal = Journal(database)
    events = await EventStore(database).page("ten_1", EventFilter(connection_ids=[connection.id]), limit=10)
    assert [event.type for event in events][-1:] == ["connection.unlinked"]
    entry = (await journal.page_audit("ten_1", limit=1))[0]
    assert (entry.action, entry.actor, entry.connection_id) == ("connection.unlink", "Sentry", connection.id)


async def test_the_secret_before_still_signs(http, store, vault, admin):
    await link(store, vault, admin)
    assert await send(http, installation(), secret="secret-0") == 200
    assert await statuses(store, admin) == {"cust": ConnectionStatus.UNLINKED}


async def test_what_is_not_for_us_is_accepted_and_changes_nothing(http, store, vault, admin):
    await link(store, vault, admin)
    assert await send(http, installation("created")) == 200
    assert await send(http, installation("suspended")) == 200
    assert await send(http, ISSUE, resource="issue") == 200
    assert await statuses(store, admin) == {"cust": ConnectionStatus.ACTIVE}


async def test_row_15_forged_webhooks_are_not_accepted(http, store, vault, admin):
    await link(store, vault, admin)
    body, good = installation(), sign(installation(), APP.client_secret)
    bad = [
        "",
        good.upper(),
        good[:-1],
        good + "0",
        f" {good}x",
        f"{good}, {good}",
        "0" * 64,
        sign(body, ""),
        sign(body, "secret-2"),
    ]
    for signature in bad:
        assert await send(http, body, signature=signature) == 401
    assert await send(http, body.replace(b"deleted", b"deleteD"), signature=good) == 401
    assert await send(http, body + b" ", signature=good) == 401
    assert await send(http, body, client_id="nobody") == 401
    assert await send(http, body, client_id=OTHER.client_id, signature=good) == 401
    answer = await http.post(
        f"/webhooks/sentry/{APP.client_id}", content=body, headers={"sentry-hook-resource": "installation"}
    )
    assert answer.status_code == 401
    twice = [("sentry-hook-signature", good), ("sentry-hook-signature", good), ("sentry-hook-resource", "installation")]
    assert (await http.post(f"/webhooks/sentry/{APP.client_id}", content=body, headers=twice)).status_code == 401
    assert await statuses(store, admin) == {"cust": ConnectionStatus.ACTIVE}


async def test_row_16_a_replay_and_a_forged_header_change_nothing(http, store, vault, admin):
    await link(store, vault, admin)
    assert await send(http, installation()) == 200
    await link(store, vault, admin, installation_id=ANOTHER)  # installed again: under another id
    assert await send(http, installation()) == 200
    assert await statuses(store, admin) == {"cust": ConnectionStatus.ACTIVE}
    # Headers are not signed: the body says what it is.
    deleted = installation(uuid=ANOTHER)
    assert await send(http, deleted, resource="issue") == 400
    assert await send(http, deleted, resource=None) == 400
    assert await send(http, ISSUE, resource="installation") == 400
    assert await statuses(store, admin) == {"cust": ConnectionStatus.ACTIVE}


async def test_row_17_one_app_of_many_tenants_ends_the_installation_that_it_names_and_no_other(
    http, store, vault, admin, stranger
):
    await link(store, vault, admin, "mine")
    await link(store, vault, admin, "other-app", client=OTHER.client_id)
    await link(store, vault, admin, "other-sentry", control_origin="https://sentry.acme.example")
    await link(store, vault, stranger, "theirs", installation_id=ANOTHER)
    assert await send(http, installation(uuid=ANOTHER.upper())) == 200
    assert await statuses(store, stranger) == {"theirs": ConnectionStatus.UNLINKED}
    assert set((await statuses(store, admin)).values()) == {ConnectionStatus.ACTIVE}
    assert await send(http, installation()) == 200
    assert [name for name, status in (await statuses(store, admin)).items() if status is ConnectionStatus.UNLINKED] == [
        "mine"
    ]


async def test_a_body_that_names_two_installations_is_refused(http, store, vault, admin):
    await link(store, vault, admin)
    body = installation().replace(UUID.encode(), ANOTHER.encode(), 1)
    for refused in (body, b"[]", b"{", b'{"action":"deleted","data":{"installation":{"uuid":"x"}}}'):
        assert await send(http, refused) == 400
    assert await statuses(store, admin) == {"cust": ConnectionStatus.ACTIVE}


async def test_a_large_body_is_refused_before_it_is_read_whole(http):
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 2**16
            yield b"x" * 2**16

    answer = await http.post(
        f"/webhooks/sentry/{APP.client_id}", content=body(), headers={"sentry-hook-signature": "0" * 64}
    )
    assert answer.status_code == 413
    assert sent <= LARGEST_BODY + 2**17


async def test_without_a_database_nothing_is_acknowledged(store, vault, admin, cache, tmp_path):
    connection = await link(store, vault, admin)
    gone = Database(f"sqlite:///{tmp_path / 'gone' / 'graph.db'}")
    app = Starlette(routes=[create_webhook_route(HookReceiver(Clients(apps=(APP,)), Installations(gone, cache)))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test") as http:
        assert await send(http, installation()) == 503
        assert await send(http, installation("created")) == 200  # needs none
    assert (await store.get_linked(admin, connection.id)).credential is not None
    await gone.dispose()


@given(body=st.binary(max_size=200), signature=st.text(max_size=70), client_id=st.sampled_from(["client-1", "x", ""]))
@settings(max_examples=200)
def test_nothing_unsigned_gets_past(body, signature, client_id):
    class Nothing:
        async def unlink(self, **_: str) -> list[ConnectionRecord]:
            raise StorageUnavailable("must not be reached")

    receiver = HookReceiver(Clients(apps=(APP,)), Nothing())  # type: ignore[arg-type]  # must not be reached
    with pytest.raises(Unauthenticated):
        asyncio.run(receiver.receive(client_id, [signature], "installation", body))
