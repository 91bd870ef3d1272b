"""A service that only receives, over a database, beside what Sentry would send to it."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from sqlmodel import col, select
from starlette.applications import Starlette

from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.installations import Installations
from service.connections.keyring import Keyring
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionRecord, CredentialKind
from service.connections.receiver_models import QuarantineRecord, ReceiverKind, ReceiverRecord
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_token
from service.db import Database
from service.events.models import EventRecord
from service.last_used import LastUsed
from service.sentry.installations import SentryApp
from service.sentry.origin import Origin
from service.sentry.signatures import sign
from service.tenants.caller import Caller
from service.webhooks.addresses import Addresses
from service.webhooks.finding import ReceiverFinder
from service.webhooks.quarantine import Quarantine
from service.webhooks.receive import HookReceiver
from service.webhooks.receivers import Receivers
from service.webhooks.routes import create_webhook_routes
from tests.connections.factory import ACME

ORIGIN = Origin.parse("https://sentry.io")
APP = SentryApp(ORIGIN, "linker", "client-1", "secret-1", previous_client_secret="secret-0")
OTHER_APP = SentryApp(ORIGIN, "other", "client-2", "secret-2")
UUID = "0b8a9d5e-5c1f-4a52-9d0e-3f6a8f0c7d11"
OTHER_UUID = "7b2f9a40-1111-4a52-9d0e-3f6a8f0c7d22"
SECRET = "5f" * 32
PUBLIC_URL = "https://graph.example"
OUR_OWN = ("connection.linked", "connection.relinked", "connection.unlinked")


def envelope(action: str, data: Any, uuid: str | None = UUID) -> bytes:
    """The body of an integration's webhook."""
    installation = None if uuid is None else {"uuid": uuid}
    actor = {"type": "user", "id": 1, "name": "Ann"}
    return json.dumps({"action": action, "installation": installation, "data": data, "actor": actor}).encode()


def installation(action: str = "deleted", uuid: str = UUID) -> bytes:
    data = {"installation": {"uuid": uuid, "organization": {"slug": "acme"}, "app": {"slug": "linker"}}}
    return envelope(action, data, uuid)


def issue(number: int = 1, action: str = "created", uuid: str | None = UUID, project: Any = None) -> bytes:
    of = project or {"id": "5", "slug": "web"}
    return envelope(action, {"issue": {"id": str(number), "level": "error", "project": of}}, uuid)


def service_hook(organization: str = "acme", project: str = "web", number: int = 1) -> bytes:
    group = {"id": str(number), "url": f"https://sentry.io/organizations/{organization}/issues/{number}/"}
    return json.dumps({"project": {"slug": project, "name": ""}, "group": group, "event": {"eventID": "1"}}).encode()


def plugin_post(number: int = 1) -> bytes:
    return json.dumps({"id": str(number), "project_slug": "web", "level": "error", "triggering_rules": []}).encode()


@dataclass
class Receiving:
    """The service, asked by ``http``; ``observed`` is what it told of each webhook."""

    database: Database
    keyring: Keyring
    vault: Vault
    store: ConnectionStore
    cache: ConnectionCache
    http: httpx.AsyncClient
    hooks: HookReceiver
    addresses: Addresses
    receivers: Receivers
    quarantine: Quarantine
    last_used: LastUsed
    observed: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def build(
        cls,
        database: Database,
        keyring: Keyring,
        *,
        legacy: bool = True,
        apps: Sequence[SentryApp] = (APP, OTHER_APP),
        seconds: float = 30,  # the machine may be busy
    ) -> "Receiving":
        vault, cache, clients = Vault(keyring), ConnectionCache(), Clients(apps=tuple(apps))
        addresses = Addresses(keyring, public_url=PUBLIC_URL)
        finder = ReceiverFinder(database, vault, legacy=legacy)
        last_used = LastUsed(database)
        observed: list[tuple[str, str]] = []
        hooks = HookReceiver(
            database,
            clients=clients,
            addresses=addresses,
            installations=Installations(database, cache),
            finder=finder,
            last_used=last_used,
            observe=lambda *told: observed.append(told),
            seconds=seconds,
        )
        app = Starlette(routes=create_webhook_routes(hooks))
        app.router.redirect_slashes = False
        return cls(
            database=database,
            keyring=keyring,
            vault=vault,
            store=ConnectionStore(database, cache),
            cache=cache,
            http=httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PUBLIC_URL),
            hooks=hooks,
            addresses=addresses,
            receivers=Receivers(database, vault, addresses, finder),
            quarantine=Quarantine(database, clients, cache),
            last_used=last_used,
            observed=observed,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Receiving"]:
        """The service while the block runs."""
        async with self.hooks.running(), self.http:
            yield self

    # --- the tenants ---

    async def link(
        self, caller: Caller, external_id: str = "cust", client: str | None = APP.client_id, **link: Any
    ) -> ConnectionRecord:
        """A connection that was linked by an installation of an app."""

        def seal(connection: ConnectionRecord) -> SealedToken:
            sealed = self.vault.seal(b"t" * 64, binding=bind_token(connection))
            return SealedToken(sealed, "f" * 64, client_id=client)

        options = {"installation_id": UUID, "authentication": CredentialKind.APP_TOKEN} | link
        return await self.store.link(caller, replace(ACME, external_id=external_id, **options), seal)

    async def receiver(
        self,
        caller: Caller,
        connection: ConnectionRecord,
        kind: ReceiverKind = ReceiverKind.INTERNAL_INTEGRATION,
        secret: str | None = SECRET,
    ) -> ReceiverRecord:
        return await self.receivers.create(caller, connection.id, kind, secret)

    # --- Sentry ---

    async def post(self, url: str, body: bytes, headers: Any = ()) -> int:
        answer = await self.http.post(url, content=body, headers=headers)
        assert answer.content == b"" or answer.status_code == 404
        return answer.status_code

    async def send(
        self, body: bytes, resource: str | None = "issue", *, app: SentryApp = APP, secret: str | None = None
    ) -> int:
        """The status of the answer to a webhook of an app."""
        headers = signed(body, secret or app.client_secret, resource)
        return await self.post(self.addresses.of_app(app.client_id), body, headers)

    async def send_to(
        self, receiver: ReceiverRecord, body: bytes, resource: str | None = "issue", *, secret: str = SECRET
    ) -> int:
        """The status of the answer to a webhook that comes to a receiver, signed as its kind is."""
        headers = {
            ReceiverKind.INTERNAL_INTEGRATION: signed(body, secret, resource),
            ReceiverKind.SERVICE_HOOK: {"x-servicehook-signature": sign(body, secret), "x-servicehook-guid": "9"},
            ReceiverKind.LEGACY_PLUGIN: {},
        }[receiver.kind]
        return await self.post(self.receivers.url(receiver), body, headers)

    # --- what became of it ---

    async def events(self, *tenants: str) -> list[EventRecord]:
        """What was received, in order; of all tenants, where none is named."""
        wanted = select(EventRecord).where(col(EventRecord.type).not_in(OUR_OWN))
        if tenants:
            wanted = wanted.where(col(EventRecord.tenant_id).in_(tenants))
        async with self.database.session() as session:
            order = (col(EventRecord.tenant_id), col(EventRecord.position))
            return list(await session.exec(wanted.order_by(*order)))

    async def types(self, *tenants: str) -> list[str]:
        return [event.type for event in await self.events(*tenants)]

    async def quarantined(self) -> list[QuarantineRecord]:
        """What is in quarantine, the oldest first."""
        async with self.database.session() as session:
            return list(await session.exec(select(QuarantineRecord).order_by(col(QuarantineRecord.created_at))))

    async def reasons(self) -> list[str]:
        return [record.reason.value for record in await self.quarantined()]


def signed(body: bytes, secret: str, resource: str | None) -> dict[str, str]:
    """The headers of an integration's webhook."""
    headers = {
        "content-type": "application/json",
        "request-id": "5a" * 16,
        "sentry-hook-timestamp": "1795407890",
        "sentry-hook-signature": sign(body, secret),
    }
    return headers if resource is None else headers | {"sentry-hook-resource": resource}
