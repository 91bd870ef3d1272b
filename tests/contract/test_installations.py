"""Linking by an app: installation, exchange, confirmation, refreshes, and the end."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.contract.linking import Bench, sign_assertion
from tests.contract.receiver import Hook, Receiver
from tests.contract.shapes import APP_TOKEN, INSTALLATION, NEW_INSTALLATION, describe_mismatch

UNKNOWN = "8a814438-0000-4000-8000-105ca0f98d1e"


def exchange(bench: Bench, installation: dict[str, Any], **body: str | None) -> dict[str, Any]:
    """The token for an installation's code."""
    asked = {"grant_type": "authorization_code", "code": installation["code"]} | body
    response = bench.grant(installation["uuid"], **asked)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def path_of(installation: dict[str, Any]) -> str:
    """Where an installation is."""
    return f"sentry-app-installations/{installation['uuid']}/"


def test_an_app_that_verifies_is_pending_after_install(bench: Bench, installation: dict[str, Any]) -> None:
    assert not describe_mismatch(installation, NEW_INSTALLATION, bench.server.manner)
    assert installation["status"] == "pending"
    assert installation["organization"] == {"slug": bench.server.organization}
    assert installation["app"]["slug"] == bench.app.slug


def test_installing_again_changes_nothing(bench: Bench, installation: dict[str, Any]) -> None:
    assert bench.install() == installation


def test_a_code_is_exchanged_for_a_token_of_eight_hours(bench: Bench, installation: dict[str, Any]) -> None:
    found = exchange(bench, installation)
    assert not describe_mismatch(found, APP_TOKEN, bench.server.manner)
    left = datetime.fromisoformat(found["expiresAt"]) - datetime.now(UTC)
    assert timedelta(hours=7, minutes=55) < left < timedelta(hours=8, minutes=5)
    assert {"org:read", "member:read"} <= set(found["scopes"])
    assert (found["state"], found["application"]) == (None, None)


def test_a_code_works_once(bench: Bench, installation: dict[str, Any]) -> None:
    token = exchange(bench, installation)["token"]
    again = bench.grant(installation["uuid"], grant_type="authorization_code", code=installation["code"])
    assert_refused(bench, again.status_code, again.json())
    assert bench.ask("", token).status_code == 200


def assert_refused(bench: Bench, status: int, body: Any) -> None:
    """A grant that is spent or unknown: one word from an old server, a sentence from a newer."""
    if bench.server.manner == "23.7":
        assert (status, body) == (403, {"error": "Unauthorized"})
    else:
        assert status in {401, 403}
        assert isinstance(body["detail"], str)


def test_a_wrong_code_is_refused_and_costs_nothing(bench: Bench, installation: dict[str, Any]) -> None:
    wrong = bench.grant(installation["uuid"], grant_type="authorization_code", code="no-such-code")
    assert_refused(bench, wrong.status_code, wrong.json())
    assert exchange(bench, installation)["token"]


@pytest.mark.parametrize("wrong", [{"client_secret": "x"}, {"client_id": "f" * 64}, {"client_id": None}], ids=str)
def test_only_the_app_itself_is_given_tokens(
    bench: Bench, installation: dict[str, Any], wrong: dict[str, str | None]
) -> None:
    asked: dict[str, str | None] = {"grant_type": "authorization_code", "code": installation["code"]}
    response = bench.grant(installation["uuid"], **(asked | wrong))
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid Client ID / Secret pair"})
    assert exchange(bench, installation)["token"]


def test_an_unknown_installation_and_an_unknown_grant_are_refused(bench: Bench, installation: dict[str, Any]) -> None:
    missing = bench.grant(UNKNOWN, grant_type="authorization_code", code=installation["code"])
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not found."})
    assert bench.grant(installation["uuid"], grant_type="password").status_code == 403
    assert bench.ask(f"{path_of(installation)}authorizations/", None, "POST").status_code == 401


def test_the_token_learns_its_organization_from_the_installation(bench: Bench, installation: dict[str, Any]) -> None:
    token = exchange(bench, installation)["token"]
    found = bench.ask(path_of(installation), token).json()
    assert not describe_mismatch(found, INSTALLATION, bench.server.manner)
    assert (found["uuid"], found["organization"]) == (installation["uuid"], installation["organization"])
    assert bench.ask("organizations/", token).json() == []
    assert bench.ask(bench.server.organization_path(), token).json()["slug"] == bench.server.organization
    assert bench.ask("", token).json()["user"]["email"] == ""


def test_an_installation_is_nobodys_elses(bench: Bench, installation: dict[str, Any]) -> None:
    token = exchange(bench, installation)["token"]
    assert bench.ask(path_of(installation), None).status_code == 401
    unknown = bench.ask(f"sentry-app-installations/{UNKNOWN}/", token)
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not found."})


def test_the_app_confirms_its_installation(bench: Bench, installation: dict[str, Any]) -> None:
    token, path = exchange(bench, installation)["token"], path_of(installation)
    assert bench.ask(path, token, "PUT", json={"status": "pending"}).status_code == 400
    assert bench.ask(path, token).json()["status"] == "pending"
    confirmed = bench.ask(path, token, "PUT", json={"status": "installed"})
    assert confirmed.status_code == 200
    assert not describe_mismatch(confirmed.json(), INSTALLATION, bench.server.manner)
    assert confirmed.json()["status"] == "installed"
    assert bench.ask(path, token, "PUT", json={"status": "installed"}).status_code == 200
    assert bench.server.ask(path, method="PUT", json={"status": "installed"}).status_code == 403


def test_a_refresh_replaces_the_token_and_a_spent_one_is_refused(bench: Bench, installation: dict[str, Any]) -> None:
    old = exchange(bench, installation)
    response = bench.grant(installation["uuid"], grant_type="refresh_token", refresh_token=old["refreshToken"])
    assert response.status_code == 201
    new = response.json()
    assert not describe_mismatch(new, APP_TOKEN, bench.server.manner)
    assert not {old["id"], old["token"], old["refreshToken"]} & {new["id"], new["token"], new["refreshToken"]}
    refused = bench.ask("", old["token"])
    assert (refused.status_code, refused.json()) == (401, {"detail": "Invalid token"})
    spent = bench.grant(installation["uuid"], grant_type="refresh_token", refresh_token=old["refreshToken"])
    assert_refused(bench, spent.status_code, spent.json())
    assert bench.ask(bench.server.organization_path(), new["token"]).status_code == 200


def test_newer_servers_give_a_token_for_a_signed_assertion(bench: Bench, installation: dict[str, Any]) -> None:
    old, assertion = exchange(bench, installation), sign_assertion(bench.app)
    response = bench.grant_by_assertion(installation["uuid"], assertion)
    if bench.server.manner == "23.7":
        assert (response.status_code, response.json()) == (401, {"detail": "Invalid Client ID / Secret pair"})
        assert bench.ask("", old["token"]).status_code == 200
        return
    assert response.status_code == 201
    new = response.json()
    assert not describe_mismatch(new, APP_TOKEN, bench.server.manner)
    assert bench.ask("", old["token"]).status_code == 401
    assert bench.ask(bench.server.organization_path(), new["token"]).status_code == 200
    assert bench.grant_by_assertion(installation["uuid"], assertion).status_code == 401
    assert bench.grant_by_assertion(installation["uuid"], sign_assertion(bench.app)).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [{"ahead": 120}, {"ahead": -120}, {"life": 3600}, {"iss": "f" * 64}, {"sub": "f" * 64}, {"jti": ""}],
    ids=str,
)
def test_an_assertion_that_is_wrong_is_refused_and_costs_nothing(
    bench: Bench, installation: dict[str, Any], wrong: dict[str, Any]
) -> None:
    token = exchange(bench, installation)["token"]
    refused = bench.grant_by_assertion(installation["uuid"], sign_assertion(bench.app, **wrong))
    assert refused.status_code == 401
    assert bench.ask("", token).status_code == 200


def test_an_uninstalled_app_reaches_nothing_any_more(bench: Bench, installation: dict[str, Any]) -> None:
    found = exchange(bench, installation)
    assert bench.uninstall(installation["uuid"]).status_code == 204
    assert bench.uninstall(installation["uuid"]).status_code == 404
    # The token itself stays valid; the organization is closed to it.
    assert bench.ask("", found["token"]).status_code == 200
    assert bench.ask(bench.server.organization_path(), found["token"]).status_code == 403
    assert bench.ask(bench.server.organization_path("members/"), found["token"]).status_code == 403
    assert bench.ask(path_of(installation), found["token"]).status_code == 404
    refresh = bench.grant(installation["uuid"], grant_type="refresh_token", refresh_token=found["refreshToken"])
    assert (refresh.status_code, refresh.json()) == (404, {"detail": "Not found."})
    assert bench.install()["uuid"] != installation["uuid"]
    assert bench.uninstall(bench.install()["uuid"]).status_code == 204


def test_install_and_uninstall_are_told_by_signed_webhooks(bench: Bench, receiver: Receiver) -> None:
    made = bench.install()
    bench.uninstall(made["uuid"])
    created, deleted = (receiver.wait_for(action, made["uuid"]) for action in ("created", "deleted"))
    if created is None and "127.0.0.1" not in bench.server.url:
        pytest.skip("this server sends no webhooks to loopback addresses")
    for hook in (created, deleted):
        assert hook is not None
        assert_signed(hook, bench)
        told = hook.payload["data"]["installation"]
        assert (told["uuid"], told["organization"], told["app"]["slug"]) == (
            made["uuid"],
            made["organization"],
            bench.app.slug,
        )
        assert hook.payload["actor"]["type"] == "user"
    assert created is not None
    assert created.payload["data"]["installation"]["code"] == made["code"]


def assert_signed(hook: Hook, bench: Bench) -> None:
    """The signature is over the raw body; the timestamp and the resource are not signed."""
    expected = hmac.digest(bench.app.client_secret.encode(), hook.body, hashlib.sha256).hex()
    assert hook.headers["Sentry-Hook-Signature"] == expected
    assert hook.headers["Sentry-Hook-Resource"] == "installation"
    assert len(hook.headers["Request-ID"]) == 32
    assert abs(int(hook.headers["Sentry-Hook-Timestamp"]) - datetime.now(UTC).timestamp()) < 60


def test_an_answer_that_is_dated_tells_the_servers_time(bench: Bench) -> None:
    dates = [response.headers.get("date") for response in (bench.ask("", None), bench.exchange("no-such-code"))]
    if dates == [None, None]:
        pytest.skip("this server dates nothing: it stands behind no proxy that would")
    for date in dates:
        assert date is not None
        assert abs(parsedate_to_datetime(date) - datetime.now(UTC)) < timedelta(minutes=5)
