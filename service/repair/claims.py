"""Who looks at which connection: taken with a lease, and fenced by a number that grows each time.

A look that hangs past its lease is done again by another worker, and writes nothing any more. All times are the
database's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, insert, literal, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import UtcDateTime
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.repair_models import RepairRecord
from service.db import Database
from service.repair.absorbing import read_last_position
from service.repair.rules import plan_next, plan_retry

_POSTPONED = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to look at a connection, which ``number`` fences. ``taken_at`` is when it was claimed.

    ``polled_at`` and ``heard_at`` are what the row said then; ``projects`` the ids that the connection is limited to,
    None where it is not.
    """

    tenant_id: str
    connection_id: str
    number: int
    taken_at: datetime
    polled_at: datetime | None
    heard_at: datetime | None
    installation_id: str | None
    projects: list[str] | None


class Claims:
    """Gives out what is due, and takes it back. ``lease`` outlasts any one call to Sentry."""

    def __init__(self, database: Database, *, lease: timedelta, interval: timedelta) -> None:
        self._database = database
        self._lease = lease
        self.interval = interval

    async def enroll(self) -> None:
        """Let connections that were never looked at be due now."""

        async def work(session: AsyncSession) -> None:
            clock = literal(await self._database.read_clock(session), UtcDateTime())
            missing = (
                select(ConnectionRecord.id, ConnectionRecord.tenant_id, clock)
                .join(RepairRecord, col(RepairRecord.connection_id) == ConnectionRecord.id, isouter=True)
                .where(ConnectionRecord.status == ConnectionStatus.ACTIVE, col(RepairRecord.connection_id).is_(None))
            )
            # Another worker may do the same at this moment. Both databases know the clause, at the end of the SELECT.
            missing = missing.suffix_with("ON CONFLICT DO NOTHING")
            added = insert(RepairRecord).from_select(["connection_id", "tenant_id", "next_at"], missing)
            await (await session.connection()).execute(added)

        await self._database.run_transaction(work)

    async def end_leases(self) -> None:
        """End what a process that is gone has left, where no other can hold a lease: SQLite serves one process."""
        if self._database.dialect != "sqlite":
            return

        async def work(session: AsyncSession) -> None:
            clock = await self._database.read_clock(session)
            held = update(RepairRecord).where(col(RepairRecord.lease_until).is_not(None))
            await session.exec(held.values(lease_until=None, next_at=clock))

        await self._database.run_transaction(work)

    async def take(self) -> Claim | None:
        """Claim the connection that has been due for longest, committed before Sentry is asked; None where none is.

        Of a tenant's connections to one Sentry, one at a time; only workers that claim in the same moment take two.
        """

        async def work(session: AsyncSession) -> Claim | None:
            clock = await self._database.read_clock(session)
            is_mine = and_(
                col(ConnectionRecord.tenant_id) == RepairRecord.tenant_id,
                col(ConnectionRecord.id) == RepairRecord.connection_id,
            )
            place = (col(ConnectionRecord.tenant_id), col(ConnectionRecord.api_origin))
            busy = await session.exec(
                select(*place).join(RepairRecord, is_mine).where(col(RepairRecord.lease_until) > clock).distinct()
            )
            taken = [and_(*(column == value for column, value in zip(place, each, strict=True))) for each in busy]
            statement = (
                select(RepairRecord, ConnectionRecord)
                .join(ConnectionRecord, is_mine)
                .where(
                    col(RepairRecord.next_at) <= clock,
                    or_(col(RepairRecord.lease_until).is_(None), col(RepairRecord.lease_until) <= clock),
                    ConnectionRecord.status == ConnectionStatus.ACTIVE,
                    *(~each for each in taken),
                )
                .order_by(col(RepairRecord.next_at))
                .limit(1)
                .with_for_update(of=RepairRecord, skip_locked=True)
            )
            found = (await session.exec(statement)).first()
            if found is None:
                return None
            repair, connection = found
            repair.claim += 1
            repair.next_at = repair.lease_until = clock + self._lease  # due again for whoever finds it left
            if repair.polled_at is None:  # the first look takes stock: what events told before says nothing more
                repair.position = await read_last_position(session, repair.tenant_id)
            return Claim(
                tenant_id=repair.tenant_id,
                connection_id=repair.connection_id,
                number=repair.claim,
                taken_at=clock,
                polled_at=repair.polled_at,
                heard_at=repair.heard_at,
                installation_id=connection.installation_id,
                projects=None if connection.projects is None else [each["id"] for each in connection.projects],
            )

        return await self._database.run_transaction(work)

    def renew(self, repair: RepairRecord, clock: datetime) -> None:
        """Hold a row, which is locked, for as long as one more call may take."""
        repair.lease_until = clock + self._lease
        if repair.next_at > clock:  # else somebody wants another look after this one
            repair.next_at = repair.lease_until

    def plan(self, repair: RepairRecord, clock: datetime, held_since: datetime | None) -> None:
        """The look has ended: give its row, which is locked, back until the next one."""
        repair.lease_until, repair.failures = None, 0
        if repair.next_at > clock:
            repair.next_at = plan_next(clock, self.interval, held_since)

    async def give_up(self, claim: Claim) -> None:
        """The look failed: try again later, and later each time."""

        def change(repair: RepairRecord, clock: datetime) -> datetime:
            repair.failures += 1
            return plan_retry(clock, self.interval, repair.failures)

        await self._end(claim, change)

    async def postpone(self, claim: Claim) -> None:
        """Somebody else needs Sentry's rate limit now: look again in a moment."""
        wait = _POSTPONED * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        await self._end(claim, lambda _, clock: clock + wait)

    async def release(self, claim: Claim) -> None:
        """The process ends: leave the connection due, to whoever is there."""
        await self._end(claim, lambda _, clock: clock)

    async def _end(self, claim: Claim, plan: Callable[[RepairRecord, datetime], datetime]) -> None:
        async def work(session: AsyncSession) -> None:
            repair = await lock(session, claim)
            if repair is not None:
                repair.lease_until, repair.next_at = None, plan(repair, await self._database.read_clock(session))

        await self._database.run_transaction(work)


async def lock(session: AsyncSession, claim: Claim) -> RepairRecord | None:
    """The row of a claim, locked; None where another worker has taken it over, or the connection is not in use.

    The connection comes first, as for whoever removes it: two that lock in the same order cannot wait in a circle.
    """
    mine = (ConnectionRecord.tenant_id == claim.tenant_id, ConnectionRecord.id == claim.connection_id)
    found = select(ConnectionRecord.status).where(*mine).with_for_update(read=True, key_share=True)
    if (await session.exec(found)).first() is not ConnectionStatus.ACTIVE:
        return None
    repair = await session.get(RepairRecord, claim.connection_id, with_for_update=True)
    return repair if repair is not None and repair.claim == claim.number else None
