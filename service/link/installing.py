"""Linking by installing a Sentry App: to Sentry and back, taken up later, or once more by what is installed."""

import re
from collections.abc import Mapping

import structlog
from sqlmodel import col, select

from service.columns import now
from service.connections.accounts import AccountSource
from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.installations import is_taken_from
from service.connections.link_models import LinkMethod, LinkSessionRecord
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind, CredentialRecord
from service.connections.stored import open_refresh_token
from service.connections.vault import Vault
from service.db import Database
from service.errors import BadInput, GrantProblem, GrantRefused, ServiceError
from service.link.attempts import Attempts, Claim
from service.link.flow import LinkFlow
from service.link.holding import HELD_FOR, HeldInstall, open_held, seal_held
from service.link.pending import Pending, from_grant
from service.link.problems import LinkProblem, StepRefused
from service.link.records import offered, visitor
from service.link.rules import is_at
from service.link.visits import Visit
from service.sentry.client import SentryClient
from service.sentry.grants import Grant
from service.sentry.installations import (
    SentryApp,
    build_install_url,
    check_installation_id,
    confirm_installation,
    fetch_installation_grant,
    mint_installation_grant,
    refresh_installation_grant,
)
from service.sentry.origin import Origin
from service.tenants.caller import Caller, Role

_LONGEST_CODE = 512
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")

_log = structlog.get_logger(__name__)


class InstallWay:
    """Sends browsers to install an app, and takes the installations that they bring back."""

    def __init__(
        self,
        attempts: Attempts,
        flow: LinkFlow,
        database: Database,
        vault: Vault,
        sentry: SentryClient,
        accounts: AccountSource,
        clients: Clients,
        *,
        public_url: str,
    ) -> None:
        self._attempts = attempts
        self._flow = flow
        self._database = database
        self._vault = vault
        self._sentry = sentry
        self._accounts = accounts
        self._clients = clients
        self._public_url = public_url

    def apps(self, record: LinkSessionRecord) -> list[SentryApp]:
        """Those by which the session may be linked."""
        if LinkMethod.INSTALL not in offered(record):
            return []
        origin = None if record.origin is None else Origin.parse(record.origin)
        return [app for app in self._clients.apps if is_at(app.origin, origin)]

    async def begin(self, visit: Visit, client_id: str | None) -> str:
        """Where to send the browser."""
        app = self._find(visit.record, client_id)
        await self._attempts.begin_install(
            visit.record,
            client_id=app.client_id,
            origin=app.origin.url,
            redirect_uri=f"{self._public_url}/link/install/callback",
        )
        return build_install_url(app)

    async def claim(self, client_id: str | None, known: Mapping[str, str]) -> Claim | None:
        """The install that this browser began; None where it began none."""
        return await self._attempts.claim_install(client_id, known)

    async def finish(
        self, visit: Visit, client_id: str, *, installation_id: str, code: str, organization: str | None
    ) -> None:
        """Exchange the code, and verify by the token whose installation it is (never by what the browser says)."""
        app = self._find(visit.record, client_id)
        installation_id = self._check(installation_id, code)
        await self._check_free(visit.record, app, installation_id)
        grant = await fetch_installation_grant(
            self._sentry, app, tenant_id=visit.record.tenant_id, installation_id=installation_id, code=code
        )
        await self._flow.accept(visit, _pend(app, grant, installation_id, announced=organization))

    def hold(self, client_id: str | None, *, installation_id: str, code: str, organization: str | None) -> str | None:
        """A cookie that keeps an installation for later; None where it is not known which app it is of."""
        apps = [app for app in self._clients.apps if client_id in {None, app.client_id}]
        if len(apps) != 1:
            return None
        try:
            checked = self._check(installation_id, code)
        except StepRefused:
            return None
        slug = organization if organization and _SLUG.match(organization) else None  # it is shown: no other words
        return seal_held(self._vault, HeldInstall(apps[0].client_id, checked, code, slug, now() + HELD_FOR))

    def is_held(self, cookie: str | None) -> bool:
        """Whether the browser holds an installation."""
        return open_held(self._vault, cookie) is not None

    def find_held(self, record: LinkSessionRecord, cookie: str | None) -> HeldInstall | None:
        """The installation that the browser holds, if the session may be linked by it."""
        held = open_held(self._vault, cookie)
        usable = held is not None and any(app.client_id == held.client_id for app in self.apps(record))
        return held if usable else None

    def find_installed(self, visit: Visit) -> ConnectionRecord | None:
        """The connection that is to be linked again, where one of our apps is installed for it.

        Not for a wider profile: nobody is asked in Sentry, so whoever has the address would agree for the customer.
        """
        connection = visit.connection
        if connection is None or connection.installation_id is None:
            return None
        if visit.record.profile.goes_beyond(connection.profile):
            return None
        return connection if self._apps_of(visit.record, connection) else None

    async def use_installed(self, visit: Visit) -> None:
        """Link again by what is installed: by the app's signature, else by a refresh token that nothing else uses."""
        connection = self.find_installed(visit)
        if connection is None or connection.installation_id is None:
            raise StepRefused(LinkProblem.INSTALLATION_UNUSABLE)
        credential = await self._read_credential(connection)
        apps = self._apps_of(visit.record, connection)
        known = [app for app in apps if credential is not None and app.client_id == credential.client_id]
        app = (known or apps)[0]
        try:
            grant = await self._renew(app, connection, credential)
        except GrantRefused as error:
            _log.info("installation_not_usable", connection=connection.id, problem=error.problem)
            raise StepRefused(LinkProblem.INSTALLATION_UNUSABLE) from None
        await self._flow.accept(visit, _pend(app, grant, connection.installation_id))

    async def confirm(self, record: LinkSessionRecord, connection: ConnectionRecord, pending: Pending) -> None:
        """Tell Sentry that the installation has arrived, after it is stored. Where that fails the link stays.

        Sentry sends no webhooks until it is told; telling it again does no harm.
        """
        app = next((each for each in self._clients.apps if each.client_id == pending.client_id), None)
        if app is None or not app.verify_install or pending.installation_id is None:
            return
        caller = Caller(record.tenant_id, Role.ADMIN, visitor(record))
        try:
            _, account = await self._accounts.account(caller, connection.id)
            await confirm_installation(self._sentry, account, pending.installation_id)
        except ServiceError as error:
            _log.warning("installation_not_confirmed", connection=connection.id, code=error.code)

    def _find(self, record: LinkSessionRecord, client_id: str | None) -> SentryApp:
        app = next((each for each in self.apps(record) if each.client_id == client_id), None)
        if app is None:
            raise StepRefused(LinkProblem.INVALID_INPUT)
        return app

    def _apps_of(self, record: LinkSessionRecord, connection: ConnectionRecord) -> list[SentryApp]:
        return [app for app in self.apps(record) if app.origin.url == connection.control_origin]

    def _check(self, installation_id: str, code: str) -> str:
        if not code or len(code) > _LONGEST_CODE or not code.isascii() or not code.isprintable():
            raise StepRefused(LinkProblem.GRANT_REFUSED)
        try:
            return check_installation_id(installation_id)
        except BadInput:
            raise StepRefused(LinkProblem.GRANT_REFUSED) from None

    async def _check_free(self, record: LinkSessionRecord, app: SentryApp, installation_id: str) -> None:
        """Raise where it is another connection's. Nothing is said of whose."""
        if await is_taken_from(
            self._database,
            app.origin.url,
            installation_id,
            tenant_id=record.tenant_id,
            external_id=record.external_id,
        ):
            raise StepRefused(LinkProblem.INSTALLATION_TAKEN)

    async def _renew(self, app: SentryApp, connection: ConnectionRecord, credential: CredentialRecord | None) -> Grant:
        assert connection.installation_id is not None  # noqa: S101 - its caller has looked
        options = {"tenant_id": connection.tenant_id, "installation_id": connection.installation_id}
        try:
            return await mint_installation_grant(self._sentry, app, **options)
        except GrantRefused as error:
            # A connection that still works is refreshing by that token itself, and would lose it.
            is_idle = connection.status is ConnectionStatus.NEEDS_REAUTH
            if error.problem is not GrantProblem.UNSUPPORTED or not is_idle:
                raise
            token = open_refresh_token(self._vault, Linked(connection, credential))
            if token is None:
                raise
        return await refresh_installation_grant(self._sentry, app, refresh_token=token, **options)

    async def _read_credential(self, connection: ConnectionRecord) -> CredentialRecord | None:
        condition = [
            col(CredentialRecord.tenant_id) == connection.tenant_id,
            col(CredentialRecord.connection_id) == connection.id,
        ]
        async with self._database.session() as session:
            return (await session.exec(select(CredentialRecord).where(*condition))).first()


def _pend(app: SentryApp, grant: Grant, installation_id: str, *, announced: str | None = None) -> Pending:
    return from_grant(
        grant,
        method=LinkMethod.INSTALL,
        kind=CredentialKind.APP_TOKEN,
        origin=app.origin.url,
        client_id=app.client_id,
        ca=app.ca,
        installation_id=installation_id,
        announced=announced,
    )
