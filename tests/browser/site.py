"""A real `serve` process whose Sentry is the sandbox, and what a test does around the browser."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.app import Runtime
from service.connections.keyring import Keyring
from service.ids import new_id
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT
from service.settings import Settings
from service.tenants.caller import Role
from tests.attacks.process import running
from tests.serving import free_port

TENANT = "Acme Observability"
CUSTOMER = "Globex Corporation"
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'&amp;'
"""A name that would be markup if a page let it."""

_CREATE = """mutation ($input: CreateLinkSessionInput!) {
  createLinkSession(input: $input) { url linkSession { id } }
}"""
_SESSION = """query ($id: ID!) {
  linkSession(id: $id) {
    status problem connection { id externalId status profile organization { slug } projects { slug } }
  }
}"""


@dataclass(frozen=True)
class Invitation:
    """A link session: its id, its address, and the token in it."""

    id: str
    url: str

    @property
    def token(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Site:
    """The service at ``url``, asked with API keys of two tenants; the second has a hostile name."""

    url: str
    http: httpx.AsyncClient
    sandbox: Sandbox
    folder: Path
    key: str
    hostile_key: str

    @property
    def sentry(self) -> str:
        """The name of the stand-in Sentry, as the page says it."""
        return self.sandbox.url.removeprefix("http://")

    async def query(self, text: str, key: str | None = None, **variables: Any) -> Any:
        headers = {"authorization": f"Bearer {key or self.key}"}
        body = {"query": text, "variables": variables}
        answer = (await self.http.post("/graphql", json=body, headers=headers)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def invite(self, *, key: str | None = None, **options: Any) -> Invitation:
        """A new session, for a connection of its own."""
        wanted = {"externalId": new_id("test"), "name": CUSTOMER, "origin": self.sandbox.url} | options
        made = (await self.query(_CREATE, key, input=wanted))["createLinkSession"]
        return Invitation(made["linkSession"]["id"], made["url"])

    async def session(self, invitation: Invitation, key: str | None = None) -> Any:
        """What the graph says of it."""
        return (await self.query(_SESSION, key, id=invitation.id))["linkSession"]

    def expire(self, invitation: Invitation) -> None:
        """Let its time be over."""
        self._write("UPDATE link_sessions SET expires_at = '2020-01-01 00:00:00' WHERE id = ?", invitation.id)

    def read_secrets(self) -> list[str]:
        """Everything that must never be seen: keys, the clients' secrets, and each token that Sentry gave out."""
        tokens = [value for token in self.sandbox.world.tokens.values() for value in (token.value, token.refresh)]
        known = [self.key, self.hostile_key, DEMO_OAUTH_CLIENT.client_secret, DEMO_APP.client_secret]
        return [*known, *(token for token in tokens if token)]

    def read_logs(self) -> bytes:
        return (self.folder / "output").read_bytes() + (self.folder / "errors").read_bytes()

    def _write(self, statement: str, *values: str) -> None:
        database = sqlite3.connect(self.folder / "link.db", timeout=10)
        try:
            with database:
                assert database.execute(statement, values).rowcount == 1
        finally:
            database.close()


@asynccontextmanager
async def serve_site(folder: Path, sandbox: Sandbox) -> AsyncIterator[Site]:
    """Start it, on data of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    client = {
        "origin": sandbox.url,
        "client_id": DEMO_OAUTH_CLIENT.client_id,
        "client_secret": DEMO_OAUTH_CLIENT.client_secret,
    }
    app = {
        "origin": sandbox.url,
        "client_id": DEMO_APP.client_id,
        "client_secret": DEMO_APP.client_secret,
        "slug": DEMO_APP.slug,
        "verify_install": True,
    }
    settings: dict[str, Any] = {
        "port": port,
        "public_url": url,
        "database_url": f"sqlite:///{folder / 'link.db'}",
        "keyring_file": folder / "keyring.json",
        "egress_allow": json.dumps([sandbox.url]),
        "oauth_clients": json.dumps([client]),
        "sentry_apps": json.dumps([app]),
        "log_level": "debug",
    }
    keys = await _make_tenants(Settings(**{**settings, "egress_allow": (), "oauth_clients": (), "sentry_apps": ()}))
    async with running(folder, "serve", **settings) as http:
        yield Site(url, http, sandbox, folder, *keys)


async def _make_tenants(settings: Settings) -> list[str]:
    Keyring.init(settings.keyring_file)
    runtime = Runtime.build(settings)
    keys = []
    async with runtime.started():
        for name in (TENANT, HOSTILE):
            tenant = await runtime.services.tenants.create_tenant(name)
            pepper = runtime.keyring.api_key_pepper
            _, key = await runtime.services.tenants.create_key(tenant.id, name="test", role=Role.ADMIN, pepper=pepper)
            keys.append(key)
    return keys


def register(site: Site) -> None:
    """Tell a sandbox that is as new where the service is."""
    site.sandbox.register_redirects(
        oauth=[f"{site.url}/link/oauth/{DEMO_OAUTH_CLIENT.client_id}/callback"],
        install=f"{site.url}/link/install/callback",
        webhook=None,
    )
