"""Reading the log of events."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, delete, func, or_
from sqlalchemy.orm import Mapped
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.events.filters import ALL, EventFilter
from service.events.models import DeliveryRecord, DeliveryStatus, EventRecord

_PURGED_AT_ONCE = 200
_PAUSE_SECONDS = 0.05  # in which others write: SQLite has one writer at a time, and webhooks do not wait long
_SET_BACK = timedelta(minutes=10)
"""How far a database's clock may be set back without an event being missed by its time."""


class EventStore:
    """Reads the events of a tenant, in the order in which they were committed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        tenant_id: str,
        wanted: EventFilter = ALL,
        *,
        limit: int,
        seen: Collection[str] | None = None,
        since: datetime | None = None,
        after: int | None = None,
        before: int | None = None,
    ) -> list[EventRecord]:
        """At most ``limit`` events, the oldest first. ``after`` and ``before`` are positions, exclusive.

        With ``before`` and without ``after`` they are the last ones. ``seen`` are the ids of the only connections whose
        events are read; None reads all, also those of none.
        """
        conditions = [col(EventRecord.tenant_id) == tenant_id, *build_conditions(wanted)]
        if seen is not None:
            conditions.append(col(EventRecord.connection_id).in_(sorted(seen)))
        if since is not None:
            conditions += [
                col(EventRecord.created_at) >= since,
                col(EventRecord.position) >= _find_place(tenant_id, since),
            ]
        if after is not None:
            conditions.append(col(EventRecord.position) > after)
        if before is not None:
            conditions.append(col(EventRecord.position) < before)
        is_backward = before is not None and after is None
        order = col(EventRecord.position).desc() if is_backward else col(EventRecord.position).asc()
        statement = select(EventRecord).where(*conditions).order_by(order).limit(limit)
        async with self._database.session() as session:
            found = list(await session.exec(statement))
        return found[::-1] if is_backward else found

    async def get_many(self, tenant_id: str, ids: Sequence[str]) -> dict[str, EventRecord]:
        """The events of these ids, without those that are missing."""
        statement = select(EventRecord).where(EventRecord.tenant_id == tenant_id, col(EventRecord.id).in_(ids))
        async with self._database.session() as session:
            return {event.id: event for event in await session.exec(statement)}

    async def last_position(self, tenant_id: str) -> int:
        """The position of the newest event; 0 where there is none."""
        statement = (
            select(EventRecord.position)
            .where(EventRecord.tenant_id == tenant_id)
            .order_by(col(EventRecord.position).desc())
            .limit(1)
        )
        async with self._database.session() as session:
            return (await session.exec(statement)).first() or 0

    async def purge(self, days: int) -> None:
        """Forget older events with their deliveries, but for those that are still being delivered."""
        until = now() - timedelta(days=days)
        # Looked for one event at a time, by the index: a tenant may have a million others pending.
        pending = select(DeliveryRecord.id).where(
            DeliveryRecord.event_id == EventRecord.id, DeliveryRecord.status == DeliveryStatus.PENDING
        )
        old = (
            select(EventRecord.id).where(col(EventRecord.created_at) < until, ~pending.exists()).limit(_PURGED_AT_ONCE)
        )

        async def work(session: AsyncSession) -> int:
            ids = list(await session.exec(old))
            await session.exec(delete(EventRecord).where(col(EventRecord.id).in_(ids)))
            return len(ids)

        while True:
            if await self._database.run_transaction(work) < _PURGED_AT_ONCE:
                return
            await asyncio.sleep(_PAUSE_SECONDS)


def build_conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    """The filter for the database; :meth:`EventFilter.matches` says the same."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.connection_ids is not None:
        conditions.append(col(EventRecord.connection_id).in_(wanted.connection_ids))
    if wanted.types is not None:
        type_ = col(EventRecord.type)
        conditions.append(or_(*(_match_type(type_, pattern) for pattern in wanted.types), type_.in_([])))
    if wanted.projects is not None:
        slug, id_ = col(EventRecord.project_slug), col(EventRecord.project_id)
        conditions.append(or_(slug.in_(wanted.projects), id_.in_(wanted.projects)))
    if wanted.environments is not None:
        conditions.append(col(EventRecord.environment).in_(wanted.environments))
    if wanted.levels is not None:
        conditions.append(col(EventRecord.level).in_(wanted.levels))
    return conditions


def _find_place(tenant_id: str, since: datetime) -> ScalarSelect[int]:
    """A position that nothing of that time or later stands before: so that what is older need not be looked through.

    Times are in the order of positions, unless the database's clock was set back.
    """
    return (
        select(EventRecord.position)
        .where(EventRecord.tenant_id == tenant_id, col(EventRecord.created_at) >= since - _SET_BACK)
        .order_by(col(EventRecord.created_at))
        .limit(1)
        .scalar_subquery()
    )


def _match_type(type_: Mapped[str], pattern: str) -> ColumnElement[bool]:
    if pattern == "*":
        return type_.is_not(None)
    if not pattern.endswith(".*"):
        return type_ == pattern
    # Not LIKE, for which SQLite takes upper and lower case as one.
    return func.substr(type_, 1, len(pattern) - 1) == pattern[:-1]
