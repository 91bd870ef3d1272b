"""The link page over HTTP, in process, in front of the stand-in Sentry on a real socket."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from service.app import Runtime
from service.connections.clients import Clients
from service.connections.keyring import Keyring
from service.connections.link_models import LinkSessionRecord
from service.connections.vault import Vault
from service.db import Database
from service.link.routes import create_link_routes
from service.link.rules import LinkSessionRequest
from service.link.sessions import LinkSessions
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, DEMO_PASSWORD
from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin
from service.settings import OAuthClientSettings, SentryAppSettings, Settings
from service.tenants.caller import Caller
from tests.connections.conftest import admin, keyring, store, stranger, vault
from tests.connections.factory import add_tenant
from tests.serving import NO_TLS

__all__ = ["admin", "keyring", "store", "stranger", "vault"]

PUBLIC_URL = "https://graph.test"


def read_form(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that posts there."""
    found = re.search(rf'<form[^>]*action="[^"]*/{action}"[^>]*>(.*?)</form>', html, re.DOTALL)
    assert found, f"no form for {action}"
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[1]))


@dataclass
class Person:
    """Somebody with a browser of their own: cookies, and a login at Sentry."""

    site: "LinkSite"
    http: httpx.AsyncClient
    sentry: httpx.AsyncClient
    session_id: str = ""
    pages: list[str] = field(default_factory=list)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return self._keep(await self.http.get(path, **options))

    async def post(self, path: str, data: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        headers = {"sec-fetch-site": "same-origin", "origin": "null"} | options.pop("headers", {})
        return self._keep(await self.http.post(path, data=data or {}, headers=headers, **options))

    async def start(self, record: LinkSessionRecord, **view: str) -> httpx.Response:
        """Open the invitation and press Start; the page of the first step."""
        page = await self.get(f"/link/start/{self.site.sessions.token(record.id)}", params=view)
        assert page.status_code == 200, page.text
        answer = await self.post("/link/start", read_form(page.text, "start"))
        assert answer.status_code == 303, answer.text
        self.session_id = record.id
        return await self.get(answer.headers["location"])

    async def act(self, action: str, data: dict[str, Any] | None = None) -> httpx.Response:
        """Send a form of the present step, and follow where it leads on our pages."""
        answer = await self.post(f"/link/{self.session_id}/{action}", data)
        return await self.follow(answer)

    async def follow(self, answer: httpx.Response) -> httpx.Response:
        while answer.is_redirect and answer.headers["location"].startswith("/"):
            answer = await self.get(answer.headers["location"])
        return answer

    async def show(self) -> httpx.Response:
        return await self.get(f"/link/{self.session_id}")

    async def confirm(self) -> httpx.Response:
        page = await self.show()
        return await self.act("confirm", read_form(page.text, "confirm"))

    def _keep(self, answer: httpx.Response) -> httpx.Response:
        self.pages.append(f"{answer.request.url}\n{answer.headers}\n{answer.text}")
        return answer

    # --- at Sentry ---

    async def login(self, email: str) -> None:
        page = await self.sentry.get("/auth/login/")
        await self.sentry.post("/auth/login/", data=_inputs(page.text) | {"username": email, "password": DEMO_PASSWORD})

    async def consent(self, url: str, op: str = "approve") -> str:
        """Answer Sentry's consent page; the callback's address, which is not opened yet."""
        answer = await self.sentry.get(url)
        if answer.status_code == 200:
            answer = await self.sentry.post(url, data=_inputs(answer.text) | {"op": op})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    async def install(self, url: str, organization: str) -> str:
        """Install the app; the callback's address."""
        page = await self.sentry.get(url)
        answer = await self.sentry.post(url, data=_inputs(page.text) | {"organization": organization, "op": "install"})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


def going_to(answer: httpx.Response) -> str:
    """Where a page sends the browser by itself."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', answer.text)
    assert found, answer.text
    return found[1].replace("&amp;", "&")


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _inputs(html: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', html))


@dataclass
class LinkSite:
    """A service with the link page, and one tenant."""

    runtime: Runtime
    app: Starlette
    sandbox: Sandbox
    caller: Caller
    vault: Vault
    clients: Clients
    people: list[Person] = field(default_factory=list)

    @property
    def sessions(self) -> LinkSessions:
        return self.runtime.services.link_sessions

    @property
    def database(self) -> Database:
        return self.runtime.database

    async def invite(self, caller: Caller | None = None, **options: Any) -> LinkSessionRecord:
        """A session whose Sentry is the sandbox, unless said otherwise."""
        request = LinkSessionRequest(**({"origin": self.sandbox.url} | options))
        return await self.sessions.create(caller or self.caller, request)

    async def reload(self, record: LinkSessionRecord) -> LinkSessionRecord:
        async with self.database.session() as session:
            found = await session.get(LinkSessionRecord, record.id)
            assert found
            return found

    def person(self) -> Person:
        """A new browser."""
        transport = httpx.ASGITransport(self.app)
        person = Person(
            self,
            httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL),
            httpx.AsyncClient(base_url=self.sandbox.url, verify=NO_TLS),
        )
        self.people.append(person)
        return person


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox, database_url: str) -> AsyncIterator[LinkSite]:
    """On either database."""
    async for built in build_site(tmp_path, sandbox, database_url):
        yield built


@pytest.fixture
async def lite(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[LinkSite]:
    """On SQLite, where the database does not matter."""
    async for built in build_site(tmp_path, sandbox, sqlite_url):
        yield built


async def build_site(
    folder: Path,
    sandbox: Sandbox,
    database_url: str,
    *,
    oauth: tuple[OAuthClient, ...] = (),
    apps: tuple[SentryApp, ...] = (),
    egress: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[LinkSite]:
    """A site with the sandbox's clients, and more of them; all that is different is built as the service does."""
    sandbox.register_redirects(
        oauth=[f"{PUBLIC_URL}/link/oauth/{DEMO_OAUTH_CLIENT.client_id}/callback"],
        install=f"{PUBLIC_URL}/link/install/callback",
        webhook=None,
    )
    keyring_file = folder / "site-keyring.json"
    Keyring.init(keyring_file)
    origin = Origin.parse(sandbox.url)
    clients = Clients(
        (OAuthClient(origin, DEMO_OAUTH_CLIENT.client_id, DEMO_OAUTH_CLIENT.client_secret), *oauth),
        (
            SentryApp(origin, DEMO_APP.slug, DEMO_APP.client_id, DEMO_APP.client_secret, verify_install=True),
            *apps,
        ),
    )
    runtime = Runtime.build(
        Settings(
            keyring_file=keyring_file,
            database_url=database_url,
            egress_allow=(sandbox.url, *egress),
            public_url=PUBLIC_URL,
            oauth_clients=tuple(map(_describe, clients.oauth)),
            sentry_apps=tuple(
                SentryAppSettings(**_describe(app).model_dump(), slug=app.slug, verify_install=app.verify_install)
                for app in clients.apps
            ),
            **settings,
        )
    )
    services, vault = runtime.services, Vault(runtime.keyring)
    routes = create_link_routes(
        database=runtime.database,
        keyring=runtime.keyring,
        vault=vault,
        linker=services.linker,
        accounts=services.accounts,
        client=services.client,
        clients=clients,
        public_url=PUBLIC_URL,
        private_ca=runtime.settings.private_ca,
    )
    app = Starlette(routes=routes)
    caller = await add_tenant(runtime.database, "ten_1")
    site = LinkSite(runtime, app, sandbox, caller, vault, clients)
    yield site
    for person in site.people:
        await person.http.aclose()
        await person.sentry.aclose()
    await services.client.aclose()
    await runtime.database.dispose()


def _describe(client: OAuthClient | SentryApp) -> OAuthClientSettings:
    return OAuthClientSettings(
        origin=client.origin.url, client_id=client.client_id, client_secret=SecretStr(client.client_secret)
    )
