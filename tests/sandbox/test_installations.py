"""What a contract cannot see of installations: several of them, faults, webhooks, the app's own assertions."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.app import Sandbox, create_sandbox
from service.sandbox.client_assertion import read_claims
from service.sandbox.deliveries import sign
from service.sandbox.faults import Fail
from service.sandbox.responses import Refused
from service.sandbox.world import DEMO_APP, DEMO_TOKENS
from tests.contract.linking import Client, sign_assertion
from tests.contract.receiver import Receiver, receiving
from tests.sandbox.conftest import client_of
from tests.sandbox.linking import body_of, linker_of, who

JWT_GRANT = {"grant_type": "urn:sentry:params:oauth:grant-type:jwt-bearer"}


@pytest.fixture
def receiver(app: Sandbox) -> Iterator[Receiver]:
    with receiving() as found:
        app.register_redirects(oauth=[], install="http://service.example/", webhook=found.url)
        yield found


async def ask(app: Sandbox, uuid: str, body: dict[str, str], bearer: str = "") -> httpx.Response:
    async with client_of(app, bearer) as client:
        return await client.post(f"sentry-app-installations/{uuid}/authorizations/", json=body)


def by_code(code: str | None) -> dict[str, str]:
    return body_of(grant_type="authorization_code", code=code or "")


def by_refresh(token: str | None) -> dict[str, str]:
    return body_of(grant_type="refresh_token", refresh_token=token or "")


async def test_an_app_is_installed_in_several_organizations_each_with_a_code_of_its_own(app: Sandbox) -> None:
    first, second = app.install(), app.install(organization="paper-boat")
    assert len({first.uuid, second.uuid, first.code, second.code}) == 4
    assert (await ask(app, first.uuid, by_code(second.code))).status_code == 401
    made = [(await ask(app, one.uuid, by_code(one.code))).json()["token"] for one in (first, second)]
    assert made == [first.token and first.token.value, second.token and second.token.value]
    app.manner = "23.7"
    refused = await ask(app, first.uuid, by_code("none"))
    assert (refused.status_code, refused.json()) == (403, {"error": "Unauthorized"})


async def test_a_token_reaches_every_organization_where_its_app_is_installed(app: Sandbox) -> None:
    """As a real 23.7.1 does: whoever holds several customers' tokens must hold each to its own organization."""
    token = app.grant_installation("lumen-labs")
    other = app.install(organization="paper-boat")
    async with client_of(app, token.value) as client:
        assert (await client.get("organizations/paper-boat/")).status_code == 200
        assert (await client.get(f"sentry-app-installations/{other.uuid}/")).json()["code"] == other.code
        assert (await client.get("organizations/northwind-rail/")).status_code == 403
        app.uninstall(other.uuid)
        assert (await client.get("organizations/paper-boat/")).status_code == 403


async def test_a_refresh_token_is_taken_at_any_installation_of_its_app(app: Sandbox) -> None:
    """Seen on a real 23.7.1, too: the uuid in the path decides whose the new token is."""
    token, other = app.grant_installation("lumen-labs"), app.install(organization="paper-boat")
    moved = await ask(app, other.uuid, by_refresh(token.refresh))
    assert moved.status_code == 201
    assert other.token is app.world.find_token(moved.json()["token"])
    mine = linker_of(app).installation_in(app.world.organizations[0])
    assert mine
    assert mine.token is None


async def test_a_stranger_to_an_installation_is_refused_with_403(app: Sandbox) -> None:
    own = next(other.installations[0] for other in app.world.apps if other is not linker_of(app))
    assert (await ask(app, own.uuid, by_code(own.code))).status_code == 403


async def test_a_code_lives_ten_minutes(app: Sandbox) -> None:
    made = app.install()
    app.skew = 601
    assert (await ask(app, made.uuid, by_code(made.code))).json() == {"detail": "Grant has already expired"}
    app.manner = "23.7"
    late = await ask(app, made.uuid, by_code(made.code))
    assert (late.status_code, late.json()) == (403, {"error": "Grant has already expired."})


@pytest.mark.parametrize("field", ["code", "refresh_token"])
async def test_what_is_missing_is_a_400_or_breaks_an_old_server(app: Sandbox, field: str) -> None:
    kind = "authorization_code" if field == "code" else field
    made = app.install()
    missing = await ask(app, made.uuid, body_of(grant_type=kind))
    assert (missing.status_code, missing.json()) == (400, {field: ["This field is required."]})
    app.manner = "23.7"
    assert (await ask(app, made.uuid, body_of(grant_type=kind))).status_code == 500


async def test_a_500_after_the_exchange_loses_the_token_and_an_assertion_gets_another(app: Sandbox) -> None:
    token = app.grant_installation()
    made = linker_of(app).installations[0]
    app.faults.add(Fail(path="/authorizations/$", status=500, commits=True, times=1))
    assert (await ask(app, made.uuid, by_refresh(token.refresh))).status_code == 500
    assert (await ask(app, made.uuid, by_refresh(token.refresh))).status_code == 401
    assertion = sign_assertion(Client(DEMO_APP.client_id, DEMO_APP.client_secret))
    assert (await ask(app, made.uuid, JWT_GRANT, assertion)).status_code == 201
    assert app.world.issued == {"installation refresh_token": 1, "installation jwt-bearer": 1}
    assert app.world.issued_to == {made.uuid: 2}


@pytest.mark.parametrize("skew", [-300, 300])
async def test_an_assertion_is_refused_by_a_server_whose_clock_is_off(app: Sandbox, skew: float) -> None:
    app.grant_installation()
    made = linker_of(app).installations[0]
    app.skew = skew
    assertion = sign_assertion(Client(DEMO_APP.client_id, DEMO_APP.client_secret))
    refused = await ask(app, made.uuid, JWT_GRANT, assertion)
    assert (refused.status_code, refused.json()) == (401, {"detail": "Could not validate JWT"})


async def test_an_assertion_needs_the_right_key_and_an_installation_that_holds_a_token(app: Sandbox) -> None:
    made = app.install()
    good, bad = (Client(DEMO_APP.client_id, secret) for secret in (DEMO_APP.client_secret, "0" * 64))
    assert (await ask(app, made.uuid, JWT_GRANT, sign_assertion(bad))).status_code == 401
    assert (await ask(app, made.uuid, JWT_GRANT, sign_assertion(good))).status_code == 500
    assert (await ask(app, made.uuid, JWT_GRANT)).json() == {"detail": "Header is in invalid form"}
    unknown = await ask(app, "no-such", JWT_GRANT, sign_assertion(good))
    assert (unknown.status_code, unknown.json()) == (401, {"detail": "Installation not found"})


@given(st.text())
def test_what_is_no_assertion_is_refused_whatever_it_is(text: str) -> None:
    with pytest.raises(Refused) as caught:
        read_claims(f"Bearer {text}")
    assert caught.value.answer.status == 401


async def test_revoked_is_what_an_apps_token_can_be(app: Sandbox) -> None:
    token = app.grant_installation()
    app.revoke(token.value)
    async with client_of(app, "") as client:
        assert (await who(client, token.value))[0] == 401
    made = linker_of(app).installations[0]
    assert (await ask(app, made.uuid, by_refresh(token.refresh))).status_code == 401


async def test_a_disabled_app_is_refused(app: Sandbox) -> None:
    token = app.grant_installation()
    app.disable_client(DEMO_APP.client_id)
    async with client_of(app, "") as client:
        assert await who(client, token.value) == (401, {"detail": "UserApplication inactive or deleted"})


async def test_installing_is_told_with_the_code_and_uninstalling_without(app: Sandbox, receiver: Receiver) -> None:
    made = app.install(by=app.world.users[0].email)
    code = made.code
    created = receiver.wait_for("created", made.uuid)
    await ask(app, made.uuid, by_code(code))
    async with client_of(app) as client:
        assert (await client.delete(f"sentry-app-installations/{made.uuid}/")).status_code == 204
    deleted = receiver.wait_for("deleted", made.uuid)
    assert created
    assert deleted
    assert created.payload["data"]["installation"] == shown(made) | {"code": code}
    assert deleted.payload["data"]["installation"] == shown(made)
    assert created.payload["actor"] == {"type": "user", "id": app.world.users[0].id, "name": "Mara Quill"}
    for hook in (created, deleted):
        assert hook.headers["Sentry-Hook-Signature"] == sign(DEMO_APP.client_secret, hook.body)
    app.webhooks.wait()
    assert [(d.payload["action"], d.status) for d in app.deliveries] == [("created", 204), ("deleted", 204)]


def shown(installation: Any) -> dict[str, Any]:
    return {
        "app": {"uuid": installation.app.uuid, "slug": DEMO_APP.slug},
        "organization": {"slug": installation.organization.slug},
        "uuid": installation.uuid,
        "status": installation.status,
    }


async def test_nobody_waits_for_a_webhook_and_its_failure_is_kept(app: Sandbox) -> None:
    app.register_redirects(oauth=[], install="http://service.example/", webhook="http://127.0.0.1:9/webhook")
    async with client_of(app) as client:
        body = {"slug": DEMO_APP.slug}
        made = await client.post("organizations/lumen-labs/sentry-app-installations/", json=body)
    assert made.status_code == 200
    app.webhooks.wait()
    (delivery,) = app.deliveries
    assert delivery.status is None
    assert "ClientConnectorError" in delivery.error


def test_an_app_without_a_url_is_told_nothing() -> None:
    app = create_sandbox()
    app.uninstall(app.install().uuid)
    assert app.deliveries == []


async def test_who_may_install_and_uninstall_by_the_api(app: Sandbox) -> None:
    made = app.install()
    path, body = "organizations/lumen-labs/sentry-app-installations/", {"slug": DEMO_APP.slug}
    async with client_of(app, DEMO_TOKENS.member) as member:
        assert (await member.post(path, json=body)).status_code == 403
        assert (await member.delete(f"sentry-app-installations/{made.uuid}/")).status_code == 403
    async with client_of(app, DEMO_TOKENS.internal) as integration:
        assert (await integration.post(path, json=body)).status_code in {403, 404}
        assert (await integration.delete(f"sentry-app-installations/{made.uuid}/")).status_code == 403
    async with client_of(app) as owner:
        assert (await owner.post(path, json={"slug": "no-such"})).status_code == 500
        assert (await owner.post(path, json={})).status_code == 400
        assert (await owner.put(f"sentry-app-installations/{made.uuid}/", json={})).status_code == 403
