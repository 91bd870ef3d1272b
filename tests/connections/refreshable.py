"""Accounts of the stand-in Sentry whose credentials can be refreshed, and replicas that share a database to do it."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.accounts import AccountSource
from service.connections.cache import ConnectionCache, Linked
from service.connections.clients import Clients
from service.connections.link_rules import Link, SealedToken
from service.connections.models import (
    ConnectionProblem,
    ConnectionRecord,
    ConnectionStatus,
    CredentialKind,
    CredentialRecord,
    RefreshIntentRecord,
)
from service.connections.refresh_store import RefreshStore
from service.connections.refreshing import Refresher
from service.connections.store import ConnectionStore
from service.connections.stored import open_refresh_token, open_token
from service.connections.vault import Vault, bind_refresh_token, bind_token
from service.db import Database
from service.events.filters import EventFilter
from service.events.store import EventStore
from service.journal import AuditFilter, Journal
from service.last_used import LastUsed
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, Token
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from service.sentry.transport import create_transport
from service.tenants.caller import Caller
from tests.connections.factory import no_link_session

ORGANIZATION = "lumen-labs"
PROJECTS = ApiPath.of("organizations", ORGANIZATION, "projects")
SCOPES = ("org:read", "project:read", "member:read", "team:read", "event:read")


def clients_at(origin: Origin, *, secret: str | None = None) -> Clients:
    """The sandbox's clients; ``secret`` is a wrong one."""
    oauth = OAuthClient(origin, DEMO_OAUTH_CLIENT.client_id, secret or DEMO_OAUTH_CLIENT.client_secret)
    app = SentryApp(origin, DEMO_APP.slug, DEMO_APP.client_id, secret or DEMO_APP.client_secret)
    return Clients((oauth,), (app,))


@dataclass
class Replica:
    """What a process has to refresh with."""

    store: ConnectionStore
    rows: RefreshStore
    client: SentryClient
    refresher: Refresher
    accounts: AccountSource


@dataclass
class Bench:
    """A database with a tenant, beside a sandbox. ``origin`` is where the accounts are linked at."""

    database: Database
    sandbox: Sandbox
    vault: Vault
    admin: Caller
    origin: Origin
    stopped: list[str] = field(default_factory=list)
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def aclose(self) -> None:
        await self._closing.aclose()

    def replica(
        self,
        *,
        database: Database | None = None,
        clients: Clients | None = None,
        lease_seconds: float = 15,
        deadline: float = 5,
    ) -> Replica:
        """Another process, as far as the database can tell."""
        database = database or self.database
        policy = EgressPolicy([self.origin])
        client = SentryClient(
            create_transport(policy, limit=100),
            policy=policy,
            deadline=deadline,
            attempts=1,
            max_bytes=2**20,
            user_agent="test",
            tenant_calls=1000,
        )
        self._closing.push_async_callback(client.aclose)
        cache = ConnectionCache()
        store = ConnectionStore(database, cache)
        rows = RefreshStore(database, cache, lease_seconds=lease_seconds, on_needs_reauth=self._stop)
        refresher = Refresher(rows, client, self.vault, clients or clients_at(self.origin))
        accounts = AccountSource(store, self.vault, refresher, LastUsed(database))
        return Replica(store, rows, client, refresher, accounts)

    async def _stop(self, session: AsyncSession, connection: ConnectionRecord) -> Any:
        self.stopped.append(connection.id)
        return await no_link_session(session, connection)

    # --- linking ---

    async def link_oauth(self, **given: Any) -> Linked:
        """An account by OAuth, as after consent and exchange."""
        return await self.link(
            self.sandbox.grant_oauth(SCOPES), CredentialKind.OAUTH_TOKEN, DEMO_OAUTH_CLIENT.client_id, **given
        )

    async def link_app(self, organization: str = ORGANIZATION, **given: Any) -> Linked:
        """An account by an installed app, as after exchange and confirmation."""
        token = self.sandbox.grant_installation(organization)
        installation = next(
            found for app in self.sandbox.world.apps for found in app.installations if found.token is token
        )
        return await self.link(
            token,
            CredentialKind.APP_TOKEN,
            DEMO_APP.client_id,
            organization=organization,
            installation_id=installation.uuid,
            **given,
        )

    async def link_pasted(self, token: str, **given: Any) -> Linked:
        """An account by a token that cannot be refreshed."""
        found = self.sandbox.world.find_token(token)
        assert found is not None
        without = dataclasses.replace(found, refresh=None)
        return await self.link(without, CredentialKind.USER_TOKEN, None, **given)

    async def link(
        self,
        token: Token,
        kind: CredentialKind,
        client_id: str | None,
        *,
        organization: str = ORGANIZATION,
        installation_id: str | None = None,
        expires_in: float | None = 3600,
    ) -> Linked:
        place = self.sandbox.world.find_organization(organization, "23.7")
        assert place is not None
        link = Link(
            external_id=None,
            customer_id=None,
            name=None,
            authentication=kind,
            scopes=list(SCOPES),
            control_origin=self.origin.url,
            api_origin=self.origin.url,
            organization_id=str(place.id),
            organization_slug=organization,
            organization_name=place.name,
            installation_id=installation_id,
            projects=None,
        )

        def seal(connection: ConnectionRecord) -> SealedToken:
            refresh = None
            if client_id is not None and token.refresh is not None:
                refresh = self.vault.seal(token.refresh.encode(), binding=bind_refresh_token(connection))
            return SealedToken(
                self.vault.seal(token.value.encode(), binding=bind_token(connection)),
                self.vault.fingerprint(token.value),
                client_id=client_id,
                refresh=refresh,
                expires_at=None if expires_in is None else now() + timedelta(seconds=expires_in),
            )

        connection = await ConnectionStore(self.database).link(self.admin, link, seal)
        return await self.read(connection.id)

    # --- time ---

    async def pass_time(self, linked: Linked, seconds: float) -> Linked:
        """Let all that is stored of a connection be so much older."""
        passed = timedelta(seconds=seconds)

        def back(moment: datetime | None) -> datetime | None:
            return None if moment is None else moment - passed

        async def work(session: AsyncSession) -> None:
            connection = await session.get(ConnectionRecord, linked.connection.id)
            credential = await session.get(CredentialRecord, linked.connection.id)
            intent = await session.get(RefreshIntentRecord, linked.connection.id)
            assert connection is not None
            assert credential is not None
            connection.expires_at, credential.updated_at = back(connection.expires_at), credential.updated_at - passed
            credential.refresh_after = back(credential.refresh_after)
            if intent is not None:
                intent.started_at, intent.lease_until = intent.started_at - passed, intent.lease_until - passed

        await self.database.run_transaction(work)
        return await self.read(linked.connection.id)

    async def make_due(self, linked: Linked) -> Linked:
        """Let it be due now, and no older."""

        async def work(session: AsyncSession) -> None:
            credential = await session.get(CredentialRecord, linked.connection.id)
            assert credential is not None
            credential.refresh_after = now() - timedelta(hours=1)

        await self.database.run_transaction(work)
        return await self.read(linked.connection.id)

    # --- looking ---

    async def read(self, connection_id: str) -> Linked:
        return await ConnectionStore(self.database).get_linked(self.admin, connection_id, fresh=True)

    async def status(self, linked: Linked) -> tuple[ConnectionStatus, ConnectionProblem | None]:
        connection = (await self.read(linked.connection.id)).connection
        return connection.status, connection.problem

    async def version(self, linked: Linked) -> int:
        credential = (await self.read(linked.connection.id)).credential
        assert credential is not None
        return credential.version

    async def tokens(self, linked: Linked) -> tuple[str, str | None]:
        """The stored access token and refresh token."""
        found = await self.read(linked.connection.id)
        return open_token(self.vault, found).value, open_refresh_token(self.vault, found)

    async def works(self, linked: Linked) -> bool:
        """Whether what is stored is what Sentry knows."""
        access, refresh = await self.tokens(linked)
        token = self.sandbox.world.find_token(access)
        return token is not None and (refresh is None or token.refresh == refresh)

    async def events(self, linked: Linked) -> list[tuple[str, Any]]:
        wanted = EventFilter(connection_ids=[linked.connection.id])
        found = await EventStore(self.database).page(self.admin.tenant_id, wanted, limit=1000)
        return [(event.type, event.data.get("problem")) for event in found if event.type != "connection.linked"]

    async def audits(self, linked: Linked) -> list[tuple[str, str, Any]]:
        """What the service itself did, the oldest first."""
        wanted = AuditFilter(connection_id=linked.connection.id)
        found = await Journal(self.database).page_audit(self.admin.tenant_id, wanted, limit=1000)
        return [
            (entry.action, entry.outcome.value, entry.details.get("problem"))
            for entry in found[::-1]
            if entry.actor == "service"
        ]

    async def intents(self) -> list[RefreshIntentRecord]:
        async with self.database.session() as session:
            return list(await session.exec(select(RefreshIntentRecord).order_by(col(RefreshIntentRecord.started_at))))

    def asked(self) -> int:
        """How often a token was asked for."""
        return self.sandbox.count("POST", "oauth/token/|authorizations/")

    async def account(self, replica: Replica, linked: Linked) -> Account:
        return (await replica.accounts.account(self.admin, linked.connection.id))[1]

    async def call(self, replica: Replica, linked: Linked, number: int = 0) -> int:
        """The status of Sentry's answer to a call by the connection, of its own for each number."""
        account = await self.account(replica, linked)
        return (await replica.client.send(account, "GET", PROJECTS, [("query", str(number))])).status


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what happens in another thread, which sets no event here."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - seen there only
            await asyncio.sleep(0.005)
