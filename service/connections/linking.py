"""Linking an account by its credential: recognise it, ask Sentry what it reaches, seal it, store it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from service.connections.accounts import AccountSource
from service.connections.credentials import Credential, recognise
from service.connections.discovery import SENTRY_IO, Discovery, find_control, find_origins, find_projects, list_projects
from service.connections.link_rules import Link, SealedToken
from service.connections.models import ConnectionRecord, CredentialKind
from service.connections.store import AlsoStore, ConnectionStore
from service.connections.stored import FixedToken
from service.connections.vault import Vault, bind_refresh_token, bind_token
from service.connections.visibility import LONGEST_TEXT, check_text, storable
from service.errors import LinkRefused, ServiceError, UpstreamTimeout
from service.ids import new_id
from service.journal import Journal, Outcome
from service.sentry.account import Account
from service.sentry.ca import parse_ca
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.payloads import Organization, Project
from service.sentry.profiles import Profile
from service.tenants.caller import Caller, Role


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """A credential to link, and what to link it as.

    ``organization`` is a slug, needed where the token reaches several or Sentry does not tell. ``external_id`` is the
    host's own id, and the idempotency key: linking again with it replaces the credential and keeps the connection.
    ``is_origin_fixed``: nothing but ``origin`` may be linked, also where the token names a Sentry of its own.
    ``projects`` (slugs or ids) limits the connection. ``installation_id`` is that of a public app's token.

    ``kind`` is the token's where it was received by a grant; then ``client_id`` names the OAuth client or Sentry app
    that it was issued to, with its ``refresh_token`` and the time that it ``expires_at``. ``ca_certificate`` is PEM.
    """

    token: str = field(repr=False)
    origin: str = SENTRY_IO.url
    is_origin_fixed: bool = False
    organization: str | None = None
    external_id: str | None = None
    customer_id: str | None = None
    name: str | None = None
    projects: Sequence[str] | None = None
    installation_id: str | None = None
    kind: CredentialKind | None = None
    client_id: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    profile: Profile | None = None
    ca_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a credential reaches, before anything is linked.

    ``organizations`` are those to choose from, in the order of their names; empty where Sentry does not list them and
    the slug has to be asked for.
    """

    kind: CredentialKind
    scopes: list[str]
    organizations: list[Organization]


class Linker:
    """Links accounts and limits them to projects; everything is checked with Sentry before it is stored."""

    def __init__(
        self,
        client: SentryClient,
        policy: EgressPolicy,
        store: ConnectionStore,
        vault: Vault,
        accounts: AccountSource,
        journal: Journal,
        *,
        private_ca: bool = False,
        seconds: float = 60.0,
    ) -> None:
        """``private_ca``: whether a request may bring a CA certificate.

        ``seconds`` is how long all the calls may take that one credential is looked at by.
        """
        self._seconds = seconds
        self._journal = journal
        self._private_ca = private_ca
        self._client = client
        self._policy = policy
        self._store = store
        self._vault = vault
        self._accounts = accounts

    async def link(self, caller: Caller, request: LinkRequest, also: AlsoStore | None = None) -> ConnectionRecord:
        """Link an account, or give a linked one a new credential.

        Raises what :meth:`Discovery.discover` and :meth:`ConnectionStore.link` do, each with its cure; nothing but an
        entry of the audit log is stored then. No error repeats the token. ``also`` belongs to the transaction that
        stores the link: what it raises undoes it.
        """
        caller.require(Role.ADMIN)
        try:
            return await self._link(caller, request, also)
        except ServiceError as error:
            await self._journal.audit(
                "connection.link",
                caller.tenant_id,
                actor=caller.subject,
                outcome=Outcome.FAILED,
                code=error.code,
                externalId=_storable_or_none(request.external_id),
            )
            raise

    async def _link(self, caller: Caller, request: LinkRequest, also: AlsoStore | None) -> ConnectionRecord:
        if request.external_id is None:
            caller.require_whole_tenant()
        for argument, text in (
            ("externalId", request.external_id),
            ("customerId", request.customer_id),
            ("name", request.name),
            ("organization", request.organization),
            ("installationId", request.installation_id),
        ):
            if text is not None:
                check_text(argument, text)
        discovery, account = self._begin(caller.tenant_id, request)
        projects = None
        async with self._in_time():
            found = await discovery.discover(request.organization, request.installation_id)
            if request.projects is not None:
                linked = replace(account, api=found.api, organization=found.organization_slug)
                projects = await find_projects(self._client, linked, request.projects, found.scopes)
        link = Link(
            external_id=request.external_id,
            customer_id=request.customer_id,
            name=request.name,
            authentication=found.kind,
            scopes=sorted(found.scopes),
            control_origin=found.control.url,
            api_origin=found.api.url,
            organization_id=found.organization_id,
            organization_slug=found.organization_slug,
            organization_name=found.organization_name.replace("\0", "")[:LONGEST_TEXT],
            installation_id=request.installation_id,
            projects=projects,
            profile=request.profile,
            ca_certificate=request.ca_certificate,
        )
        token = discovery.credential.token

        def seal(connection: ConnectionRecord) -> SealedToken:
            refresh = None
            if request.refresh_token is not None:
                refresh = self._vault.seal(request.refresh_token.encode(), binding=bind_refresh_token(connection))
            return SealedToken(
                self._vault.seal(token.encode(), binding=bind_token(connection)),
                account.fingerprint,
                client_id=request.client_id,
                refresh=refresh,
                expires_at=request.expires_at,
            )

        return await self._store.link(caller, link, seal, also)

    async def survey(self, tenant_id: str, request: LinkRequest) -> Survey:
        """Check a credential and list the organizations that it reaches; nothing is stored.

        Where ``request.organization`` or its installation names one, the list holds that one, checked. Raises what
        :meth:`Discovery.survey` does.
        """
        discovery, _ = self._begin(tenant_id, request)
        async with self._in_time():
            kind, scopes, organizations = await discovery.survey(request.organization, request.installation_id)
        return Survey(kind, scopes, sorted(organizations, key=lambda each: (each.name or each.slug).lower()))

    async def list_projects(self, tenant_id: str, request: LinkRequest) -> list[Project]:
        """The projects of ``request.organization`` that the credential sees; nothing is stored."""
        discovery, account = self._begin(tenant_id, request)
        async with self._in_time():
            found = await discovery.discover(request.organization, request.installation_id)
            linked = replace(account, api=found.api, organization=found.organization_slug)
            return await list_projects(self._client, linked, found.scopes)

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Each call has its deadline; this is that of them all, at a Sentry that keeps on answering slowly."""
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise UpstreamTimeout("Sentry answers too slowly.") from None

    def _begin(self, tenant_id: str, request: LinkRequest) -> tuple[Discovery, Account]:
        is_pasted = request.client_id is None  # else the operator's client brings its own authority
        if request.ca_certificate is not None and is_pasted and not self._private_ca:
            raise LinkRefused(
                "This service does not take CA certificates of connections.",
                cure="Ask its operator to set SENTRY_GRAPH_PRIVATE_CA, or to trust the authority on its machines.",
            )
        credential = recognise(request.token) if request.kind is None else Credential(request.token, request.kind)
        named = Origin.parse(request.origin)
        control, api = find_origins(credential, named)
        if request.is_origin_fixed and control != find_control(named):
            raise LinkRefused(f"This organization token belongs to {control}, not to {named}.")
        account = Account(
            tenant_id=tenant_id,
            connection_id=new_id("lnk"),  # its own: reads of the same tenant's other attempts are not its reads
            control=control,
            api=api,
            organization="",
            fingerprint=self._vault.fingerprint(credential.token),
            tokens=FixedToken(credential.token),
            ca=request.ca_certificate and parse_ca(request.ca_certificate),
        )
        return Discovery(self._client, self._policy, credential, account), account

    async def set_projects(
        self, caller: Caller, connection_id: str, projects: Sequence[str] | None
    ) -> ConnectionRecord:
        """Limit a connection to projects (slugs or ids), or lift the limit with None.

        Raises :class:`BadInput` for a project that Sentry does not have, and what calling Sentry raises.
        """
        caller.require(Role.ADMIN)
        checked = None
        if projects is not None:
            connection, account = await self._accounts.account(caller, connection_id)
            checked = await find_projects(self._client, account, projects, connection.scopes)
        return await self._store.set_projects(caller, connection_id, checked)


def _storable_or_none(text: str | None) -> str | None:
    return text if text is not None and storable([text]) else None
