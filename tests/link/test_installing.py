"""Installing an app over the wire: and installations that must not be linked (row 14 of the attacks)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, update

from service.columns import now
from service.connections.link_models import LinkAttemptRecord, LinkMethod, LinkSessionRecord, LinkSessionStatus
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind, CredentialRecord
from service.link.browser import HELD_COOKIE
from service.link.holding import HeldInstall, open_held, seal_held
from service.sandbox.faults import Fail
from service.sandbox.world import DEMO_APP, DEMO_TOKENS, Installation
from service.sentry.installations import SentryApp
from service.sentry.origin import Origin
from service.sentry.profiles import Profile
from tests.connections.factory import add_tenant
from tests.link.conftest import LinkSite, Person, build_site, going_to, query_of

APP = {"client": DEMO_APP.client_id}
OWNER = "mara.quill@lumen-labs.example"
EXCHANGE = "/authorizations/"


async def begin(site: LinkSite, record: LinkSessionRecord) -> tuple[Person, str]:
    """Somebody who is on the way to install the app, signed in at Sentry; and where to."""
    ann = site.person()
    await ann.login(OWNER)
    await ann.start(record)
    page = await ann.act("install", APP)
    assert 'data-page="away"' in page.text, page.text
    return ann, going_to(page)


async def connections(site: LinkSite) -> list[ConnectionRecord]:
    return await site.runtime.services.connections.every(site.caller)


def installed(site: LinkSite, organization: str) -> Installation:
    app = site.sandbox.world.find_app(DEMO_APP.slug)
    assert app
    found = app.installation_in(site.sandbox.world.find_organization(organization, "23.7"))  # type: ignore[arg-type]
    assert found
    return found


async def link_by_install(
    site: LinkSite, organization: str = "paper-boat", **options: Any
) -> tuple[Person, ConnectionRecord]:
    ann, url = await begin(site, record := await site.invite(**options))
    await ann.follow(await ann.get(await ann.install(url, organization)))
    await ann.act("projects", {"choice": "all"})
    page = await ann.confirm()
    assert 'data-page="done"' in page.text, page.text
    done = await site.reload(record)
    return ann, next(each for each in await connections(site) if each.id == done.connection_id)


async def test_an_account_is_linked_by_install_and_confirmed(site: LinkSite):
    record = await site.invite(external_id="cust")
    ann, url = await begin(site, record)
    assert url == f"{site.sandbox.url}/sentry-apps/{DEMO_APP.slug}/external-install/"
    answer = await ann.get(await ann.install(url, "paper-boat"))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/link/{record.id}")
    page = await ann.follow(answer)
    assert 'data-page="projects"' in page.text, page.text  # the installation is of one organization
    await ann.act("projects", {"choice": "all"})
    assert installed(site, "paper-boat").status == "pending"  # not before the link is stored
    page = await ann.confirm()
    assert 'data-page="done"' in page.text
    installation = installed(site, "paper-boat")
    assert installation.status == "installed"
    (connection,) = await connections(site)
    linked = await site.runtime.services.connections.get_linked(site.caller, connection.id)
    assert (connection.installation_id, connection.organization_slug) == (installation.uuid, "paper-boat")
    assert connection.authentication is CredentialKind.APP_TOKEN
    assert connection.expires_at is not None
    assert linked.credential is not None
    assert linked.credential.client_id == DEMO_APP.client_id


async def test_an_install_that_cannot_be_confirmed_is_linked_all_the_same(lite: LinkSite):
    ann, url = await begin(lite, await lite.invite())
    await ann.follow(await ann.get(await ann.install(url, "paper-boat")))
    await ann.act("projects", {"choice": "all"})
    lite.sandbox.faults.add(Fail(method="PUT", path="/sentry-app-installations/", status=500))
    assert 'data-page="done"' in (await ann.confirm()).text
    assert len(await connections(lite)) == 1


async def test_row_14_an_installation_that_nobody_here_began_is_held_and_not_linked(site: LinkSite):
    """The attacker's `code` and `installationId` in the victim's browser, or the other way round."""
    record = await site.invite()
    eve, bob = site.person(), site.person()
    await eve.login(OWNER)
    callback = await eve.install(f"{site.sandbox.url}/sentry-apps/{DEMO_APP.slug}/external-install/", "paper-boat")
    await bob.start(record)  # in a session, but without an install
    answer = await bob.get(callback)
    # The code stays neither in the address bar nor in the history, where others could find and take it up.
    assert (answer.status_code, answer.headers["location"]) == (303, "/link/install/callback")
    assert answer.headers["referrer-policy"] == "no-referrer"
    cookie = answer.headers["set-cookie"]
    page = await bob.follow(answer)
    assert 'data-page="held"' in page.text
    assert "Almost there" in page.text
    assert "offered there" in page.text
    assert query_of(callback)["code"] not in page.text + str(answer.headers) + str(page.headers)
    assert cookie.startswith(f"{HELD_COOKIE}=")
    for word in ("Max-Age=600", "HttpOnly", "Secure", "Path=/", "samesite=lax"):
        assert word.lower() in cookie.lower()
    assert site.sandbox.count("POST", EXCHANGE) == 0
    assert (await site.reload(record)).pending is None
    # It is offered by name, and linked only where the person takes it up and confirms it.
    page = await bob.show()
    assert 'id="held"' in page.text
    page = await bob.act("held")
    assert 'data-page="projects"' in page.text, page.text
    await bob.act("projects", {"choice": "all"})
    assert "Paper Boat" in (await bob.show()).text
    await bob.confirm()
    (connection,) = await connections(site)
    assert connection.installation_id == installed(site, "paper-boat").uuid
    assert HELD_COOKIE not in bob.http.cookies


async def test_row_14_an_install_comes_back_to_the_browser_that_began_it(lite: LinkSite):
    record = await lite.invite()
    ann, url = await begin(lite, record)
    callback = await ann.install(url, "paper-boat")
    for stranger in (lite.person(), lite.person()):
        assert 'data-page="held"' in (await stranger.follow(await stranger.get(callback))).text
    forged = lite.person()
    forged.http.cookies.set(f"__Host-{record.id}", "A" * 43 + ".redirect", domain="graph.test", path="/")
    assert 'data-page="held"' in (await forged.follow(await forged.get(callback))).text
    assert lite.sandbox.count("POST", EXCHANGE) == 0
    assert 'data-page="projects"' in (await ann.follow(await ann.get(callback))).text
    assert 'data-page="held"' in (await ann.follow(await ann.get(callback))).text  # one install comes back once
    assert lite.sandbox.count("POST", EXCHANGE) == 1


async def test_row_14_an_old_install_attempt_takes_nothing(lite: LinkSite):
    record = await lite.invite()
    ann, url = await begin(lite, record)

    async def age(session):
        statement = update(LinkAttemptRecord).where(col(LinkAttemptRecord.session_id) == record.id)
        await session.exec(statement.values(expires_at=now() - timedelta(seconds=1)))

    await lite.database.run_transaction(age)
    assert 'data-page="held"' in (await ann.follow(await ann.get(await ann.install(url, "paper-boat")))).text


@pytest.mark.parametrize("external_id", [None, "other"])
async def test_row_14_an_installation_of_another_connection_is_refused(site: LinkSite, external_id: str | None):
    """Of another tenant, or of another externalId: the two are told alike, and nothing of whose it is."""
    _, mine = await link_by_install(site, external_id="cust")
    stranger = await add_tenant(site.database, "ten_2")
    pages = []
    for caller in (site.caller, stranger):
        record = await site.invite(caller, external_id=external_id)
        eve, _ = await begin(site, record)
        sent = site.sandbox.count("POST", EXCHANGE)
        page = await eve.follow(
            await eve.get(f"/link/install/callback?code=x&installationId={mine.installation_id}&orgSlug=paper-boat")
        )
        assert 'data-problem="installation_taken"' in page.text
        assert site.sandbox.count("POST", EXCHANGE) == sent
        assert (await site.reload(record)).pending is None
        pages.append(page.text.replace(record.id, "").replace("ten_2", "ten_1"))
    assert pages[0] == pages[1]
    assert "cust" not in pages[0]
    (left,) = await connections(site)
    assert left.installation_id == mine.installation_id


async def test_row_14_an_installation_that_was_linked_meanwhile_is_not_linked_twice(site: LinkSite):
    """Two sessions hold grants of one installation: the second finds it taken inside its transaction."""
    record = await site.invite(external_id="second")
    ann, url = await begin(site, record)
    await ann.follow(await ann.get(await ann.install(url, "paper-boat")))
    await ann.act("projects", {"choice": "all"})
    installation_id = installed(site, "paper-boat").uuid

    async def take(session):
        found = await session.get(LinkSessionRecord, record.id)
        connection = ConnectionRecord(
            id="con_" + "0" * 26,
            tenant_id="ten_1",
            external_id="first",
            name="First",
            status=ConnectionStatus.ACTIVE,
            authentication=CredentialKind.APP_TOKEN,
            scopes=[],
            control_origin=found.origin,
            api_origin=found.origin,
            organization_slug="paper-boat",
            organization_name="Paper Boat",
            installation_id=installation_id,
            created_at=now(),
            updated_at=now(),
        )
        session.add(connection)

    await site.database.run_transaction(take)
    page = await ann.confirm()
    assert 'data-problem="installation_taken"' in page.text
    assert [each.external_id for each in await connections(site)] == ["first"]
    assert (await site.reload(record)).status is LinkSessionStatus.STARTED


async def test_row_14_the_organization_is_what_sentry_says(lite: LinkSite):
    """Neither what the redirect says is believed, nor another organization than the preset one taken."""
    ann, url = await begin(lite, first := await lite.invite())
    callback = await ann.install(url, "paper-boat")
    page = await ann.follow(await ann.get(callback.replace("orgSlug=paper-boat", "orgSlug=lumen-labs")))
    assert 'data-problem="installation_mismatch"' in page.text
    assert (await lite.reload(first)).pending is None
    ann, url = await begin(lite, second := await lite.invite(organization="lumen-labs"))
    page = await ann.follow(await ann.get(await ann.install(url, "northwind-rail")))
    assert 'data-problem="installation_mismatch"' in page.text
    assert (await lite.reload(second)).pending is None
    assert await connections(lite) == []


@pytest.mark.parametrize(
    "query",
    ["code=x", "installationId=x&code=y", "installationId=0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11&code=", "code=%00"],
)
async def test_a_useless_install_callback_is_explained(lite: LinkSite, query: str):
    bob = lite.person()
    answer = await bob.get(f"/link/install/callback?{query}")
    assert "set-cookie" not in answer.headers
    page = await bob.follow(answer)
    assert 'data-page="held"' in page.text
    assert "cannot be taken up" in page.text
    ann, _ = await begin(lite, await lite.invite())
    page = await ann.follow(await ann.get(f"/link/install/callback?{query}"))
    assert 'data-problem="grant_refused"' in page.text
    assert lite.sandbox.count("POST", EXCHANGE) == 0


@pytest.mark.parametrize("manner", ["latest", "23.7"])
async def test_linking_again_never_asks_to_install_again(site: LinkSite, manner):
    """By the app's signature where Sentry knows that; else by the stored refresh token, once nothing else uses it."""
    site.sandbox.manner = manner
    _, before = await link_by_install(site, external_id="cust")

    async def lose(session):
        await session.exec(update(ConnectionRecord).values(status=ConnectionStatus.NEEDS_REAUTH))

    await site.database.run_transaction(lose)
    record = await site.invite(external_id="cust")
    ann = site.person()
    page = await ann.start(record)
    assert 'id="installed"' in page.text
    assert "Paper Boat" in page.text
    page = await ann.act("installed")
    assert 'data-page="projects"' in page.text, page.text
    await ann.act("projects", {"choice": "all"})
    assert 'data-page="done"' in (await ann.confirm()).text
    (after,) = await connections(site)
    assert (after.id, after.status, after.installation_id) == (
        before.id,
        ConnectionStatus.ACTIVE,
        before.installation_id,
    )


async def test_an_old_sentry_is_not_asked_for_a_token_that_is_in_use(lite: LinkSite):
    lite.sandbox.manner = "23.7"
    _, before = await link_by_install(lite, external_id="cust")
    async with lite.database.session() as session:
        credential = await session.get(CredentialRecord, before.id)
    ann = lite.person()
    await ann.start(await lite.invite(external_id="cust"))
    page = await ann.act("installed")
    assert 'data-problem="installation_unusable"' in page.text
    async with lite.database.session() as session:
        assert await session.get(CredentialRecord, before.id) == credential
    account = await lite.runtime.services.accounts.account(lite.caller, before.id)
    assert (await account[1].tokens.token()).value in lite.sandbox.world.tokens  # it still works


async def test_an_app_that_was_removed_cannot_be_used_and_other_ways_are_offered(lite: LinkSite):
    _, before = await link_by_install(lite, external_id="cust")
    assert before.installation_id
    lite.sandbox.uninstall(before.installation_id)
    ann = lite.person()
    await ann.start(await lite.invite(external_id="cust"))
    page = await ann.act("installed")
    assert 'data-problem="installation_unusable"' in page.text
    assert 'class="install"' in page.text
    # Installed anew it keeps the connection, under another installation.
    await ann.login(OWNER)
    url = going_to(await ann.act("install", APP))
    await ann.follow(await ann.get(await ann.install(url, "paper-boat")))
    await ann.act("projects", {"choice": "all"})
    await ann.confirm()
    (after,) = await connections(lite)
    assert after.id == before.id
    assert after.installation_id not in {None, before.installation_id}


async def test_the_installed_app_is_offered_only_where_it_is_one_of_ours(lite: LinkSite):
    token = await lite.invite(external_id="cust", methods=[LinkMethod.TOKEN])
    await link_by_install(lite, external_id="cust")
    assert 'id="installed"' not in (await lite.person().start(token)).text

    async def move(session):
        await session.exec(update(ConnectionRecord).values(control_origin="https://sentry.acme.example"))

    await lite.database.run_transaction(move)
    ann = lite.person()
    assert 'id="installed"' not in (await ann.start(await lite.invite(external_id="cust"))).text
    assert (await ann.act("installed")).status_code == 422


async def test_with_two_apps_a_callback_by_the_apps_own_address_tells_which(tmp_path, sandbox, sqlite_url):
    other = SentryApp(Origin.parse("https://sentry.acme.example"), "other", "other-app", "s")
    uuid = "0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11"
    async for site in build_site(tmp_path, sandbox, sqlite_url, apps=(other,)):
        bob = site.person()
        page = await bob.get(f"/link/install/callback?code=x&installationId={uuid}")
        assert "set-cookie" not in page.headers  # it might be of either: nothing is sent to the wrong Sentry
        page = await bob.get(f"/link/install/{DEMO_APP.client_id}/callback?code=x&installationId={uuid}")
        assert "set-cookie" in page.headers
        ann, url = await begin(site, await site.invite())
        callback = await ann.install(url, "paper-boat")
        wrong = callback.replace("/install/", "/install/other-app/")
        assert 'data-page="held"' in (await ann.follow(await ann.get(wrong))).text
        assert sandbox.count("POST", EXCHANGE) == 0
        right = callback.replace("/install/", f"/install/{DEMO_APP.client_id}/")
        assert 'data-page="projects"' in (await ann.follow(await ann.get(right))).text


async def test_what_shows_that_an_install_is_held_uses_no_attempt_up(lite: LinkSite):
    ann, url = await begin(lite, await lite.invite())
    assert "cannot be taken up" in (await ann.get("/link/install/callback")).text
    assert 'data-page="projects"' in (await ann.follow(await ann.get(await ann.install(url, "paper-boat")))).text


async def test_a_redirect_puts_no_words_of_its_own_onto_the_page(lite: LinkSite):
    """Whoever sends a browser to the callback writes its parameters."""
    uuid = "0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11"
    for said, shown in (("acme-1", True), ("Call 555 1234 at once", False), ("a" * 201, False)):
        bob = lite.person()
        parameters = {"code": "x", "installationId": uuid, "orgSlug": said}
        await bob.get(f"/link/install/{DEMO_APP.client_id}/callback", params=parameters)
        page = await bob.start(await lite.invite())
        assert 'id="held"' in page.text
        assert (said in page.text) == shown


async def test_an_installation_at_another_sentry_takes_none_of_ours(site: LinkSite):
    """Whose Sentry it is says of any id that it is an installation there."""
    ann, url = await begin(site, record := await site.invite(external_id="cust"))
    callback = await ann.install(url, "paper-boat")
    stranger = await add_tenant(site.database, "ten_2")

    async def squat(session):
        session.add(
            ConnectionRecord(
                id="con_" + "0" * 26,
                tenant_id=stranger.tenant_id,
                external_id="squatter",
                name="Squatter",
                status=ConnectionStatus.ACTIVE,
                authentication=CredentialKind.APP_TOKEN,
                scopes=[],
                control_origin="https://sentry.evil.example",
                api_origin="https://sentry.evil.example",
                organization_slug="paper-boat",
                organization_name="Paper Boat",
                installation_id=installed(site, "paper-boat").uuid,
                created_at=now(),
                updated_at=now(),
            )
        )

    await site.database.run_transaction(squat)
    await ann.follow(await ann.get(callback))
    await ann.act("projects", {"choice": "all"})
    assert 'data-page="done"' in (await ann.confirm()).text
    assert (await site.reload(record)).status is LinkSessionStatus.COMPLETED


async def test_what_is_installed_agrees_to_no_wider_profile(lite: LinkSite):
    """Nobody signs in at Sentry on that way: an admin of the tenant could agree to it for the customer."""
    await link_by_install(lite, external_id="cust", profile=Profile.TRIAGE)
    for profile, is_offered in ((Profile.FULL, False), (Profile.TRIAGE, True), (Profile.READ, True)):
        ann = lite.person()
        page = await ann.start(await lite.invite(external_id="cust", profile=profile))
        assert ('id="installed"' in page.text) == is_offered
        page = await ann.act("installed")
        assert ('data-problem="installation_unusable"' in page.text) == (not is_offered)
    (connection,) = await connections(lite)
    assert connection.profile is Profile.TRIAGE


def test_what_is_held_is_sealed_and_runs_out(vault):
    until = now() + timedelta(minutes=1)
    held = HeldInstall("client", "0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11", "the-code", "acme", until)
    value = seal_held(vault, held)
    assert "the-code" not in value
    assert "the-code" not in repr(held)
    assert open_held(vault, value) == held
    changed = value[:40] + ("A" if value[40] != "A" else "B") + value[41:]
    for other in (None, "", "x", "key_1.AAAA", value[:-2], changed, value + "é", "x" * 9999):
        assert open_held(vault, other) is None
    assert open_held(vault, seal_held(vault, replace(held, until=now()))) is None


async def test_a_pasted_token_replaces_an_installation(lite: LinkSite):
    _, before = await link_by_install(lite, external_id="cust")
    ann = lite.person()
    await ann.start(await lite.invite(external_id="cust"))
    await ann.act("token", {"token": DEMO_TOKENS.admin})
    await ann.act("projects", {"choice": "all"})
    await ann.confirm()
    (after,) = await connections(lite)
    assert (after.id, after.installation_id) == (before.id, None)
