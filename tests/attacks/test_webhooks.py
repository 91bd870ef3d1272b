"""Rows 15 to 17: forged and replayed webhooks, forged headers, and one app's secret for all tenants."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.connections.keyring import Keyring
from service.connections.models import ConnectionStatus
from service.connections.receiver_models import ReceiverKind, ReceiverRecord
from service.db import Database
from service.errors import Unauthenticated
from service.sentry.signatures import sign
from service.tenants.caller import Caller
from service.webhooks.receive import HookRequest
from tests.connections.factory import add_tenant
from tests.scale import scaled
from tests.webhooks.receiving import (
    APP,
    OTHER_APP,
    OTHER_UUID,
    SECRET,
    UUID,
    Receiving,
    envelope,
    installation,
    issue,
    service_hook,
)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.init(tmp_path / "keyring.json")


@pytest.fixture
async def service(database: Database, keyring: Keyring) -> AsyncIterator[Receiving]:
    async with Receiving.build(database, keyring).running() as receiving:
        yield receiving


@pytest.fixture
async def admin(database: Database) -> Caller:
    return await add_tenant(database, "ten_1")


@pytest.fixture
async def stranger(database: Database) -> Caller:
    return await add_tenant(database, "ten_2")


async def nothing_happened(service: Receiving, admin: Caller) -> bool:
    statuses = {each.status for each in await service.store.every(admin)}
    stored = [*await service.events(), *await service.quarantined()]
    return not stored and statuses == {ConnectionStatus.ACTIVE}


async def test_row_15_a_webhook_that_is_not_signed_just_so_is_not_accepted(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    own = await service.receiver(admin, connection)
    hook = await service.receiver(admin, connection, ReceiverKind.SERVICE_HOOK, SECRET)
    places = [
        (service.addresses.of_app(APP.client_id), installation(), APP.client_secret, "sentry-hook-signature"),
        (service.receivers.url(own), installation(), SECRET, "sentry-hook-signature"),
        (service.receivers.url(hook), service_hook(), SECRET, "x-servicehook-signature"),
    ]
    for url, body, secret, header in places:
        good = sign(body, secret)
        for bad in [
            "",
            good.upper(),
            good[:-1],
            good[1:],
            good + "0",
            f"x{good}",
            f"{good}, {good}",
            f"sha256={good}",
            "0" * 64,
            sign(body, ""),
            sign(body, "nobody's"),
            sign(body, OTHER_APP.client_secret),
            sign(body + b" ", secret),
        ]:
            assert await service.post(url, body, {header: bad}) == 401, bad
        assert await service.post(url, body) == 401
        assert await service.post(url, body, [(header, good), (header, good)]) == 401
        assert await service.post(url, body, [(header, good), (header.title(), "0" * 64)]) == 401
        assert await service.post(url, body.replace(b"deleted", b"deleteD") + b" ", {header: good}) == 401
        other_header = {"sentry-hook-signature", "x-servicehook-signature"} - {header}
        assert await service.post(url, body, {other_header.pop(): good}) == 401
    assert await nothing_happened(service, admin)
    assert {outcome for _, outcome in service.observed} == {"refused"}
    for url, body, secret, header in places:
        assert await service.post(url, body, {header: sign(body, secret)}) == 200


async def test_row_15_a_secret_is_good_at_its_own_address_alone(service: Receiving, admin: Caller):
    connection = await service.link(admin)
    mine, other = await service.receiver(admin, connection), await service.receiver(admin, connection, secret="a9" * 32)
    body = issue()
    urls = [
        (service.receivers.url(mine), SECRET),
        (service.receivers.url(other), "a9" * 32),
        (service.addresses.of_app(APP.client_id), APP.client_secret),
        (service.addresses.of_app(OTHER_APP.client_id), OTHER_APP.client_secret),
    ]
    for url, secret in urls:
        for _, wrong in urls:
            if wrong != secret:
                assert await service.post(url, body, {"sentry-hook-signature": sign(body, wrong)}) == 401
    # Parts of addresses, mixed: each is good with its own token only.
    parts = [url.removeprefix("https://graph.example").rsplit("/", 2) for url, _ in urls]
    for base, name, own in parts:
        for _, _, token in parts:
            if token != own:
                for _, secret in urls:
                    path = f"{base}/{name}/{token}"
                    assert await service.post(path, body, {"sentry-hook-signature": sign(body, secret)}) == 401
    assert await nothing_happened(service, admin)


async def test_row_15_no_guess_is_accepted(sqlite_url: str, keyring: Keyring):
    database = Database(sqlite_url)
    async with Receiving.build(database, keyring).running() as service:
        admin = await add_tenant(database, "ten_1")
        assert await count_accepted(service, await service.receiver(admin, await service.link(admin))) == 0
        assert await nothing_happened(service, admin)
    await database.dispose()


async def count_accepted(service: Receiving, receiver: ReceiverRecord) -> int:
    """How many of many random signatures are accepted."""
    guesses, accepted = random.Random(20261127), 0
    receiver_token = service.receivers.url(receiver).rpartition("/")[2]
    app_token = service.addresses.of_app(APP.client_id).rpartition("/")[2]
    body, count = issue(), scaled(test=20_000, soak=1_000_000)
    for number in range(count):
        request = HookRequest([("sentry-hook-signature", guesses.randbytes(32).hex())], body)
        try:
            if number % 2:
                await service.hooks.receive(receiver.id, receiver_token, request)
            else:
                await service.hooks.receive_for_app(APP.client_id, app_token, request)
            accepted += 1
        except Unauthenticated:
            pass
        if number % 10_000 == 0:
            service.observed.clear()
    return accepted


@pytest.fixture
def nowhere(keyring: Keyring) -> Receiving:
    """A service without a database: whatever would ask for one is told that it is unavailable."""
    return Receiving.build(Database("sqlite:////nowhere/graph.db"), keyring)


@settings(
    max_examples=scaled(test=100, soak=5000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.binary(max_size=100) | st.just(issue()),
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["sentry-hook-signature", "x-servicehook-signature", "sentry-hook-resource", "request-id"]),
            st.text(max_size=70) | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        ),
        max_size=4,
    ),
    name=st.text(max_size=10) | st.just(APP.client_id),
    token=st.text(max_size=50) | st.none(),
)
def test_row_15_nothing_unsigned_reaches_the_database(
    nowhere: Receiving, body: bytes, pairs: list[tuple[str, str]], name: str, token: str | None
):
    of_app = nowhere.addresses.of_app(APP.client_id).rpartition("/")[2]
    for receive, right in ((nowhere.hooks.receive, ""), (nowhere.hooks.receive_for_app, of_app)):
        with pytest.raises(Unauthenticated):
            asyncio.run(receive(name, right if token is None else token, HookRequest(pairs, body)))


async def test_row_16_a_replay_is_marked_and_changes_nothing(service: Receiving, admin: Caller):
    await service.link(admin)
    for _ in range(3):
        assert await service.send(issue(), "issue") == 200
    first, *repeats = await service.events()
    assert {event.repeat_of for event in repeats} == {first.id}
    assert await service.send(installation(), "installation") == 200
    await service.link(admin, installation_id=OTHER_UUID)  # installed again: under another id
    assert await service.send(installation(), "installation") == 200
    assert {each.status for each in await service.store.every(admin)} == {ConnectionStatus.ACTIVE}
    assert await service.reasons() == ["unknown_installation"]


async def test_row_16_forged_headers_make_nothing_of_a_signed_body(service: Receiving, admin: Caller):
    await service.link(admin)
    comment = envelope("deleted", {"comment_id": 1, "issue_id": 2, "project_slug": "web", "comment": ""})
    for body, resource in [
        (installation(), "issue"),
        (installation(), "made_up"),
        (comment, "installation"),
        (comment, "issue"),
        (issue(action="deleted"), "installation"),
        (issue(action="deleted"), "comment"),
    ]:
        assert await service.send(body, resource) == 400
    assert await nothing_happened(service, admin)
    # Other headers tell who sends, when and by which proxy; nobody listens.
    forged = {
        "sentry-hook-signature": sign(issue(), APP.client_secret),
        "x-forwarded-host": "evil.example",
        "sentry-hook-timestamp": "9" * 30,
        "request-id": "../../etc",
        "sentry-hook-installation": OTHER_UUID,
        "authorization": "Bearer sg_x",
        "content-type": "text/html",
    }
    assert await service.post(service.addresses.of_app(APP.client_id), issue(), forged) == 200
    [event] = await service.events()
    assert (event.type, event.connection_id is not None) == ("issue.created", True)
    assert "sg_x" not in str(event.headers)


async def test_row_17_one_secret_for_all_tenants_reaches_the_installation_that_is_named_and_no_other(
    service: Receiving, admin: Caller, stranger: Caller
):
    mine = await service.link(admin, "mine")
    await service.link(admin, "other-app", client=OTHER_APP.client_id)
    await service.link(admin, "other-sentry", control_origin="https://sentry.acme.example")
    await service.link(admin, "pasted", client=None)
    theirs = await service.link(stranger, "theirs", installation_id=OTHER_UUID)
    assert await service.send(issue(1)) == 200
    assert await service.send(issue(2, uuid=OTHER_UUID.upper())) == 200
    assert [(event.tenant_id, event.connection_id) for event in await service.events()] == [
        ("ten_1", mine.id),
        ("ten_2", theirs.id),
    ]
    unknown = [None, "x", UUID[:-1] + "f", f"{{{UUID}}}", UUID.replace("-", ""), "*", f"{UUID}\0"]
    for uuid in unknown:
        assert await service.send(issue(3, uuid=uuid)) == 200
    assert await service.reasons() == ["unknown_installation"] * len(unknown)
    assert {record.tenant_id for record in await service.quarantined()} == {None}
    assert len(await service.events()) == 2

    assert await service.send(installation(uuid=OTHER_UUID), "installation") == 200
    assert {each.status for each in await service.store.every(admin)} == {ConnectionStatus.ACTIVE}
    assert {each.status for each in await service.store.every(stranger)} == {ConnectionStatus.UNLINKED}
    assert await service.send(installation(), "installation") == 200
    ended = [each for each in await service.store.every(admin) if each.status is ConnectionStatus.UNLINKED]
    assert [each.external_id for each in ended] == ["mine"]


async def test_row_17_a_receiver_takes_nothing_of_another_installation_or_project(
    service: Receiving, admin: Caller, stranger: Caller
):
    mine = await service.link(admin, projects=[{"id": "5", "slug": "web"}])
    await service.link(stranger, installation_id=OTHER_UUID)
    own = await service.receiver(admin, mine)
    hook = await service.receiver(admin, mine, ReceiverKind.SERVICE_HOOK, SECRET)
    for receiver, body in [
        (own, issue(1, uuid=OTHER_UUID)),
        (own, issue(1, project={"id": "6", "slug": "web"})),
        (hook, service_hook("other", "web")),
        (hook, service_hook("acme", "api")),
    ]:
        assert await service.send_to(receiver, body) == 200
    assert await service.events() == []
    assert {record.tenant_id for record in await service.quarantined()} == {"ten_1"}
    assert await service.quarantine.page("ten_2", limit=10) == []
