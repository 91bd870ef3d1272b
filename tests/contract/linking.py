"""What linking needs of a Sentry, as the contract sees it: a person, an OAuth application, and an app to install."""

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx

from tests.contract.server import TRUST, Server

REDIRECT = "http://127.0.0.1:9199/callback"
OTHER_REDIRECT = "http://127.0.0.1:9199/other"
APP_REDIRECT = "http://127.0.0.1:9199/installed"
_FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_INPUT = re.compile(r"<input\b([^>]*)>")
_BUTTON = re.compile(r"<button\b([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass(frozen=True)
class Client:
    """A client of Sentry's: an OAuth application, or an app with its ``slug``."""

    client_id: str
    client_secret: str = field(repr=False)
    slug: str = ""

    @property
    def secret(self) -> dict[str, str]:
        """The two fields by which it proves itself."""
        return {"client_id": self.client_id, "client_secret": self.client_secret}


@dataclass(frozen=True)
class Form:
    """A form of a page: where it posts, its fields as filled in, and the values that its buttons add."""

    url: str
    fields: Mapping[str, str]
    buttons: tuple[tuple[str, str], ...]


def read_forms(response: httpx.Response) -> list[Form]:
    """The forms of a page."""
    forms = []
    for opening, inside in _FORM.findall(response.text):
        inputs = [_attributes(tag) for tag in _INPUT.findall(inside)]
        buttons = [_attributes(tag) for tag in _BUTTON.findall(inside)]
        action = _attributes(opening).get("action", "")
        forms.append(
            Form(
                str(response.url.join(action) if action else response.url),
                {tag["name"]: tag.get("value", "") for tag in inputs if "name" in tag},
                tuple((tag["name"], tag.get("value", "")) for tag in buttons if "name" in tag),
            )
        )
    return forms


def _attributes(tag: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in _ATTRIBUTE.findall(tag)}


@dataclass(frozen=True)
class Browser:
    """A person's browser: cookies, and pages whose forms are filled in by hand. Follows no redirect by itself."""

    http: httpx.Client

    def open(self, path: str, **params: str | None) -> httpx.Response:
        """Opens a page."""
        given = {name: value for name, value in params.items() if value is not None}
        # Empty parameters would replace the query that a path has.
        return self.http.get(path, params=given or None)

    def submit(self, form: Form, **fields: str) -> httpx.Response:
        """Submits a form, with some fields filled in."""
        return self.http.post(form.url, data={**form.fields, **fields}, headers={"Referer": form.url})

    def sign_in(self, page: httpx.Response, login: str, password: str) -> httpx.Response:
        """Signs in by the form on a page; waits where the account was tried too often (five times a minute)."""
        for _ in range(8):
            form = next(form for form in read_forms(page) if "password" in form.fields)
            answer = self.submit(form, username=login, password=password)
            # In OAuth's own sign-in page an old server fails to say so.
            if answer.status_code != 500 and "too many login attempts" not in answer.text:
                break
            time.sleep(10)
            page = self.http.get(page.url)
        return answer


def _unregistered(*_: object) -> None:
    raise NotImplementedError("this bench has no clients of its own")


@dataclass(frozen=True)
class Bench:
    """A server with a person and two clients of its own.

    ``register`` says where the clients live from now on: the OAuth application's redirect URIs, the app's redirect and
    webhook. ``withdraw`` takes back all that the person has approved to the OAuth application, and ends its tokens.
    ``expire`` ends an access token's life, where one can.
    """

    server: Server
    login: str
    password: str = field(repr=False)
    oauth: Client
    app: Client
    register: Callable[[Sequence[str], str, str], None] = _unregistered
    withdraw: Callable[[], None] = _unregistered
    expire: Callable[[str], None] | None = None
    _cookies: list[httpx.Cookies] = field(default_factory=list, repr=False)

    def browser(self, *, signed_in: bool = True) -> Browser:
        """A new browser; the person signs in once for all, for servers count the attempts."""
        # A fresh connection each time: some servers close idle ones without a word.
        limits = httpx.Limits(max_keepalive_connections=0)
        browser = Browser(httpx.Client(base_url=self.server.url, timeout=60, limits=limits, verify=TRUST))
        if signed_in and self._cookies:
            browser.http.cookies = httpx.Cookies(self._cookies[0])
        elif signed_in:
            page = browser.open("/auth/login/")
            assert browser.sign_in(page, self.login, self.password).status_code == 302
            self._cookies.append(httpx.Cookies(browser.http.cookies))
        return browser

    def authorize(self, browser: Browser, **params: str | None) -> httpx.Response:
        """Opens the consent page; without ``scope``, asks for org:read and member:read."""
        asked: dict[str, str | None] = {
            "client_id": self.oauth.client_id,
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": "org:read member:read",
            "state": "a state",
        }
        return browser.open("/oauth/authorize/", **(asked | params))

    def obtain_code(self, browser: Browser, **params: str | None) -> str:
        """Asks with a prompt, approves, and returns the code."""
        page = self.authorize(browser, force_prompt="1", **params)
        return returned(browser.submit(consent_form(page), op="approve"))["code"]

    def token(self, auth: tuple[str, str] | None, /, **form: str | None) -> httpx.Response:
        """Asks the token endpoint as the OAuth application; None leaves a field out."""
        fields: dict[str, str | None] = {**self.oauth.secret, **form}
        sent = {name: value for name, value in fields.items() if value is not None}
        return httpx.post(f"{self.server.url}/oauth/token/", data=sent, auth=auth, timeout=60, verify=TRUST)

    def exchange(self, code: str, auth: tuple[str, str] | None = None, /, **form: str | None) -> httpx.Response:
        """Exchanges an OAuth code; ``form`` replaces what is sent."""
        asked: dict[str, str | None] = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return self.token(auth, **(asked | form))

    def refresh(self, refresh_token: str, /, **form: str | None) -> httpx.Response:
        """Refreshes an OAuth token; ``form`` replaces what is sent."""
        asked: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.token(None, **(asked | form))

    def link(self, scope: str = "org:read member:read") -> dict[str, Any]:
        """All of OAuth at once: the token's answer."""
        response = self.exchange(self.obtain_code(self.browser(), scope=scope))
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ask(self, path: str, token: str | None, method: str = "GET", **kwargs: Any) -> httpx.Response:
        """Asks the API with some token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.server.ask(path, None, method=method, headers=headers | kwargs.pop("headers", {}), **kwargs)

    def install(self, organization: str | None = None) -> dict[str, Any]:
        """Installs the app in the organization, or in another one, by the API."""
        path = f"organizations/{organization or self.server.organization}/sentry-app-installations/"
        response = self.server.ask(path, method="POST", json={"slug": self.app.slug})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def installations(self, organization: str | None = None) -> list[dict[str, Any]]:
        """Where the app is installed in the organization, or in another one: one, or none."""
        rows = self.server.rows(f"organizations/{organization or self.server.organization}/sentry-app-installations/")
        return [row for row in rows if row["app"]["slug"] == self.app.slug]

    def uninstall(self, installation_uuid: str) -> httpx.Response:
        """Uninstalls, by the API."""
        return self.server.ask(f"sentry-app-installations/{installation_uuid}/", method="DELETE")

    def grant(self, installation_uuid: str, **body: str | None) -> httpx.Response:
        """Asks for a token of an installation as the app; None leaves a field out."""
        fields: dict[str, str | None] = {**self.app.secret, **body}
        sent = {name: value for name, value in fields.items() if value is not None}
        return self.ask(f"sentry-app-installations/{installation_uuid}/authorizations/", None, "POST", json=sent)

    def grant_by_assertion(self, installation_uuid: str, assertion: str) -> httpx.Response:
        """Asks for a token of an installation by a JWT."""
        path = f"sentry-app-installations/{installation_uuid}/authorizations/"
        return self.ask(path, assertion, "POST", json={"grant_type": "urn:sentry:params:oauth:grant-type:jwt-bearer"})


def consent_form(page: httpx.Response) -> Form:
    """The form that asks for consent; fails where the page has none."""
    assert page.status_code == 200, page.text[:200]
    return next(form for form in read_forms(page) if ("op", "approve") in form.buttons)


def asks_for_consent(page: httpx.Response) -> bool:
    """Whether a page asks for consent."""
    return any(("op", "deny") in form.buttons for form in read_forms(page))


def returned(response: httpx.Response) -> dict[str, str]:
    """What a redirect to the client carries; fails where it goes elsewhere."""
    assert response.status_code == 302, response.text[:200]
    location = httpx.URL(response.headers["location"])
    assert str(location.copy_with(query=None)) in {REDIRECT, OTHER_REDIRECT}
    return dict(location.params)


def sign_assertion(client: Client, *, ahead: float = 0, life: int = 60, **claims: Any) -> str:
    """The JWT by which an app proves itself; ``ahead`` is how many seconds its clock is wrong by."""
    now = int(time.time() + ahead)
    payload = {
        "iss": client.client_id,
        "sub": client.client_id,
        "iat": now,
        "exp": now + life,
        "jti": str(uuid.uuid4()),
    }
    parts = [_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, payload | claims)]
    signed = ".".join(parts)
    return f"{signed}.{_encode(hmac.digest(client.client_secret.encode(), signed.encode(), hashlib.sha256))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier."""
    return _encode(hashlib.sha256(verifier.encode()).digest())
