"""Linking by OAuth: consent, exchange, and refreshes that rotate both tokens."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.contract.linking import (
    OTHER_REDIRECT,
    Bench,
    asks_for_consent,
    challenge_of,
    consent_form,
    read_forms,
    returned,
)
from tests.contract.shapes import OAUTH_TOKEN, describe_mismatch

VERIFIER = "a-verifier-of-at-least-forty-three-characters"


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and name of a refusal, which is said in one field and no other."""
    assert set(response.json()) == {"error"}, response.text
    return response.status_code, response.json()["error"]


def test_whoever_is_not_signed_in_is_asked_to_first_and_then_for_consent(bench: Bench) -> None:
    browser = bench.browser(signed_in=False)
    page = bench.authorize(browser, force_prompt="1")
    assert (page.status_code, asks_for_consent(page)) == (200, False)
    answer = browser.sign_in(page, bench.login, bench.password)
    assert answer.status_code == 302
    assert asks_for_consent(browser.open(answer.headers["location"]))


def test_a_wrong_password_signs_nobody_in(bench: Bench) -> None:
    browser = bench.browser(signed_in=False)
    page = browser.sign_in(browser.open("/auth/login/"), bench.login, "not the password")
    assert page.status_code == 200
    assert any("password" in form.fields for form in read_forms(page))
    assert not asks_for_consent(bench.authorize(browser, force_prompt="1"))


def test_approval_returns_a_code_and_the_state(bench: Bench) -> None:
    browser = bench.browser()
    form = consent_form(bench.authorize(browser, force_prompt="1", state="a b&c=d"))
    answer = returned(browser.submit(form, op="approve"))
    assert set(answer) == {"code", "state"}
    assert answer["state"] == "a b&c=d"
    assert answer["code"].isalnum()


def test_denial_returns_an_error_and_the_state(bench: Bench) -> None:
    browser = bench.browser()
    answer = browser.submit(consent_form(bench.authorize(browser, force_prompt="1")), op="deny")
    assert returned(answer) == {"error": "access_denied", "state": "a state"}


def test_consent_needs_the_forms_own_secret(bench: Bench) -> None:
    browser = bench.browser()
    form = consent_form(bench.authorize(browser, force_prompt="1"))
    assert browser.submit(form, op="approve", csrfmiddlewaretoken="x" * 64).status_code == 403


def test_who_approved_once_is_not_asked_again_for_the_same_or_less(bench: Bench) -> None:
    browser = bench.browser()
    bench.obtain_code(browser)
    assert "code" in returned(bench.authorize(browser))
    assert "code" in returned(bench.authorize(browser, scope="org:read"))
    assert asks_for_consent(bench.authorize(browser, force_prompt="1"))
    assert asks_for_consent(bench.authorize(browser, scope="org:read member:read alerts:write"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "f" * 64},
        {"client_id": None},
        {"redirect_uri": "http://127.0.0.1:9199/elsewhere"},
        {"redirect_uri": "http://127.0.0.2:9199/callback"},
        {"redirect_uri": "https://127.0.0.1:9199/callback"},
        {"response_type": None},
        {"response_type": "code token"},
    ],
    ids=str,
)
def test_a_client_or_redirect_that_is_not_known_is_a_page_and_no_redirect(
    bench: Bench, wrong: dict[str, str | None]
) -> None:
    for signed_in in (True, False):
        page = bench.authorize(bench.browser(signed_in=signed_in), **wrong)
        assert page.status_code == 400
        assert page.headers["content-type"].startswith("text/html")
        assert "location" not in page.headers


def test_a_redirect_that_only_begins_like_a_known_one_passes_on_old_servers(bench: Bench) -> None:
    page = bench.authorize(bench.browser(), redirect_uri=f"{OTHER_REDIRECT}/deeper", force_prompt="1")
    assert page.status_code == (200 if bench.server.manner == "23.7" else 400)


def test_of_several_redirects_newer_servers_want_to_be_told_which(bench: Bench) -> None:
    page = bench.authorize(bench.browser(), redirect_uri=None, force_prompt="1")
    assert page.status_code == (200 if bench.server.manner == "23.7" else 400)


def test_an_unknown_scope_is_told_to_the_client(bench: Bench) -> None:
    answer = bench.authorize(bench.browser(), scope="org:read org:own")
    assert returned(answer) == {"error": "invalid_scope", "state": "a state"}


def test_a_code_is_exchanged_for_a_token_of_thirty_days(bench: Bench) -> None:
    found = bench.link("org:read member:read")
    assert not describe_mismatch(found, OAUTH_TOKEN, bench.server.manner)
    assert found["token_type"] == ("bearer" if bench.server.manner == "23.7" else "Bearer")
    assert set(found["scope"].split()) == {"org:read", "member:read"}
    assert 2_591_000 < found["expires_in"] <= 2_592_000
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left < timedelta(days=30, minutes=5)
    assert found["access_token"] != found["refresh_token"]


def test_the_token_acts_for_the_person_within_the_scopes(bench: Bench) -> None:
    token = bench.link("org:read")["access_token"]
    root = bench.ask("", token).json()
    assert root["auth"]["scopes"] == ["org:read"]
    assert root["user"]["email"] == bench.login
    slugs = [row["slug"] for row in bench.ask("organizations/", token).json()]
    assert bench.server.organization in slugs
    assert bench.ask(bench.server.organization_path("members/"), token).status_code == 403


def test_answers_with_tokens_are_not_kept_by_caches(bench: Bench) -> None:
    response = bench.exchange(bench.obtain_code(bench.browser()))
    assert response.status_code == 200
    assert "no-store" in response.headers["cache-control"]
    assert "no-store" in bench.exchange("no-such-code").headers["cache-control"]


def test_a_code_works_once_on_newer_servers_and_again_on_old_ones(bench: Bench) -> None:
    code = bench.obtain_code(bench.browser())
    first = bench.exchange(code).json()
    again = bench.exchange(code)
    if bench.server.manner == "23.7":
        assert again.json()["access_token"] != first["access_token"]
    else:
        assert error_of(again) == (400, "invalid_grant")
    assert bench.ask("", first["access_token"]).status_code == 200


@pytest.mark.parametrize("wrong", [{"code": "no-such-code"}, {"code": None}, {"redirect_uri": OTHER_REDIRECT}], ids=str)
def test_a_wrong_code_or_redirect_is_an_invalid_grant_and_costs_nothing(
    bench: Bench, wrong: dict[str, str | None]
) -> None:
    code = bench.obtain_code(bench.browser())
    assert error_of(bench.exchange(code, **wrong)) == (400, "invalid_grant")
    assert bench.exchange(code).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "old", "new"),
    [
        ({"client_secret": "x"}, (401, "invalid_credentials"), (401, "invalid_client")),
        ({"client_id": "f" * 64}, (401, "invalid_credentials"), (401, "invalid_client")),
        ({"client_id": None}, (400, "missing_client_id"), (401, "invalid_client")),
        ({"client_secret": None}, (400, "missing_client_secret"), (401, "invalid_client")),
        ({"grant_type": "client_credentials"}, (400, "unsupported_grant_type"), (400, "unsupported_grant_type")),
        ({"grant_type": None}, (400, "unsupported_grant_type"), (400, "invalid_request")),
    ],
    ids=str,
)
def test_refusals_have_names_that_differ_by_age(
    bench: Bench, wrong: dict[str, str | None], old: tuple[int, str], new: tuple[int, str]
) -> None:
    response = bench.exchange("no-such-code", **wrong)
    assert error_of(response) == (old if bench.server.manner == "23.7" else new)
    challenged = response.headers.get("www-authenticate") == 'Basic realm="oauth"'
    assert challenged is (response.json()["error"] == "invalid_client")


def test_newer_servers_take_the_secret_by_basic_instead_of_the_form(bench: Bench) -> None:
    pair = (bench.oauth.client_id, bench.oauth.client_secret)
    is_old = bench.server.manner == "23.7"
    code = bench.obtain_code(bench.browser())
    both = bench.exchange(code, pair)
    assert both.status_code == 200 if is_old else error_of(both) == (400, "invalid_request")
    header = bench.exchange(code, pair, client_id=None, client_secret=None)
    assert error_of(header) == (400, "missing_client_id") if is_old else header.status_code == 200


def test_the_token_endpoint_takes_forms_that_are_posted(bench: Bench) -> None:
    url = f"{bench.server.url}/oauth/token/"
    assert httpx.get(url).status_code == 405
    body = bench.oauth.secret | {"grant_type": "authorization_code", "code": "no-such-code"}
    response = httpx.post(url, json=body)
    assert error_of(response) == (
        (400, "missing_client_id") if bench.server.manner == "23.7" else (400, "invalid_request")
    )


def test_old_servers_ignore_pkce_and_newer_ones_hold_one_to_it(bench: Bench) -> None:
    browser, is_old = bench.browser(), bench.server.manner == "23.7"
    asked = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}
    assert bench.exchange(bench.obtain_code(browser, **asked), code_verifier=VERIFIER).status_code == 200
    for verifier in (VERIFIER[::-1], None):
        response = bench.exchange(bench.obtain_code(browser, **asked), code_verifier=verifier)
        assert response.status_code == 200 if is_old else error_of(response) == (400, "invalid_grant")
    plain = bench.authorize(browser, code_challenge=VERIFIER, code_challenge_method="plain")
    assert "code" in returned(plain) if is_old else returned(plain)["error"] == "invalid_request"


def test_a_refresh_replaces_both_tokens_and_the_old_ones_are_dead_at_once(bench: Bench) -> None:
    old = bench.link()
    response = bench.refresh(old["refresh_token"])
    assert response.status_code == 200
    new = response.json()
    assert not describe_mismatch(new, OAUTH_TOKEN, bench.server.manner)
    assert len({old["access_token"], old["refresh_token"], new["access_token"], new["refresh_token"]}) == 4
    assert (set(new["scope"].split()), new["user"]) == (set(old["scope"].split()), old["user"])
    refused = bench.ask("", old["access_token"])
    assert (refused.status_code, refused.json()) == (401, {"detail": "Invalid token"})
    assert error_of(bench.refresh(old["refresh_token"])) == (400, "invalid_grant")
    assert bench.ask("", new["access_token"]).status_code == 200
    assert bench.refresh(new["refresh_token"]).status_code == 200


@pytest.mark.parametrize("wrong", [{"scope": "org:read"}, {"refresh_token": None}], ids=str)
def test_a_refresh_asks_for_no_scope_and_for_something(bench: Bench, wrong: dict[str, str | None]) -> None:
    token = bench.link()["refresh_token"]
    assert error_of(bench.refresh(token, **wrong)) == (400, "invalid_request")
    assert bench.refresh(token).status_code == 200


def test_a_refresh_token_is_good_for_its_own_client_only(bench: Bench) -> None:
    token = bench.link()["refresh_token"]
    stranger = bench.refresh(token, **bench.app.secret)
    assert stranger.status_code in {400, 401}
    assert bench.refresh(token).status_code == 200


def test_a_refresh_works_after_the_access_token_expired(bench: Bench) -> None:
    if bench.expire is None:
        pytest.skip("no token can be made to expire here")
    old = bench.link()
    bench.expire(old["access_token"])
    expired = bench.ask("", old["access_token"])
    assert (expired.status_code, expired.json()) == (401, {"detail": "Token expired"})
    assert bench.ask("", bench.refresh(old["refresh_token"]).json()["access_token"]).status_code == 200
