"""Refreshing in the database: one holder at a time, each change compared with the version that it is based on.

All times here are the database's, so that replicas whose clocks differ agree on who holds a lease.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, exists, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.cache import ConnectionCache, Linked
from service.connections.link_models import LinkSessionRecord
from service.connections.link_rules import SealedToken
from service.connections.models import (
    ConnectionProblem,
    ConnectionRecord,
    ConnectionStatus,
    CredentialRecord,
    RefreshIntentRecord,
    is_credential_of_connection,
)
from service.connections.problems import explain
from service.connections.refresh_rules import CONFIRM_AFTER, LOST, Failure, is_ripe, plan_refresh, plan_retry
from service.connections.stored import is_refreshable, put_token
from service.db import Database
from service.events.append import NewEvent, append_event
from service.events.types import EventType
from service.journal import Outcome, note_audit

ACTOR = "service"
"""Who the audit log says did what nobody asked for."""

OnNeedsReauth = Callable[[AsyncSession, ConnectionRecord], Awaitable[LinkSessionRecord | None]]
"""Makes a link session for a connection inside the transaction that stops it, if there is a page for it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to refresh one version of a credential.

    ``is_recovery``: an earlier attempt at the same version has an unknown end, so that its tokens may be spent.
    """

    linked: Linked
    holder: str
    is_recovery: bool

    @property
    def credential(self) -> CredentialRecord:
        """The credential as it was claimed."""
        assert self.linked.credential is not None  # noqa: S101 - a claim is on one
        return self.linked.credential


@dataclass(frozen=True, slots=True)
class Busy:
    """Not now: somebody else holds the lease for so many ``seconds`` more at most, or it failed a moment ago.

    ``problem`` is why it failed, None while it is under way for the first time.
    """

    seconds: float
    problem: ConnectionProblem | None


@dataclass(frozen=True, slots=True)
class Due:
    """A credential that is due. ``is_ripe``: to be refreshed, also since a refresh was left; else to be looked at."""

    linked: Linked
    is_ripe: bool


class RefreshStore:
    """Claims, completes and gives up refreshes."""

    def __init__(
        self, database: Database, cache: ConnectionCache, *, lease_seconds: float, on_needs_reauth: OnNeedsReauth
    ) -> None:
        self._database = database
        self._cache = cache
        self._lease = timedelta(seconds=lease_seconds)
        self._on_needs_reauth = on_needs_reauth

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds."""
        return self._lease.total_seconds()

    async def read(self, tenant_id: str, connection_id: str) -> Linked | None:
        """What is stored now, past the cache, which then remembers it; None where the connection is gone."""
        writes = self._cache.writes
        async with self._database.session() as session:
            found = await _read(session, tenant_id, connection_id)
        if found is not None:
            self._cache.add(found, writes=writes)
        return found

    async def end_leases(self) -> None:
        """End what a process that is gone has left, where no other can hold a lease: SQLite serves one process."""
        if self._database.dialect != "sqlite":
            return

        async def work(session: AsyncSession) -> None:
            clock = await self._database.read_clock(session)
            await session.exec(
                update(RefreshIntentRecord)
                .where(col(RefreshIntentRecord.lease_until) > clock)
                .values(lease_until=clock)
            )

        await self._database.run_transaction(work)

    async def claim(
        self, tenant_id: str, connection_id: str, version: int, holder: str, *, is_scheduled: bool
    ) -> Claim | Busy | Linked | None:
        """Claim the refresh of a version, committed before anything is sent.

        What is stored, where it is another version by now or there is no credential; None where the connection is gone.
        What is not ``is_scheduled`` waits after a failure, until it is tried again by itself; a connection that is
        stopped is what is stored, too.
        """

        async def work(session: AsyncSession) -> Claim | Busy | Linked | None:
            linked = await _lock(session, tenant_id, connection_id)
            if linked is None or linked.credential is None or linked.credential.version != version:
                return linked
            if not is_scheduled and linked.connection.status is not ConnectionStatus.ACTIVE:
                return linked
            clock = await self._database.read_clock(session)
            intent = await session.get(RefreshIntentRecord, connection_id)
            is_same = intent is not None and intent.version == version
            again = linked.credential.refresh_after
            if intent is not None and is_same and intent.lease_until > clock:
                return Busy((intent.lease_until - clock).total_seconds(), linked.connection.problem)
            problem = linked.connection.problem
            if not is_scheduled and problem is not None and again is not None and again > clock:
                return Busy((again - clock).total_seconds(), problem)
            await session.merge(
                RefreshIntentRecord(
                    connection_id=connection_id,
                    tenant_id=tenant_id,
                    version=version,
                    holder=holder,
                    started_at=clock,
                    lease_until=clock + self._lease,
                )
            )
            return Claim(linked, holder, is_recovery=is_same)

        found = await self._database.run_transaction(work)
        return self._forget(found) if isinstance(found, Linked) else found  # what is remembered is older

    async def complete(
        self, claim: Claim, seal: Callable[[ConnectionRecord, datetime], SealedToken], scopes: list[str]
    ) -> Linked | None:
        """Store the fresh credential, unless another one was stored meanwhile; what is stored then.

        ``seal`` is told the time. ``scopes`` are those of the new token; empty where Sentry did not say. Whoever has
        tokens of a version first stores them, even if its lease is over: the other one's refresh token is spent. A
        connection that is stopped stays so: that the new token works has to be seen first (:meth:`settle_look`).
        """
        connection_id, tenant_id = claim.credential.connection_id, claim.credential.tenant_id

        async def work(session: AsyncSession) -> Linked | None:
            linked = await _lock(session, tenant_id, connection_id)
            if linked is None or linked.credential is None or linked.credential.version != claim.credential.version:
                return linked
            connection, credential = linked.connection, linked.credential
            clock = await self._database.read_clock(session)
            put_token(connection, credential, seal(connection, clock), clock)
            connection.scopes = scopes or connection.scopes
            if connection.status is ConnectionStatus.ACTIVE:
                _clear_problem(connection)
            else:
                credential.refresh_after = clock + CONFIRM_AFTER
            await session.exec(
                delete(RefreshIntentRecord).where(col(RefreshIntentRecord.connection_id) == connection_id)
            )
            note_audit(
                session,
                "connection.refresh",
                tenant_id,
                actor=ACTOR,
                connection_id=connection_id,
                details={"version": credential.version, "recovered": claim.is_recovery or None},
            )
            return linked

        return self._forget(await self._database.run_transaction(work))

    async def fail(self, claim: Claim, failure: Failure) -> Linked | Busy | None:
        """Give the claim up and note why; what is stored then, which may be somebody else's success.

        Whose lease is over, and was taken by somebody else, concludes nothing: ``Busy``, since that one will.
        """
        connection_id, tenant_id = claim.credential.connection_id, claim.credential.tenant_id

        async def work(session: AsyncSession) -> Linked | Busy | None:
            linked = await _lock(session, tenant_id, connection_id)
            if linked is None or linked.credential is None or linked.credential.version != claim.credential.version:
                return linked
            clock = await self._database.read_clock(session)
            intent = await session.get(RefreshIntentRecord, connection_id)
            if intent is None or intent.version != claim.credential.version:
                return linked  # somebody else took it, and has concluded
            if intent.holder != claim.holder:
                return Busy((intent.lease_until - clock).total_seconds(), None)
            again = await self._note(session, linked, failure.problem, clock, action="connection.refresh")
            if failure.problem in LOST or (failure.is_over and not claim.is_recovery):
                await session.delete(intent)
            else:
                intent.lease_until = again or clock
            return linked

        stored = await self._database.run_transaction(work)
        return stored if isinstance(stored, Busy) else self._forget(stored)

    async def due(self, limit: int) -> list[Due]:
        """Credentials that are to be looked at or refreshed, or whose refresh was left half-way; longest due first."""
        async with self._database.session() as session:
            clock = await self._database.read_clock(session)
            mine = and_(
                col(RefreshIntentRecord.connection_id) == CredentialRecord.connection_id,
                col(RefreshIntentRecord.version) == CredentialRecord.version,
            )
            is_held = exists().where(mine, col(RefreshIntentRecord.lease_until) > clock)
            was_left = exists().where(mine, col(RefreshIntentRecord.lease_until) <= clock)
            statement = (
                select(ConnectionRecord, CredentialRecord, was_left)
                .join(CredentialRecord, is_credential_of_connection())
                .where(~is_held, or_(col(CredentialRecord.refresh_after) <= clock, was_left))
                .order_by(col(CredentialRecord.refresh_after))
                .limit(limit)
            )
            return [
                Due(
                    Linked(connection, credential),
                    is_ripe=is_left or is_ripe(credential.updated_at, connection.expires_at, clock),
                )
                for connection, credential, is_left in await session.exec(statement)
            ]

    async def claim_look(self, linked: Linked, seconds: float) -> bool:
        """Take the turn to look at a credential; False where another replica has it."""
        credential = linked.credential
        assert credential is not None  # noqa: S101 - only such are due

        async def work(session: AsyncSession) -> bool:
            clock = await self._database.read_clock(session)
            changed = await session.exec(
                update(CredentialRecord)
                .where(
                    col(CredentialRecord.connection_id) == credential.connection_id,
                    col(CredentialRecord.tenant_id) == credential.tenant_id,
                    col(CredentialRecord.version) == credential.version,
                    col(CredentialRecord.refresh_after) <= clock,
                )
                .values(refresh_after=clock + timedelta(seconds=seconds))
            )
            return changed.rowcount == 1

        return await self._database.run_transaction(work)

    async def schedule_look(self, tenant_id: str, connection_id: str, version: int) -> None:
        """Have a credential that Sentry has just refused looked at soon; one that fails already waits its time."""

        async def work(session: AsyncSession) -> None:
            clock = await self._database.read_clock(session)
            await session.exec(
                update(CredentialRecord)
                .where(
                    col(CredentialRecord.connection_id) == connection_id,
                    col(CredentialRecord.tenant_id) == tenant_id,
                    col(CredentialRecord.version) == version,
                    col(CredentialRecord.failures) == 0,
                    or_(col(CredentialRecord.refresh_after).is_(None), col(CredentialRecord.refresh_after) > clock),
                )
                .values(refresh_after=clock)
            )

        await self._database.run_transaction(work)

    async def settle_look(
        self, linked: Linked, problem: ConnectionProblem | None, again: timedelta | None, *, is_failure: bool = True
    ) -> Linked | None:
        """Note what looking at a credential told: a problem, or None where it works; what is stored then.

        With ``again`` nothing is concluded yet: it is only looked at once more, so much later. ``is_failure`` counts
        the look as the first of two that a conclusion needs.
        """
        seen = linked.credential
        assert seen is not None  # noqa: S101 - only such are looked at

        async def work(session: AsyncSession) -> Linked | None:
            linked = await _lock(session, seen.tenant_id, seen.connection_id)
            if linked is None or linked.credential is None or linked.credential.version != seen.version:
                return linked
            clock = await self._database.read_clock(session)
            if again is not None:
                linked.credential.failures += int(is_failure)
                linked.credential.refresh_after = clock + again
            elif problem is not None:
                await self._note(session, linked, problem, clock, action="connection.check")
            else:
                await _revive(session, linked.connection)
                linked.credential.failures = 0
                linked.credential.refresh_after = plan_refresh(
                    clock, linked.connection.expires_at, is_refreshable=is_refreshable(linked)
                )
            return linked

        return self._forget(await self._database.run_transaction(work))

    def _forget(self, linked: Linked | None) -> Linked | None:
        if linked is not None:
            self._cache.forget(linked.connection)
        return linked

    async def _note(
        self, session: AsyncSession, linked: Linked, problem: ConnectionProblem, clock: datetime, *, action: str
    ) -> datetime | None:
        """Write a problem down; a connection that it stops gets an event. When it is tried again.

        The audit log tells of a problem when it begins: repeating it for ever would fill the database.
        """
        connection, credential = linked.connection, linked.credential
        assert credential is not None  # noqa: S101 - it was just read
        credential.failures += 1
        credential.refresh_after = plan_retry(clock, problem, credential.failures)
        was_active = connection.status is ConnectionStatus.ACTIVE
        if connection.problem is not problem:
            note_audit(
                session,
                action,
                connection.tenant_id,
                actor=ACTOR,
                connection_id=connection.id,
                outcome=Outcome.FAILED,
                details={"problem": problem.value},
            )
            connection.problem = problem
            connection.status_reason = explain(problem).reason
            connection.updated_at = now()
        if problem in LOST and was_active:
            connection.status = ConnectionStatus.NEEDS_REAUTH
            link_session = await self._on_needs_reauth(session, connection)
            data = {"problem": problem.value, "linkSessionId": link_session and link_session.id}
            await append_event(session, NewEvent(connection.tenant_id, EventType.NEEDS_REAUTH, connection.id, data))
        return credential.refresh_after


async def _revive(session: AsyncSession, connection: ConnectionRecord) -> None:
    """The credential works: whatever was wrong is over."""
    if connection.status is ConnectionStatus.NEEDS_REAUTH:
        connection.status = ConnectionStatus.ACTIVE
        data = {"problem": connection.problem.value if connection.problem else None}
        await append_event(session, NewEvent(connection.tenant_id, EventType.RECOVERED, connection.id, data))
    _clear_problem(connection)


def _clear_problem(connection: ConnectionRecord) -> None:
    if connection.problem is not None:
        connection.problem = connection.status_reason = None
        connection.updated_at = now()


async def _lock(session: AsyncSession, tenant_id: str, connection_id: str) -> Linked | None:
    """The connection and its credential, both locked.

    Locked first and read after: what waits for a row in one statement reads the other table as it was before. And a
    credential that is not locked could be sealed anew between being read and being written.
    """
    mine = (ConnectionRecord.tenant_id == tenant_id, ConnectionRecord.id == connection_id)
    await session.exec(select(ConnectionRecord.id).where(*mine).with_for_update())
    own = (CredentialRecord.tenant_id == tenant_id, CredentialRecord.connection_id == connection_id)
    await session.exec(select(CredentialRecord.connection_id).where(*own).with_for_update())
    return await _read(session, tenant_id, connection_id)


async def _read(session: AsyncSession, tenant_id: str, connection_id: str) -> Linked | None:
    statement = (
        select(ConnectionRecord, CredentialRecord)
        .join(CredentialRecord, is_credential_of_connection(), isouter=True)
        .where(ConnectionRecord.tenant_id == tenant_id, ConnectionRecord.id == connection_id)
    )
    found = (await session.exec(statement)).first()
    return None if found is None else Linked(*found)
