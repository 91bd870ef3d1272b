"""Clients of one's own on a real server: made through a person's session as in a browser, and removed again."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from tests.contract.linking import APP_REDIRECT, OTHER_REDIRECT, REDIRECT, Bench, Browser, Client
from tests.contract.server import Server

APP_SCOPES = ["org:read", "member:read", "team:read", "project:read"]
_NOBODY = Client("", "")


@contextmanager
def registered(server: Server, login: str, password: str, webhook: str) -> Iterator[Bench]:
    """A bench on a real server: an OAuth application of the person's, and an app of the organization's."""
    browser = Bench(server, login, password, _NOBODY, _NOBODY).browser()
    oauth = _create_oauth_application(browser)
    try:
        app = _create_app(server, webhook)

        def register(redirect_uris: Sequence[str], install: str, webhook: str) -> None:
            _register_redirects(browser, oauth, redirect_uris)
            changed = server.ask(
                f"sentry-apps/{app.slug}/", method="PUT", json={"redirectUrl": install, "webhookUrl": webhook}
            )
            assert changed.status_code == 200, changed.text

        try:
            yield Bench(server, login, password, oauth, app, register, lambda: _withdraw(browser, oauth))
        finally:
            _call(browser, "DELETE", f"sentry-apps/{app.slug}/", 204)
    finally:
        _call(browser, "DELETE", f"api-applications/{oauth.client_id}/", 204)


def _call(browser: Browser, method: str, path: str, status: int, body: Any = None) -> httpx.Response:
    token = next((cookie.value for cookie in browser.http.cookies.jar if cookie.name in {"sc", "sentry-sc"}), None)
    headers = {"X-CSRFToken": token or "", "Referer": f"{browser.http.base_url}/"}
    response = browser.http.request(method, f"/api/0/{path}", json=body, headers=headers)
    assert response.status_code == status, response.text
    return response


def _create_oauth_application(browser: Browser) -> Client:
    made = _call(browser, "POST", "api-applications/", 201, {}).json()
    client = Client(made["clientID"], made["clientSecret"])
    _register_redirects(browser, client, [REDIRECT, OTHER_REDIRECT])
    return client


def _register_redirects(browser: Browser, client: Client, redirect_uris: Sequence[str]) -> None:
    changes = {"name": "Contract tests", "redirectUris": list(redirect_uris)}
    _call(browser, "PUT", f"api-applications/{client.client_id}/", 200, changes)


def _withdraw(browser: Browser, client: Client) -> None:
    for approved in _call(browser, "GET", "api-authorizations/", 200).json():
        if (approved["application"] or {}).get("clientID") == client.client_id:
            _call(browser, "DELETE", "api-authorizations/", 204, {"authorization": approved["id"]})


def _create_app(server: Server, webhook: str) -> Client:
    body = {
        # A name stays taken when its app is gone.
        "name": f"Contract {secrets.token_hex(4)}",
        "author": "Contract tests",
        "organization": server.organization,
        "isInternal": False,
        "isAlertable": False,
        "verifyInstall": True,
        "scopes": APP_SCOPES,
        "events": [],
        "schema": {},
        "webhookUrl": webhook,
        "redirectUrl": APP_REDIRECT,
    }
    made = server.ask("sentry-apps/", method="POST", json=body)
    assert made.status_code == 201, made.text
    found = server.ask(f"sentry-apps/{made.json()['slug']}/").json()
    return Client(found["clientId"], found["clientSecret"], found["slug"])
