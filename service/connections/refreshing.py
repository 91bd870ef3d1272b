"""Credentials that heal themselves: refreshed ahead of their end and on demand, once for everybody who waits.

One refresh of one version of a credential goes to Sentry at a time, across tasks by sharing the work, across processes
by a lease in the database (:mod:`service.connections.refresh_store`). Sentry replaces both tokens before it answers, so
a refresh that was begun is never broken off by whoever asked for it, and what came of it is stored before it is used.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from cachetools import TTLCache

from service.columns import now
from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.problems import explain
from service.connections.refresh_rules import CONFIRM_AFTER, Failure, backoff, explain_refusal
from service.connections.refresh_store import Busy, Claim, RefreshStore
from service.connections.stored import (
    FixedToken,
    build_account,
    is_refreshable,
    needs_reauth,
    open_refresh_token,
    open_token,
    parse_origin,
)
from service.connections.vault import Vault, bind_refresh_token, bind_token
from service.errors import (
    GrantProblem,
    GrantRefused,
    MissingScope,
    NeedsReauth,
    OutcomeUnknown,
    SecretUnreadable,
    ServiceError,
    StorageUnavailable,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from service.ids import new_id
from service.sentry.client import SentryClient
from service.sentry.grants import Grant
from service.sentry.installations import mint_installation_grant, refresh_installation_grant
from service.sentry.oauth import refresh_grant
from service.sentry.reads import fetch_organization
from service.tasks import Coalescer, repeating

LEASE_MARGIN = 10.0
"""Seconds that a lease outlasts the longest call: whoever holds it has an answer, or is dead."""

_SWEEP_SECONDS = 5.0
_AT_ONCE = 8
_DUE = 100
_POLL_SECONDS = 0.1
_STORE_SECONDS = 60.0
_LOOK_SECONDS = 120.0
_SKEW_SECONDS = 30.0
_NO_JWT_SECONDS = 3600.0

_log = structlog.get_logger(__name__)


class Refresher:
    """Renews the credentials of all tenants. One for each process."""

    def __init__(self, store: RefreshStore, client: SentryClient, vault: Vault, clients: Clients) -> None:
        self._store = store
        self._client = client
        self._vault = vault
        self._clients = clients
        self._renewals: Coalescer[tuple[str, str, int], Linked] = Coalescer(is_kept=True)
        self._without_jwt: TTLCache[str, bool] = TTLCache(1000, _NO_JWT_SECONDS)
        self._doubted: TTLCache[str, bool] = TTLCache(10_000, CONFIRM_AFTER.total_seconds())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look after what is due while the block runs; what was begun is finished at its end."""
        try:
            async with repeating(self.sweep, _SWEEP_SECONDS):
                yield
        finally:
            await self._renewals.drain()

    async def renew(self, linked: Linked, *, is_scheduled: bool = False) -> Linked:
        """A connection with a newer credential than the one in ``linked``, which Sentry does not take any more.

        Raises :class:`NeedsReauth` where it is lost for good, :class:`UpstreamUnavailable` where it may be had later,
        :class:`UpstreamUnauthorized` where the operator has to do something first.
        """
        credential = linked.credential
        if credential is None:
            raise needs_reauth(linked.connection)
        key = (credential.tenant_id, credential.connection_id, credential.version)
        return await self._renewals.run(key, lambda: self._renew(*key, is_scheduled=is_scheduled))

    async def doubt(self, linked: Linked) -> None:
        """Sentry has just refused a credential that cannot be refreshed: have it looked at soon."""
        connection_id = linked.connection.id
        if connection_id not in self._doubted:
            self._doubted[connection_id] = True
            await self._store.schedule_look(linked)

    async def sweep(self) -> None:
        """Refresh or look at what is due, a few at a time."""
        due = await self._store.due(_DUE)
        random.shuffle(due)  # so that replicas begin at different ends
        turn = asyncio.Semaphore(_AT_ONCE)

        async def tend(linked: Linked) -> None:
            async with turn:
                try:
                    if is_refreshable(linked):
                        await self.renew(linked, is_scheduled=True)
                    else:
                        await self._look(linked)
                except ServiceError as error:
                    _log.info("credential_not_renewed", connection_id=linked.connection.id, code=error.code)

        await asyncio.gather(*map(tend, due))

    # --- refreshing ---

    async def _renew(self, tenant_id: str, connection_id: str, version: int, *, is_scheduled: bool) -> Linked:
        holder = new_id("ref")
        while True:
            found = await self._store.claim(tenant_id, connection_id, version, holder, is_scheduled=is_scheduled)
            if isinstance(found, Claim):
                return await self._refresh(found)
            if not isinstance(found, Busy):
                return _usable(found)
            if found.problem is not None:
                raise _explain(found.problem, retry_after=found.seconds)
            await asyncio.sleep(min(found.seconds, _POLL_SECONDS) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _refresh(self, claim: Claim) -> Linked:
        connection = claim.linked.connection
        try:
            grant = await self._fetch(claim)
        except ServiceError as error:
            failure = await self._judge(claim, error)
            _log.warning(
                "refresh_failed",
                tenant_id=connection.tenant_id,
                connection_id=connection.id,
                code=error.code,
                problem=failure.problem.value,
            )
            stored = await self._insist(lambda: self._store.fail(claim, failure))
            if stored is not None and stored.credential and stored.credential.version != claim.credential.version:
                return _usable(stored)  # somebody else had it meanwhile
            if stored is None or stored.connection.status is not ConnectionStatus.ACTIVE:
                raise needs_reauth(stored.connection if stored else connection) from None
            raise _explain(failure.problem, retry_after=None) from None
        expires_at = None if grant.expires_in is None else now() + timedelta(seconds=grant.expires_in)
        stored = await self._insist(
            lambda: self._store.complete(
                claim, lambda connection: self._seal(claim, connection, grant, expires_at), sorted(grant.scopes)
            )
        )
        _log.info("refreshed", tenant_id=connection.tenant_id, connection_id=connection.id)
        return _usable(stored)

    async def _fetch(self, claim: Claim) -> Grant:
        """Ask Sentry for new tokens, once."""
        connection, credential = claim.linked.connection, claim.credential
        control, ca = parse_origin(connection.control_origin), connection.ca_certificate
        refresh_token = open_refresh_token(self._vault, claim.linked)
        if connection.authentication is not CredentialKind.APP_TOKEN:
            client = self._clients.find_oauth(credential.client_id, control)
            if client is None or refresh_token is None:
                raise _not_configured("OAuth client", "OAUTH_CLIENTS")
            return await refresh_grant(
                self._client, client, tenant_id=connection.tenant_id, refresh_token=refresh_token, ca=ca
            )
        app = self._clients.find_app(credential.client_id, control)
        if app is None or connection.installation_id is None:
            raise _not_configured("Sentry app", "SENTRY_APPS")
        tenant_id, installation_id = connection.tenant_id, connection.installation_id
        if control.url not in self._without_jwt:
            try:
                return await mint_installation_grant(
                    self._client, app, tenant_id=tenant_id, installation_id=installation_id, ca=ca
                )
            except GrantRefused as error:
                if error.problem is GrantProblem.UNSUPPORTED:
                    self._without_jwt[control.url] = True
                if refresh_token is None:
                    raise
            except OutcomeUnknown as error:  # it may be asked for as often as one likes
                raise UpstreamUnavailable(error.message) from None
        if refresh_token is None:
            raise GrantRefused(
                "This Sentry gives an app a new token only for a refresh token, and there is none.",
                problem=GrantProblem.INVALID_GRANT,
                cure="Have the account linked again.",
            )
        return await refresh_installation_grant(
            self._client,
            app,
            tenant_id=tenant_id,
            installation_id=installation_id,
            refresh_token=refresh_token,
            ca=ca,
        )

    async def _judge(self, claim: Claim, error: ServiceError) -> Failure:
        """What a failed refresh means."""
        if isinstance(error, OutcomeUnknown):
            return Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=False)
        if isinstance(error, SecretUnreadable):
            return Failure(ConnectionProblem.SECRET_UNREADABLE, is_over=True)
        if not isinstance(error, GrantRefused):
            return Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=True)
        if error.problem is GrantProblem.INVALID_GRANT:
            return await self._probe(claim)
        skew = self._client.clock_skew(parse_origin(claim.linked.connection.control_origin)) or 0.0
        is_app = claim.linked.connection.authentication is CredentialKind.APP_TOKEN
        if is_app and abs(skew) > _SKEW_SECONDS:
            return Failure(ConnectionProblem.CLOCK_SKEWED, is_over=True)
        return Failure(ConnectionProblem.CLIENT_REFUSED, is_over=True)

    async def _probe(self, claim: Claim) -> Failure:
        """The refresh token is refused: what the access token still does tells why."""
        try:
            problem = await self._ask(claim.linked)
        except ServiceError:
            return Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=True)
        if problem is None:
            return Failure(ConnectionProblem.REFRESH_REFUSED, is_over=True)
        if problem in {ConnectionProblem.TOKEN_REVOKED, ConnectionProblem.TOKEN_EXPIRED}:
            is_app = claim.linked.connection.authentication is CredentialKind.APP_TOKEN
            lost = ConnectionProblem.INSTALLATION_GONE if is_app else ConnectionProblem.TOKEN_REVOKED
            problem = ConnectionProblem.REFRESH_LOST if claim.is_recovery else lost
        return Failure(problem, is_over=True)

    def _seal(
        self, claim: Claim, connection: ConnectionRecord, grant: Grant, expires_at: datetime | None
    ) -> SealedToken:
        """A grant without a refresh token leaves the one before it valid (RFC 6749, section 6)."""
        refresh_token = grant.refresh_token or open_refresh_token(self._vault, claim.linked)
        refresh = None
        if refresh_token is not None:
            refresh = self._vault.seal(refresh_token.encode(), binding=bind_refresh_token(connection))
        return SealedToken(
            self._vault.seal(grant.access_token.encode(), binding=bind_token(connection)),
            self._vault.fingerprint(grant.access_token),
            client_id=claim.credential.client_id,
            refresh=refresh,
            expires_at=expires_at,
        )

    # --- looking ---

    async def _look(self, linked: Linked) -> None:
        """See whether a credential that cannot be refreshed still works. What is lost is asked for twice."""
        credential = linked.credential
        if credential is None or not await self._store.claim_look(linked, _LOOK_SECONDS):
            return
        try:
            problem = await self._ask(linked)
        except SecretUnreadable:
            problem = ConnectionProblem.SECRET_UNREADABLE
        except ServiceError:
            wait = timedelta(seconds=_LOOK_SECONDS + backoff(credential.failures + 1))
            await self._store.settle_look(linked, None, wait, is_failure=False)
            return
        is_first = problem is not None and problem is not linked.connection.problem and credential.failures == 0
        await self._store.settle_look(linked, problem, CONFIRM_AFTER if is_first else None)

    async def _ask(self, linked: Linked) -> ConnectionProblem | None:
        """What Sentry says of a credential's access token; None where it works. Raises where it says nothing."""
        credential = linked.credential
        assert credential is not None  # noqa: S101 - only such are asked about
        token = open_token(self._vault, linked)
        account = build_account(linked.connection, credential, FixedToken(token.value, token.version))
        try:
            await fetch_organization(self._client, account)
        except MissingScope:
            return None  # it may not see the organization, but Sentry knows it
        except ServiceError as error:
            problem = explain_refusal(error)
            if problem is None:
                raise
            return problem
        return None

    async def _insist(self, store: Callable[[], Awaitable[Linked | None]]) -> Linked | None:
        """Store what came of a refresh; a database that is away for a minute must not cost a connection."""
        ends, attempt = time.monotonic() + _STORE_SECONDS, 0
        while True:
            try:
                return await store()
            except StorageUnavailable:  # also of unknown outcome: a version is replaced once
                attempt += 1
                if time.monotonic() > ends:
                    raise
                await asyncio.sleep(min(backoff(attempt), 5.0))


def _usable(linked: Linked | None) -> Linked:
    if linked is None:
        raise NeedsReauth("The connection is gone.")
    if linked.credential is None or linked.connection.status is not ConnectionStatus.ACTIVE:
        raise needs_reauth(linked.connection)
    return linked


def _explain(problem: ConnectionProblem, *, retry_after: float | None) -> ServiceError:
    found = explain(problem)
    if problem is ConnectionProblem.SENTRY_UNAVAILABLE:
        return UpstreamUnavailable(found.reason, cure=found.cure, retry_after=retry_after)
    return UpstreamUnauthorized(found.reason, cure=found.cure)


def _not_configured(what: str, setting: str) -> GrantRefused:
    return GrantRefused(
        f"The {what} that the account was linked through is not configured any more.",
        problem=GrantProblem.INVALID_CLIENT,
        cure=f"Put it back into SENTRY_GRAPH_{setting}, or have the account linked again.",
    )
