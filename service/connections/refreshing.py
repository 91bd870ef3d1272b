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
from functools import partial
from typing import TypeVar

import structlog
from cachetools import LRUCache, TTLCache
from sqlalchemy.exc import SQLAlchemyError

from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus
from service.connections.problems import explain
from service.connections.refresh_rules import CONFIRM_AFTER, LOST, SAID, Failure, backoff
from service.connections.refresh_store import Busy, Claim, Due, RefreshStore
from service.connections.stored import is_refreshable, needs_reauth, open_refresh_token
from service.connections.token_requests import TokenRequests
from service.connections.vault import Vault, bind_refresh_token, bind_token
from service.errors import (
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
from service.tasks import Coalescer, repeating

LEASE_MARGIN = 10.0
"""Seconds that a lease outlasts the longest call: whoever holds it has an answer, or is dead."""

_SWEEP_SECONDS = 5.0
_AT_ONCE = 8
_DUE = 100
_POLL_SECONDS = 0.1
_STORE_SECONDS = 3600.0
_STORE_SECONDS_AT_END = 60.0
_CONFIRM_SECONDS = 5.0
_LOOK_SECONDS = 120.0
_LONGEST_LIFE = timedelta(days=3650).total_seconds()

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Refresher:
    """Renews the credentials of all tenants. One for each process."""

    def __init__(self, store: RefreshStore, client: SentryClient, vault: Vault, clients: Clients) -> None:
        self._store = store
        self._requests = TokenRequests(client, vault, clients)
        self._vault = vault
        self._renewals: Coalescer[tuple[str, str, int], Linked] = Coalescer(is_kept=True)
        self._readings: Coalescer[tuple[str, str], Linked | None] = Coalescer()
        self._doubted: TTLCache[str, bool] = TTLCache(10_000, CONFIRM_AFTER.total_seconds())
        self._tending: dict[str, asyncio.Task[None]] = {}
        self._turns: LRUCache[str, asyncio.Semaphore] = LRUCache(1000)
        self._is_ending = False

    @contextlib.asynccontextmanager
    async def running(self, *, sweeps: bool = True) -> AsyncIterator[None]:
        """While the block runs look after what is due, if it ``sweeps``; what was begun is finished at its end."""
        await self._store.end_leases()
        try:
            async with repeating(self._begin_sweep, _SWEEP_SECONDS) if sweeps else contextlib.nullcontext():
                yield
        finally:
            self._is_ending = True
            tending = list(self._tending.values())
            for task in tending:
                task.cancel()
            await asyncio.gather(*tending, return_exceptions=True)
            await self._renewals.drain()

    async def read(self, linked: Linked) -> Linked:
        """What is stored of a connection now, read once for all who ask at once. Raises :class:`NeedsReauth`.

        It may be as old as the reading that was under way: :meth:`renew` notices.
        """
        key = (linked.connection.tenant_id, linked.connection.id)
        found = await self._readings.run(key, lambda: self._store.read(*key))
        if found is None:
            raise NeedsReauth("The connection is gone.")
        return found

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

    async def doubt(self, tenant_id: str, connection_id: str, version: int) -> None:
        """Sentry has just refused that version of a credential, and none is to be had in its place: look at it soon."""
        if connection_id in self._doubted:
            return
        self._doubted[connection_id] = True
        try:
            await self._store.schedule_look(tenant_id, connection_id, version)
        except StorageUnavailable as error:  # whoever was refused hears that, and it is refused again
            _log.warning("look_not_scheduled", connection_id=connection_id, code=error.code)

    async def sweep(self) -> None:
        """Refresh or look at what is due, a few of each Sentry at a time, and return when that has ended."""
        await self._begin_sweep()
        await asyncio.gather(*self._tending.values())

    async def _begin_sweep(self) -> None:
        """Start on what is due, without waiting: a Sentry that hangs must not keep the others'."""
        due = await self._store.due(_DUE + len(self._tending))
        random.shuffle(due)  # so that replicas begin at different ends
        for each in due:
            connection_id = each.linked.connection.id
            if connection_id not in self._tending:
                task = self._tending[connection_id] = asyncio.create_task(self._tend(each))
                task.add_done_callback(partial(self._forget, connection_id))

    def _forget(self, connection_id: str, _: "asyncio.Task[None]") -> None:
        del self._tending[connection_id]

    async def _tend(self, due: Due) -> None:
        connection = due.linked.connection
        turn = self._turns.setdefault(connection.control_origin, asyncio.Semaphore(_AT_ONCE))
        async with turn:
            try:
                if due.is_ripe and is_refreshable(due.linked):
                    await self.renew(due.linked, is_scheduled=True)
                else:
                    await self._look(due.linked)
            except ServiceError as error:
                _log.info("credential_not_renewed", connection_id=connection.id, code=error.code)
            except Exception as error:  # noqa: BLE001 - one that goes wrong must not keep the others
                _log.error("credential_not_tended", connection_id=connection.id, exc_info=error)

    # --- refreshing ---

    async def _renew(self, tenant_id: str, connection_id: str, version: int, *, is_scheduled: bool) -> Linked:
        holder = new_id("ref")
        while True:
            found = await self._store.claim(tenant_id, connection_id, version, holder, is_scheduled=is_scheduled)
            if isinstance(found, Claim):
                found = await self._refresh(found)
            if not isinstance(found, Busy):
                return _usable(found)
            if found.problem is not None:
                raise _explain(found.problem, retry_after=found.seconds)
            await asyncio.sleep(min(found.seconds, _POLL_SECONDS) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _refresh(self, claim: Claim) -> Linked | Busy | None:
        """Ask Sentry, once, and store what comes of it. ``Busy`` where another process has taken this over."""
        connection, lease = claim.linked.connection, self._store.lease_seconds
        ends = asyncio.get_running_loop().time() + max(lease - 2, lease * 0.8)
        try:
            grant = await self._ask(claim, ends)
        except ServiceError as error:
            failure = await self._judge(claim, error, ends)
            _log.warning(
                "refresh_failed",
                tenant_id=connection.tenant_id,
                connection_id=connection.id,
                code=error.code,
                problem=failure.problem.value,
            )
            stored = await self._insist(lambda: self._store.fail(claim, failure))
            if isinstance(stored, Linked) and _is_version(stored, claim.credential.version):
                if stored.connection.status is ConnectionStatus.ACTIVE:
                    raise _explain(failure.problem, retry_after=None) from None
                raise needs_reauth(stored.connection) from None
            return stored
        received = time.monotonic()

        def seal(connection: ConnectionRecord, clock: datetime) -> SealedToken:
            return self._seal(claim, connection, grant, clock - timedelta(seconds=time.monotonic() - received))

        stored = await self._insist(lambda: self._store.complete(claim, seal, sorted(grant.scopes)))
        _log.info("refreshed", tenant_id=connection.tenant_id, connection_id=connection.id)
        if stored is not None and _is_version(stored, claim.credential.version + 1):
            return await self._confirm(stored)
        return stored

    async def _ask(self, claim: Claim, ends: float) -> Grant:
        """Ask no longer than the claim holds; ``ends`` is on the loop's clock."""
        try:
            async with asyncio.timeout_at(ends):
                return await self._requests.renew(claim)
        except TimeoutError:
            raise OutcomeUnknown("A token was asked for, and Sentry took longer to answer than it may.") from None

    async def _judge(self, claim: Claim, error: ServiceError, ends: float) -> Failure:
        try:
            async with asyncio.timeout_at(ends):
                return await self._requests.judge(claim, error)
        except TimeoutError:
            return Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=not isinstance(error, OutcomeUnknown))

    async def _confirm(self, stored: Linked) -> Linked | None:
        """See whether the new token works: Sentry also renews those of users, say, whom it then turns away."""
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                problem = await self._requests.probe(stored)
        except (ServiceError, TimeoutError):
            return stored
        known, status = stored.connection.problem, stored.connection.status
        if problem is None and status is ConnectionStatus.ACTIVE:
            return stored
        is_certain = problem is None or problem in SAID or (problem is known and problem in LOST)
        if is_certain:
            return await self._insist(lambda: self._store.settle_look(stored, problem, None))
        return await self._insist(lambda: self._store.settle_look(stored, None, CONFIRM_AFTER))

    def _seal(self, claim: Claim, connection: ConnectionRecord, grant: Grant, received: datetime) -> SealedToken:
        """A grant without a refresh token leaves the one before it valid (RFC 6749, section 6)."""
        refresh_token = grant.refresh_token or open_refresh_token(self._vault, claim.linked)
        refresh = expires_at = None
        if refresh_token is not None:
            refresh = self._vault.seal(refresh_token.encode(), binding=bind_refresh_token(connection))
        if grant.expires_in is not None:
            expires_at = received + timedelta(seconds=min(grant.expires_in, _LONGEST_LIFE))
        return SealedToken(
            self._vault.seal(grant.access_token.encode(), binding=bind_token(connection)),
            self._vault.fingerprint(grant.access_token),
            client_id=claim.credential.client_id,
            refresh=refresh,
            expires_at=expires_at,
        )

    # --- looking ---

    async def _look(self, linked: Linked) -> None:
        """See whether a credential still works. What is lost is asked for twice; what can be refreshed, is."""
        credential = linked.credential
        if credential is None or not await self._store.claim_look(linked, _LOOK_SECONDS):
            return
        try:
            problem = await self._requests.probe(linked)
        except SecretUnreadable:
            problem = ConnectionProblem.SECRET_UNREADABLE
        except ServiceError:
            wait = timedelta(seconds=_LOOK_SECONDS + backoff(credential.failures + 1))
            await self._store.settle_look(linked, None, wait, is_failure=False)
            return
        if problem in {ConnectionProblem.TOKEN_REVOKED, ConnectionProblem.TOKEN_EXPIRED} and is_refreshable(linked):
            await self.renew(linked, is_scheduled=True)
            return
        is_first = problem is not None and problem is not linked.connection.problem and credential.failures == 0
        await self._store.settle_look(linked, problem, CONFIRM_AFTER if is_first else None)

    async def _insist(self, store: Callable[[], Awaitable[T]]) -> T:
        """Store what came of a refresh: a database that is away must not cost a connection.

        A process that ends waits for it a minute.
        """
        began, attempt = time.monotonic(), 0
        while True:
            try:
                return await store()
            except (StorageUnavailable, SQLAlchemyError) as error:  # also of unknown outcome: it is stored once
                attempt += 1
                _log.warning("refresh_not_stored_yet", attempt=attempt, code=getattr(error, "code", None))
                if time.monotonic() - began > (_STORE_SECONDS_AT_END if self._is_ending else _STORE_SECONDS):
                    raise
                await asyncio.sleep(min(backoff(attempt), 5.0))


def _is_version(linked: Linked, version: int) -> bool:
    return linked.credential is not None and linked.credential.version == version


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
