"""What a contract cannot see of OAuth: faults, upheavals, counts."""

import asyncio

import httpx
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.faults import Fail, Fault, Reset, Truncate
from service.sandbox.world import DEMO_OAUTH_CLIENT, OAuthApplication
from tests.sandbox.conftest import client_of
from tests.sandbox.linking import OWNER, REDIRECT, approve, browser_of, client_in, form_of, refresh, sign_in, who

INVALID = {"detail": "Invalid token"}


async def test_the_demos_client_is_constant_and_points_nowhere_until_told(app: Sandbox) -> None:
    known = client_in(app)
    assert known.redirect_uris == []
    assert len(bytes.fromhex(DEMO_OAUTH_CLIENT.client_id)) == len(bytes.fromhex(DEMO_OAUTH_CLIENT.client_secret)) == 32
    app.register_redirects(oauth=[REDIRECT], install=REDIRECT, webhook=None)
    assert known.redirect_uris == [REDIRECT]
    app.reset()
    assert client_in(app).redirect_uris == []


async def test_further_clients_can_be_registered(app: Sandbox) -> None:
    app.world.oauth_applications.append(OAuthApplication("e" * 64, "f" * 64, "Second", [REDIRECT]))
    token = app.grant_oauth(["org:read"], client_id="e" * 64)
    async with client_of(app, "") as client:
        assert (await refresh(client, token.refresh)).json() == {"error": "invalid_grant"}
        form = {"client_id": "e" * 64, "client_secret": "f" * 64, "grant_type": "refresh_token"}
        answer = await client.post("http://sandbox/oauth/token/", data=form | {"refresh_token": str(token.refresh)})
    assert answer.status_code == 200


async def test_a_500_after_the_rotation_loses_the_new_tokens(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    old = token.value, token.refresh
    app.faults.add(Fail(path="oauth/token", status=500, commits=True, times=1))
    async with client_of(app, "") as client:
        assert (await refresh(client, old[1])).status_code == 500
        assert (token.value, token.refresh) != old
        assert await who(client, old[0]) == (401, INVALID)
        assert (await refresh(client, old[1])).json() == {"error": "invalid_grant"}


async def test_a_500_before_the_rotation_costs_nothing(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    app.faults.add(Fail(path="oauth/token", status=500, times=1))
    async with client_of(app, "") as client:
        assert (await refresh(client, token.refresh)).status_code == 500
        assert (await who(client, token.value))[0] == 200
        assert (await refresh(client, token.refresh)).status_code == 200


@pytest.mark.parametrize("fault", [Reset(path="oauth/token", commits=True), Truncate(path="oauth/token")], ids=repr)
async def test_an_answer_can_be_lost_on_its_way(sandbox: Sandbox, fault: Fault) -> None:
    token = sandbox.grant_oauth(["org:read"])
    old = token.refresh
    sandbox.faults.add(fault)
    async with httpx.AsyncClient(base_url=sandbox.url) as client:
        with pytest.raises(httpx.TransportError):
            await client.post("/oauth/token/", data=form_of(grant_type="refresh_token", refresh_token=str(old)))
    assert token.refresh != old
    assert sandbox.world.issued == {"oauth refresh_token": 1}


async def test_of_many_refreshes_at_once_one_wins(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    spent = token.refresh
    async with client_of(app, "") as client:
        answers = await asyncio.gather(*(refresh(client, spent) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert app.world.issued_to == {str(token.id): 1}


async def test_tokens_are_counted_by_kind_and_by_grant_for_other_processes(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    async with client_of(app, "") as client:
        for _ in range(3):
            assert (await refresh(client, token.refresh)).status_code == 200
        assert (await refresh(client, "no such token")).status_code == 400
        counted = (await client.get("http://sandbox/__sandbox__/grants/")).json()
    assert counted == {"kinds": {"oauth refresh_token": 3}, "grants": {str(token.id): 3}}


async def test_revoking_ends_all_tokens_of_the_approval_and_the_approval(app: Sandbox) -> None:
    first, second = app.grant_oauth(["org:read"]), app.grant_oauth(["org:read"])
    other = app.grant_oauth(["org:read"], by=app.world.users[1].email)
    app.revoke(first.value)
    async with client_of(app, "") as client:
        assert await who(client, second.value) == (401, INVALID)
        assert (await refresh(client, second.refresh)).json() == {"error": "invalid_grant"}
        assert (await who(client, other.value))[0] == 200
    async with browser_of(app) as browser:
        await sign_in(browser)
        assert await approve(browser)
    with pytest.raises(KeyError):
        app.revoke(first.value)


@pytest.mark.parametrize(
    ("manner", "status", "error"), [("23.7", 401, "invalid_credentials"), ("latest", 400, "invalid_grant")]
)
async def test_a_disabled_client_is_refused_everywhere(app: Sandbox, manner: str, status: int, error: str) -> None:
    app.manner = "23.7" if manner == "23.7" else "latest"
    token = app.grant_oauth(["org:read"])
    app.disable_client(DEMO_OAUTH_CLIENT.client_id)
    async with client_of(app, "") as client:
        assert await who(client, token.value) == (401, {"detail": "UserApplication inactive or deleted"})
        answer = await refresh(client, token.refresh)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


async def test_a_deactivated_person_is_refused_and_may_still_refresh(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    app.deactivate_user(OWNER)
    async with client_of(app, "") as client:
        assert (await refresh(client, token.refresh)).status_code == 200
        assert await who(client, token.value) == (401, {"detail": "User inactive or deleted"})


@pytest.mark.parametrize("barrier", ["sso-required", "2fa-required", "member-disabled-over-limit"])
async def test_an_organization_can_ask_for_more_than_a_token(app: Sandbox, barrier: str) -> None:
    token = app.grant_oauth(["org:read"])
    app.raise_barrier("lumen-labs", barrier)  # type: ignore[arg-type]
    async with client_of(app, token.value) as client:
        refused = await client.get("organizations/lumen-labs/")
        assert (await client.get("organizations/paper-boat/")).status_code == 200
        app.raise_barrier("lumen-labs", None)
        assert (await client.get("organizations/lumen-labs/")).status_code == 200
    detail = refused.json()["detail"]
    assert (refused.status_code, detail["code"], set(detail)) == (401, barrier, {"code", "message", "extra"})


async def test_an_organization_can_go(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    installation = app.install()
    app.remove_organization("lumen-labs")
    async with client_of(app, token.value) as client:
        assert (await client.get("organizations/lumen-labs/")).status_code == 404
        assert (await client.get(f"sentry-app-installations/{installation.uuid}/")).status_code == 404
        assert len((await client.get("organizations/")).json()) == 2


async def test_a_clock_that_is_ahead_can_be_seen_and_felt(app: Sandbox) -> None:
    token = app.grant_oauth(["org:read"])
    async with client_of(app, token.value) as client:
        before = (await client.get("")).headers["date"]
        app.skew = 31 * 86_400
        late = await client.get("")
    assert (late.status_code, late.json()) == (401, {"detail": "Token expired"})
    assert late.headers["date"] != before


async def test_codes_live_ten_minutes(app: Sandbox) -> None:
    async with browser_of(app) as browser:
        await sign_in(browser)
        code = await approve(browser)
        app.skew = 601
        data = form_of(grant_type="authorization_code", code=code, redirect_uri=REDIRECT)
        answer = await browser.post("/oauth/token/", data=data)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_grant"})
