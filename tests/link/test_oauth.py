"""OAuth over the wire: consent, denial, and callbacks that must not work (rows 12 and 13 of the attacks)."""

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlmodel import col, select, update

from service.columns import now
from service.connections.link_models import LinkAttemptRecord, LinkMethod, LinkSessionRecord
from service.connections.models import CredentialKind
from service.sandbox.app import SandboxConfig, create_sandbox
from service.sandbox.faults import Fail, Reset
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_OAUTH_CLIENT
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin
from service.sentry.profiles import SCOPES, Profile
from tests.link.conftest import PUBLIC_URL, LinkSite, Person, build_site, going_to, query_of

CLIENT = {"client": DEMO_OAUTH_CLIENT.client_id}
OWNER = "mara.quill@lumen-labs.example"


def exchanges(site: LinkSite) -> int:
    return site.sandbox.count("POST", "/oauth/token/")


async def go(site: LinkSite, record: LinkSessionRecord, email: str = OWNER) -> tuple[Person, str]:
    """Somebody who is on the way to Sentry, signed in there; and where to."""
    ann = site.person()
    await ann.login(email)
    await ann.start(record)
    page = await ann.act("oauth", CLIENT)
    assert 'data-page="away"' in page.text, page.text
    return ann, going_to(page)


async def approve(site: LinkSite, record: LinkSessionRecord) -> tuple[Person, str]:
    """Somebody whom Sentry sends back; the callback, not opened yet."""
    ann, url = await go(site, record)
    return ann, await ann.consent(url)


async def test_an_account_is_linked_by_oauth(site: LinkSite):
    record = await site.invite(profile=Profile.TRIAGE)
    ann, url = await go(site, record)
    asked = query_of(url)
    assert url.startswith(f"{site.sandbox.url}/oauth/authorize/?")
    assert asked["redirect_uri"] == f"{PUBLIC_URL}/link/oauth/{DEMO_OAUTH_CLIENT.client_id}/callback"
    assert asked["scope"].split() == list(SCOPES[Profile.TRIAGE])
    assert (asked["code_challenge_method"], len(asked["state"])) == ("S256", 43)
    status = f"/link/start/{site.sessions.token(record.id)}/status"
    assert (await ann.get(status)).json()["status"] == "away"
    answer = await ann.get(await ann.consent(url))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/link/{record.id}")
    page = await ann.follow(answer)
    assert 'data-page="organization"' in page.text, page.text
    assert (await ann.get(status)).json() == {"status": "started", "problem": None, "connectionId": None}
    await ann.act("organization", {"organization": "northwind-rail"})
    await ann.act("projects", {"choice": "all"})
    page = await ann.confirm()
    assert 'data-page="done"' in page.text, page.text
    (connection,) = await site.runtime.services.connections.every(site.caller)
    linked = await site.runtime.services.connections.get_linked(site.caller, connection.id)
    assert connection.authentication is CredentialKind.OAUTH_TOKEN
    assert connection.expires_at is not None
    assert linked.credential is not None
    assert linked.credential.client_id == DEMO_OAUTH_CLIENT.client_id
    assert linked.credential.refresh_token is not None
    assert exchanges(site) == 1
    assert (await ann.get(status)).json() == {
        "status": "completed",
        "problem": None,
        "connectionId": connection.id,
    }


async def test_a_denial_leads_back_to_the_ways(lite: LinkSite):
    record = await lite.invite()
    ann, url = await go(lite, record)
    page = await ann.follow(await ann.get(await ann.consent(url, "deny")))
    assert page.status_code == 200
    assert 'data-page="ways"' in page.text
    assert 'data-problem="denied"' in page.text
    assert (await lite.reload(record)).problem == "denied"
    assert exchanges(lite) == 0
    page = await ann.follow(await ann.get(await ann.consent(going_to(await ann.act("oauth", CLIENT)))))
    assert 'data-page="organization"' in page.text
    assert (await lite.reload(record)).problem is None


async def test_row_12_a_callback_works_once(lite: LinkSite):
    ann, callback = await approve(lite, await lite.invite())
    for _ in range(3):
        page = await ann.follow(await ann.get(callback))
        assert 'data-page="organization"' in page.text
    assert exchanges(lite) == 1


async def test_row_12_a_look_ahead_uses_no_callback_up(lite: LinkSite):
    ann, callback = await approve(lite, await lite.invite())
    assert (await ann.http.head(callback)).status_code == 405
    assert (await ann.http.head("/link/install/callback")).status_code == 405
    assert exchanges(lite) == 0
    assert 'data-page="organization"' in (await ann.follow(await ann.get(callback))).text


async def test_row_12_of_callbacks_at_once_exactly_one_exchanges(site: LinkSite):
    ann, callback = await approve(site, await site.invite())
    answers = await asyncio.gather(*(ann.get(callback) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {303}
    assert exchanges(site) == 1
    assert 'data-page="organization"' in (await ann.show()).text


async def test_row_12_another_browser_gets_nothing_and_spoils_nothing(lite: LinkSite):
    """Login CSRF: an attacker's callback in the victim's browser, and the victim's in the attacker's."""
    record, other = await lite.invite(), await lite.invite()
    ann, callback = await approve(lite, record)
    eve = lite.person()
    await eve.start(other)
    for stranger in (eve, lite.person()):
        page = await stranger.get(callback)
        assert page.status_code == 403
        assert 'data-problem="other_browser"' in page.text
    forged = lite.person()
    forged.http.cookies.set(f"__Host-{record.id}", "A" * 43 + ".redirect", domain="graph.test", path="/")
    assert (await forged.get(callback)).status_code == 403
    assert exchanges(lite) == 0
    assert (await lite.reload(other)).pending is None
    assert 'data-page="organization"' in (await ann.follow(await ann.get(callback))).text


async def test_row_12_a_session_that_went_to_another_browser_takes_no_callback_of_the_first(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    await lite.person().start(record)
    page = await ann.get(callback)
    assert page.status_code == 403
    assert exchanges(lite) == 0


async def test_row_12_an_expired_state_exchanges_nothing(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)

    async def age(session):
        statement = update(LinkAttemptRecord).where(col(LinkAttemptRecord.session_id) == record.id)
        await session.exec(statement.values(expires_at=now() - timedelta(seconds=1)))

    await lite.database.run_transaction(age)
    page = await ann.follow(await ann.get(callback))
    assert 'data-problem="state_expired"' in page.text
    assert exchanges(lite) == 0


async def test_row_12_an_unknown_or_doubled_state_is_refused(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    path, query = urlsplit(callback).path, query_of(callback)
    for bad in (
        f"{path}?code=x",
        f"{path}?code=x&state=",
        f"{path}?code=x&state={'A' * 43}",
        f"{path}?code={query['code']}&state={query['state']}&state={query['state']}",
        f"/link/oauth/other/callback?code={query['code']}&state={query['state']}",
    ):
        page = await ann.get(bad)
        assert page.status_code == 400, bad
        assert 'data-problem="unknown_state"' in page.text
        assert query["state"] not in page.text
    assert exchanges(lite) == 0


async def test_row_12_what_is_stored_of_a_state_opens_nothing(lite: LinkSite):
    record = await lite.invite()
    _, url = await go(lite, record)
    state = query_of(url)["state"]
    async with lite.database.session() as session:
        (attempt,) = await session.exec(select(LinkAttemptRecord))
    assert attempt.state_hash == hashlib.sha256(state.encode()).digest()
    assert attempt.expires_at - attempt.created_at == timedelta(minutes=10)
    assert (attempt.method, attempt.tenant_id, attempt.origin) == (LinkMethod.OAUTH, "ten_1", lite.sandbox.url)
    assert state not in repr(attempt)
    # The verifier is made of the state by a key that is not in the database.
    assert query_of(url)["code_challenge"] != urlsafe_b64encode(attempt.state_hash).decode().rstrip("=")


@pytest.mark.parametrize("query", ["error=server_error", "", "code=", "code=%0d%0a", f"code={'x' * 600}", "code=wrong"])
async def test_a_useless_callback_uses_its_state_up(lite: LinkSite, query: str):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    state = query_of(callback)["state"]
    page = await ann.follow(await ann.get(f"{urlsplit(callback).path}?state={state}&{query}"))
    assert 'data-problem="grant_refused"' in page.text
    assert 'data-page="ways"' in page.text
    sent = exchanges(lite)
    assert sent == (1 if query == "code=wrong" else 0)
    await ann.get(callback)  # too late for the true code
    assert exchanges(lite) == sent


async def test_a_lost_answer_is_not_asked_for_again(lite: LinkSite):
    ann, callback = await approve(lite, await lite.invite())
    lite.sandbox.faults.add(Reset(path="/oauth/token/", commits=True))
    page = await ann.follow(await ann.get(callback))
    assert 'data-problem="grant_lost"' in page.text
    assert exchanges(lite) == 1


async def test_a_grant_survives_a_sentry_that_fails_right_after(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    lite.sandbox.faults.add(Fail(path="^/api/0/", status=503, times=4))  # as often as one call is tried
    page = await ann.follow(await ann.get(callback))
    assert 'data-page="check"' in page.text, page.text
    assert 'data-problem="sentry_unavailable"' in page.text
    assert 'data-page="check"' in (await ann.show()).text
    page = await ann.act("check")
    assert 'data-page="organization"' in page.text
    assert exchanges(lite) == 1


async def test_back_from_sentry_takes_the_callback_back(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    await ann.act("back")
    status = await ann.get(f"/link/start/{lite.sessions.token(record.id)}/status")
    assert status.json()["status"] == "started"
    page = await ann.follow(await ann.get(callback))
    assert 'data-page="ways"' in page.text
    assert exchanges(lite) == 0


async def test_row_13_a_code_goes_to_the_sentry_that_was_asked_and_to_no_other(tmp_path, sandbox, sqlite_url):
    """Two Sentrys with the same client id and secret: the attacker's learns no code of the honest one's."""
    evil = create_sandbox(SandboxConfig(rate_limit=10_000, concurrency=10_000, endpoint_limits=False))
    with serve_in_thread(evil):
        mine = OAuthClient(Origin.parse(evil.url), "evil-client", "evil-secret")
        async for site in build_site(tmp_path, sandbox, sqlite_url, oauth=(mine,), egress=(evil.url,)):
            record = await site.invite(origin=None)
            ann = site.person()
            await ann.login(OWNER)
            await ann.start(record)
            url = going_to(await ann.act("oauth", {"client": "evil-client"}))
            assert url.startswith(f"{evil.url}/oauth/authorize/")
            theirs = query_of(url)
            assert theirs["redirect_uri"] == f"{PUBLIC_URL}/link/oauth/evil-client/callback"
            honest = query_of(await ann.consent(going_to(await ann.act("oauth", CLIENT))))
            # The attacker answers with the honest Sentry's code, at its own address: RFC 9700, section 4.4.
            forged = f"/link/oauth/evil-client/callback?code={honest['code']}&state={honest['state']}"
            assert (await ann.get(forged)).status_code == 400
            # And at the honest address with its own state.
            path = f"/link/oauth/{DEMO_OAUTH_CLIENT.client_id}/callback"
            assert (await ann.get(f"{path}?code={honest['code']}&state={theirs['state']}")).status_code == 400
            page = await ann.follow(await ann.get(f"{path}?code={honest['code']}&state={honest['state']}"))
            assert 'data-page="organization"' in page.text
            assert exchanges(site) == 1
            assert evil.count() == 0


async def test_a_client_of_another_sentry_is_not_offered(tmp_path, sandbox, sqlite_url):
    other = OAuthClient(Origin.parse("https://sentry.acme.example"), "acme-client", "s")
    async for site in build_site(tmp_path, sandbox, sqlite_url, oauth=(other,)):
        ann = site.person()
        page = await ann.start(await site.invite())
        assert "acme-client" not in page.text
        assert DEMO_OAUTH_CLIENT.client_id in page.text
        for client in ("acme-client", "", "nobody"):
            page = await ann.act("oauth", {"client": client})
            assert page.status_code == 422
        page = await ann.start(await site.invite(origin=None))
        assert "acme-client" in page.text


async def test_no_secret_of_a_link_is_in_any_page_or_address(lite: LinkSite):
    record = await lite.invite()
    ann, callback = await approve(lite, record)
    await ann.follow(await ann.get(callback))
    await ann.act("organization", {"organization": "paper-boat"})
    await ann.act("projects", {"choice": "all"})
    await ann.confirm()
    token = next(t for t in lite.sandbox.world.tokens.values() if t.application is not None)
    secrets = [token.value, token.refresh, DEMO_OAUTH_CLIENT.client_secret]
    seen = "\n".join(ann.pages)
    for secret in secrets:
        assert secret
        assert secret not in seen
    assert DEMO_OAUTH_CLIENT.client_id in seen  # the scan sees what is there
