"""Linking an account by its token: recognise it, ask Sentry what it reaches, seal it, store it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from service.connections.accounts import AccountSource
from service.connections.credentials import recognise
from service.connections.discovery import SENTRY_IO, Discovery, find_origins, find_projects
from service.connections.link_rules import Link, SealedToken
from service.connections.models import ConnectionRecord
from service.connections.store import ConnectionStore
from service.connections.vault import Vault, bind_token
from service.connections.visibility import LONGEST_TEXT, check_text
from service.errors import UpstreamUnauthorized
from service.ids import new_id
from service.sentry.account import Account, Token
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.tenants.caller import Caller, Role


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """A credential to link, and what to link it as.

    ``organization`` is a slug, needed where the token reaches several or Sentry does not tell. ``external_id`` is the
    host's own id, and the idempotency key: linking again with it replaces the credential and keeps the connection.
    ``projects`` (slugs or ids) limits the connection. ``installation_id`` is that of a public app's token.
    """

    token: str = field(repr=False)
    origin: str = SENTRY_IO.url
    organization: str | None = None
    external_id: str | None = None
    customer_id: str | None = None
    name: str | None = None
    projects: Sequence[str] | None = None
    installation_id: str | None = None


class PastedToken:
    """A token that is not stored yet."""

    def __init__(self, value: str) -> None:
        self._token = Token(value, 0)

    async def token(self) -> Token:
        """The token as it was pasted."""
        return self._token

    async def fresh_token(self, rejected: Token) -> Token:  # noqa: ARG002 - there is but one
        """There is no other: :class:`UpstreamUnauthorized`."""
        raise UpstreamUnauthorized("Sentry refuses this token.")


class Linker:
    """Links accounts and limits them to projects; everything is checked with Sentry before it is stored."""

    def __init__(
        self,
        client: SentryClient,
        policy: EgressPolicy,
        store: ConnectionStore,
        vault: Vault,
        accounts: AccountSource,
    ) -> None:
        self._client = client
        self._policy = policy
        self._store = store
        self._vault = vault
        self._accounts = accounts

    async def link(self, caller: Caller, request: LinkRequest) -> ConnectionRecord:
        """Link an account, or give a linked one a new credential.

        Raises what :meth:`Discovery.discover` and :meth:`ConnectionStore.link` do, each with its cure; nothing is
        stored then. No error repeats the token.
        """
        caller.require(Role.ADMIN)
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
        credential = recognise(request.token)
        control, api = find_origins(credential, Origin.parse(request.origin))
        account = Account(
            tenant_id=caller.tenant_id,
            connection_id=new_id("lnk"),  # its own: reads of the same tenant's other attempts are not its reads
            control=control,
            api=api,
            organization="",
            fingerprint=self._vault.fingerprint(credential.token),
            tokens=PastedToken(credential.token),
        )
        discovery = Discovery(self._client, self._policy, credential, account)
        found = await discovery.discover(request.organization, request.installation_id)
        projects = None
        if request.projects is not None:
            linked = replace(account, api=found.api, organization=found.organization_slug)
            projects = await find_projects(self._client, linked, request.projects)
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
        )

        def seal(connection: ConnectionRecord) -> SealedToken:
            sealed = self._vault.seal(credential.token.encode(), binding=bind_token(connection))
            return SealedToken(sealed, account.fingerprint)

        return await self._store.link(caller, link, seal)

    async def set_projects(
        self, caller: Caller, connection_id: str, projects: Sequence[str] | None
    ) -> ConnectionRecord:
        """Limit a connection to projects (slugs or ids), or lift the limit with None.

        Raises :class:`BadInput` for a project that Sentry does not have, and what calling Sentry raises.
        """
        caller.require(Role.ADMIN)
        checked = None
        if projects is not None:
            _, account = await self._accounts.account(caller, connection_id)
            checked = await find_projects(self._client, account, projects)
        return await self._store.set_projects(caller, connection_id, checked)
