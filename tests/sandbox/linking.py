"""A person's way through the stand-in's pages, and a client's calls, for the tests beside."""

import re
from typing import Any

import httpx

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, DEMO_PASSWORD, App, OAuthApplication

REDIRECT = "http://service.example/link/callback"
INSTALLED = "http://service.example/link/install/callback?kept=1"
AUTHORIZE = f"/oauth/authorize/?client_id={DEMO_OAUTH_CLIENT.client_id}&response_type=code&state=st"
INSTALL = f"/sentry-apps/{DEMO_APP.slug}/external-install/"
OWNER = "mara.quill@lumen-labs.example"


def linker_of(app: Sandbox) -> App:
    """The demo's app."""
    found = app.world.find_app(DEMO_APP.slug)
    assert found
    return found


def client_in(app: Sandbox) -> OAuthApplication:
    """The demo's OAuth application."""
    found = app.world.find_oauth_application(DEMO_OAUTH_CLIENT.client_id)
    assert found
    return found


def browser_of(app: Sandbox) -> httpx.AsyncClient:
    """A browser that follows no redirects; the clients' addresses are registered."""
    app.register_redirects(oauth=[REDIRECT], install=INSTALLED, webhook=None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox")


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    form = re.search(r"<form.*?</form>", page.text)
    assert form, page.text
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))


async def sign_in(browser: httpx.AsyncClient, email: str = OWNER) -> httpx.Response:
    """Signs in at the sign-in page."""
    page = await browser.get("/auth/login/")
    fields = hidden(page) | {"username": email, "password": DEMO_PASSWORD}
    return await browser.post("/auth/login/", data=fields)


async def approve(browser: httpx.AsyncClient, scope: str = "org:read", **more: str) -> str:
    """Approves what the client asks for; the code."""
    query = {**httpx.URL(AUTHORIZE).params, "force_prompt": "1", "scope": scope, **more}
    page = await browser.get("/oauth/authorize/", params=query)
    done = await browser.post("/oauth/authorize/", data=hidden(page) | {"op": "approve"})
    return httpx.URL(done.headers["location"]).params["code"]


def form_of(**fields: str) -> dict[str, str]:
    """A body for the token endpoint, of the demo's client."""
    return {"client_id": DEMO_OAUTH_CLIENT.client_id, "client_secret": DEMO_OAUTH_CLIENT.client_secret, **fields}


def body_of(**fields: str) -> dict[str, str]:
    """A body for the authorizations endpoint, of the demo's app."""
    return {"client_id": DEMO_APP.client_id, "client_secret": DEMO_APP.client_secret, **fields}


async def refresh(client: httpx.AsyncClient, refresh_token: str | None) -> httpx.Response:
    """Refreshes an OAuth token."""
    data = form_of(grant_type="refresh_token", refresh_token=refresh_token or "")
    return await client.post("http://sandbox/oauth/token/", data=data)


async def who(client: httpx.AsyncClient, token: str) -> tuple[int, Any]:
    """Status and body of the root, asked with a token."""
    response = await client.get("http://sandbox/api/0/", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.json()
