"""Our own service in front of a server of the contract: what a host, an operator and the clock do."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from sqlmodel import col, select, update

from service.app import Runtime, create_app
from service.columns import now
from service.connections.cache import Linked
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.connections.models import (
    ConnectionRecord,
    CredentialKind,
    CredentialRecord,
    is_credential_of_connection,
)
from service.connections.stored import open_refresh_token, open_token
from service.ids import new_id
from service.settings import OAuthClientSettings, SentryAppSettings, Settings
from service.tenants.caller import Caller, Role
from service.webhooks.addresses import Addresses
from tests.contract.linking import Bench
from tests.serving import NO_TLS

_INVITE = (
    """mutation ($input: CreateLinkSessionInput!) { createLinkSession(input: $input) { url linkSession { id } } }"""
)
_SESSION = """query ($id: ID!) { linkSession(id: $id) { status problem connection { id } } }"""
_CONNECTION = """query ($id: ID!) {
  connection(id: $id) {
    id status problem authentication profile scopes expiresAt organization { slug } linkSession { status }
  }
}"""
_USERS = """query ($id: ID!) { connection(id: $id) { users(first: 100) { nodes { email sentryMemberId } } } }"""


@dataclass(frozen=True)
class Invitation:
    """A link session: its id and its address."""

    id: str
    url: str


@dataclass(frozen=True)
class Tokens:
    """The secrets of a connection, as stored, and their version."""

    access: str
    refresh: str | None
    version: int


@dataclass(frozen=True)
class Service:
    """The service at ``url``, asked by an admin of its one tenant. It shares the event loop with the test."""

    url: str
    bench: Bench
    runtime: Runtime
    http: httpx.AsyncClient
    caller: Caller

    @property
    def redirect_uris(self) -> list[str]:
        """Where the OAuth client's codes go."""
        return [f"{self.url}/link/oauth/{self.bench.oauth.client_id}/callback"]

    @property
    def install_url(self) -> str:
        """Where the app's codes go."""
        return f"{self.url}/link/install/callback"

    @property
    def webhook_url(self) -> str:
        """Where the app's webhooks go."""
        return Addresses(self.runtime.keyring, public_url=self.url).of_app(self.bench.app.client_id)

    # --- the host ---

    async def ask(self, text: str, **variables: Any) -> dict[str, Any]:
        """The decoded answer of the graph, errors and all."""
        response = await self.http.post("/graphql", json={"query": text, "variables": variables})
        answer: dict[str, Any] = response.json()
        return answer

    async def query(self, text: str, **variables: Any) -> Any:
        """The data of an answer that must have no errors."""
        answer = await self.ask(text, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def invite(self, **options: Any) -> Invitation:
        """A new link session, for a connection of its own."""
        wanted = {"externalId": new_id("test"), "name": "Contract", "origin": self.bench.server.url} | options
        made = (await self.query(_INVITE, input=wanted))["createLinkSession"]
        return Invitation(made["linkSession"]["id"], made["url"])

    async def session(self, invitation: Invitation) -> Any:
        """What the graph says of a link session."""
        return (await self.query(_SESSION, id=invitation.id))["linkSession"]

    async def linked(self, invitation: Invitation) -> str:
        """The id of the connection that a session has made."""
        session = await self.session(invitation)
        assert session["status"] == "COMPLETED"
        found: str = session["connection"]["id"]
        return found

    async def connection(self, connection_id: str) -> Any:
        """What the graph says of a connection."""
        return (await self.query(_CONNECTION, id=connection_id))["connection"]

    async def users(self, connection_id: str) -> list[dict[str, Any]]:
        """The first users of a connection, read from Sentry."""
        found: list[dict[str, Any]] = (await self.query(_USERS, id=connection_id))["connection"]["users"]["nodes"]
        return found

    # --- linking without a browser ---

    async def link_installation(self, installation: dict[str, Any]) -> str:
        """Link by an installation that waits for its code to be exchanged; the connection's id."""
        response = await asyncio.to_thread(
            self.bench.grant, installation["uuid"], grant_type="authorization_code", code=installation["code"]
        )
        assert response.status_code == 201, response.text
        grant = response.json()
        return await self.link(
            grant["token"],
            kind=CredentialKind.APP_TOKEN,
            client_id=self.bench.app.client_id,
            refresh_token=grant["refreshToken"],
            expires_at=now() + timedelta(hours=8),
            installation_id=installation["uuid"],
        )

    async def link_oauth(self, scope: str, organization: str) -> str:
        """Link by an OAuth token of the person's; the connection's id."""
        grant = await asyncio.to_thread(self.bench.link, scope)
        return await self.link(
            grant["access_token"],
            kind=CredentialKind.OAUTH_TOKEN,
            client_id=self.bench.oauth.client_id,
            refresh_token=grant["refresh_token"],
            expires_at=now() + timedelta(days=30),
            organization=organization,
        )

    async def link(self, token: str, **options: Any) -> str:
        """Link by a token; the connection's id."""
        request = LinkRequest(token=token, origin=self.bench.server.url, **options)
        return (await self.runtime.services.linker.link(self.caller, request)).id

    # --- what is stored, and the clock ---

    async def tokens(self, connection_id: str) -> Tokens:
        """The tokens, opened."""
        linked = await self._read(connection_id)
        token = open_token(self.runtime.vault, linked)
        return Tokens(token.value, open_refresh_token(self.runtime.vault, linked), token.version)

    async def make_due(self, connection_id: str) -> None:
        """Let so much of the credential's life be over that it is refreshed by itself; do that at once."""
        past = {"refresh_after": now() - timedelta(seconds=1), "updated_at": now() - timedelta(days=100)}
        await self._write(
            update(CredentialRecord).where(col(CredentialRecord.connection_id) == connection_id).values(**past)
        )
        await self.runtime.refresher.sweep()

    async def expire(self, connection_id: str) -> None:
        """Let the credential's life be over; whoever uses it next finds out, unless it was used a moment ago."""
        await self._write(
            update(ConnectionRecord).where(col(ConnectionRecord.id) == connection_id).values(expires_at=now())
        )

    async def _read(self, connection_id: str) -> Linked:
        statement = (
            select(ConnectionRecord, CredentialRecord)
            .join(CredentialRecord, is_credential_of_connection())
            .where(ConnectionRecord.id == connection_id)
        )
        async with self.runtime.database.session() as session:
            return Linked(*(await session.exec(statement)).one())

    async def _write(self, statement: Any) -> None:
        async def work(session: Any) -> None:
            assert (await session.exec(statement)).rowcount == 1

        await self.runtime.database.run_transaction(work)


@asynccontextmanager
async def serve_service(folder: Path, database_url: str, bench: Bench) -> AsyncIterator[Service]:
    """Serve it on a loopback port, configured with the bench's clients."""
    keyring_file = folder / "keyring.json"
    Keyring.init(keyring_file)
    # Said to be TCP, or asyncio keeps what is small back until the client has acknowledged what came before.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        runtime = Runtime.build(_settle(bench, keyring_file=keyring_file, database_url=database_url, public_url=url))
        async with runtime.started():
            tenants = runtime.services.tenants
            tenant = await tenants.create_tenant("Contract tests")
            pepper = runtime.keyring.api_key_pepper
            _, key = await tenants.create_key(tenant.id, name="test", role=Role.ADMIN, pepper=pepper)
            server = uvicorn.Server(uvicorn.Config(create_app(runtime), lifespan="off", log_config=None))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(
                base_url=url, headers=headers, timeout=60, trust_env=False, verify=NO_TLS
            ) as http:
                yield Service(url, bench, runtime, http, Caller(tenant.id, Role.ADMIN, "test"))
            server.should_exit = True
            await serving


def _settle(bench: Bench, **options: Any) -> Settings:
    origin = bench.server.url
    oauth = OAuthClientSettings(
        origin=origin, client_id=bench.oauth.client_id, client_secret=SecretStr(bench.oauth.client_secret)
    )
    app = SentryAppSettings(
        origin=origin,
        slug=bench.app.slug,
        client_id=bench.app.client_id,
        client_secret=SecretStr(bench.app.client_secret),
        verify_install=True,
    )
    return Settings(egress_allow=(origin,), oauth_clients=(oauth,), sentry_apps=(app,), **options)
