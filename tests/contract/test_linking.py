"""Linking through our service, by a person with a browser; what Sentry says of the tokens; refreshing; the end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from service.sentry.profiles import SCOPES, Profile
from tests.browser.watch import Watch
from tests.contract.linking import Bench
from tests.contract.person import Person
from tests.contract.service import Service, Tokens

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 8


@pytest.fixture
def person(page: Page, bench: Bench) -> Person:
    return Person(page, bench=bench)


def left(text: str) -> timedelta:
    """How long it is until then."""
    return datetime.fromisoformat(text) - datetime.now(UTC)


async def test_who_signs_in_and_approves_has_linked_by_tokens_that_rotate(
    service: Service, bench: Bench, person: Person, watch: Watch
) -> None:
    invitation = await service.invite(profile="FULL")
    await person.start(invitation.url)
    await person.begin_oauth()
    await person.sign_in()
    await person.approve()
    await person.finish()
    await person.see("Linked")
    connection = await service.connection(await service.linked(invitation))
    assert (connection["status"], connection["problem"]) == ("ACTIVE", None)
    assert connection["authentication"] == "OAUTH_TOKEN"
    assert connection["organization"] == {"slug": bench.server.organization}
    assert set(connection["scopes"]) == set(SCOPES[Profile.FULL])
    assert timedelta(days=29, hours=23) < left(connection["expiresAt"]) <= timedelta(days=30, seconds=5)
    assert bench.login in await emails(service, connection["id"])
    tokens = await check_rotation(service, bench, connection["id"])
    spent = await asyncio.to_thread(bench.refresh, tokens[0].refresh or "")
    assert (spent.status_code, spent.json()) == (400, {"error": "invalid_grant"})
    assert await answers_of(bench, tokens[-1].access) == [200], "a spent refresh token ends nothing"
    assert left((await service.connection(connection["id"]))["expiresAt"]) > timedelta(days=29, hours=23)
    known = [secret for each in tokens for secret in (each.access, each.refresh) if secret]
    assert not any(secret in url for secret in known for url in watch.urls)


async def test_who_denies_may_approve_on_a_second_try_and_is_not_asked_a_third_time(
    service: Service, person: Person
) -> None:
    await person.bring_session()
    invitation = await service.invite(profile="READ")
    await person.start(invitation.url)
    await person.begin_oauth()
    await person.deny()
    await person.see("How do you want to link Sentry?")
    await expect(person.page.get_by_role("alert")).to_contain_text("You did not approve it")
    session = await service.session(invitation)
    assert (session["status"], session["problem"], session["connection"]) == ("STARTED", "denied", None)
    await person.begin_oauth()
    await person.approve()
    await person.finish()
    await person.see("Linked")
    assert (await service.session(invitation))["problem"] is None
    connection = await service.connection(await service.linked(invitation))
    assert connection["status"] == "ACTIVE"
    assert set(connection["scopes"]) == set(SCOPES[Profile.READ])
    await person.start((await service.invite(profile="READ")).url)
    await person.begin_oauth()
    await person.see("Which organization?")


async def test_who_takes_the_approval_back_stops_the_connection(service: Service, bench: Bench) -> None:
    connection_id = await service.link_oauth("org:read member:read", bench.server.organization)
    await asyncio.to_thread(bench.withdraw)
    await service.make_due(connection_id)
    connection = await service.connection(connection_id)
    assert (connection["status"], connection["problem"]) == ("NEEDS_REAUTH", "TOKEN_REVOKED")
    assert connection["linkSession"] == {"status": "CREATED"}


async def check_rotation(service: Service, bench: Bench, connection_id: str) -> list[Tokens]:
    """The credential is rotated ahead of its end, and on demand once for all who ask; its tokens, oldest first."""
    first = await service.tokens(connection_id)
    await service.make_due(connection_id)
    second = await service.tokens(connection_id)
    assert second.version == first.version + 1
    assert len({first.access, first.refresh, second.access, second.refresh}) == 4
    assert await answers_of(bench, first.access, second.access) == [401, 200]
    await service.expire(connection_id)
    found = await asyncio.gather(*(emails(service, connection_id) for _ in range(AT_ONCE)))
    assert all(bench.login in each for each in found)
    third = await service.tokens(connection_id)
    assert third.version == second.version + 1, "refreshed once for all of them"
    assert await answers_of(bench, second.access, third.access) == [401, 200]
    connection = await service.connection(connection_id)
    assert (connection["status"], connection["problem"]) == ("ACTIVE", None)
    return [first, second, third]


async def emails(service: Service, connection_id: str) -> set[str]:
    """The addresses of the users whom a connection shows."""
    return {user["email"] for user in await service.users(connection_id)}


async def answers_of(bench: Bench, *tokens: str) -> list[int]:
    """What Sentry itself answers to each token."""
    answers = [await asyncio.to_thread(bench.ask, bench.server.organization_path(), token) for token in tokens]
    return [answer.status_code for answer in answers]


# --- by installing the app ---


async def test_who_installs_the_app_has_linked_and_it_is_confirmed_and_refreshed(
    service: Service, bench: Bench, person: Person
) -> None:
    invitation = await service.invite(profile="READ")
    await person.start(invitation.url)
    await person.begin_install()
    await person.sign_in()
    await person.install_in(bench.server.organization)
    await person.choose_projects()
    await person.confirm()
    await person.see("Linked")
    connection_id = await service.linked(invitation)
    (installation,) = await asyncio.to_thread(bench.installations)
    assert installation["status"] == "installed", "confirmed, which Sentry waits for"
    connection = await service.connection(connection_id)
    assert (connection["status"], connection["authentication"]) == ("ACTIVE", "APP_TOKEN")
    assert connection["organization"] == {"slug": bench.server.organization}
    assert timedelta(hours=7, minutes=55) < left(connection["expiresAt"]) <= timedelta(hours=8, seconds=5)
    assert bench.login in await emails(service, connection_id)
    tokens = await check_rotation(service, bench, connection_id)
    grant = {"grant_type": "refresh_token", "refresh_token": tokens[0].refresh}
    spent = await asyncio.to_thread(lambda: bench.grant(installation["uuid"], **grant))
    assert spent.status_code in {401, 403}
    assert await answers_of(bench, tokens[-1].access) == [200], "a spent refresh token ends nothing"


async def test_an_uninstalled_app_stops_the_connection_where_no_webhook_tells(service: Service, bench: Bench) -> None:
    installation = await asyncio.to_thread(bench.install)
    connection_id = await service.link_installation(installation)
    assert await service.users(connection_id)
    assert (await asyncio.to_thread(bench.uninstall, installation["uuid"])).status_code == 204
    await service.make_due(connection_id)
    connection = await service.connection(connection_id)
    assert (connection["status"], connection["problem"]) == ("NEEDS_REAUTH", "INSTALLATION_GONE")
    assert connection["linkSession"] == {"status": "CREATED"}


async def test_an_uninstalled_app_unlinks_the_connection_where_a_webhook_tells(service: Service, bench: Bench) -> None:
    bench.register(service.redirect_uris, service.install_url, service.webhook_url)
    installation = await asyncio.to_thread(bench.install)
    connection_id = await service.link_installation(installation)
    assert (await service.connection(connection_id))["status"] == "ACTIVE"
    assert (await asyncio.to_thread(bench.uninstall, installation["uuid"])).status_code == 204
    async with asyncio.timeout(10):
        while (connection := await service.connection(connection_id))["status"] == "ACTIVE":  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
    assert (connection["status"], connection["problem"]) == ("UNLINKED", "UNLINKED")
