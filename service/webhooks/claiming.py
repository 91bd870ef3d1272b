"""What is due to be delivered, of all tenants, and claiming it: one process at a time makes an attempt.

The table is the queue. Claims and due times are on the database's clock. An attempt is counted when it is claimed,
before anything is sent, and only the claimer of that number writes what came of it (:mod:`service.webhooks.settling`).
A process that dies leaves its claims to whoever comes after their lease.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import and_, bindparam, func, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import UtcDateTime
from service.connections.models import ConnectionRecord
from service.db import Database
from service.events.models import (
    IS_PENDING,
    DeliveryRecord,
    DeliveryStatus,
    EndpointRecord,
    EndpointStatus,
    EventRecord,
)
from service.webhooks.message import ConnectionNames

_BURIED_AT_ONCE = 200  # in a step: SQLite has one writer at a time, and webhooks do not wait long
_COUNTED = 100_000

# The endpoints that anything is pending for, from one to the next by the index of what is pending: as many steps as
# there are endpoints, however long their queues are. The order has PostgreSQL use that index, whatever it believes.
_QUEUES = (
    text(
        """
        WITH RECURSIVE queues (endpoint_id) AS (
            SELECT min(endpoint_id) FROM webhook_deliveries WHERE status = 'pending'
            UNION ALL
            SELECT (SELECT min(endpoint_id) FROM webhook_deliveries
                    WHERE status = 'pending' AND endpoint_id > queues.endpoint_id)
            FROM queues WHERE queues.endpoint_id IS NOT NULL
        )
        SELECT endpoint.id, endpoint.tenant_id, endpoint.status, endpoint.failing_since,
            (SELECT min(next_at) FROM webhook_deliveries
             WHERE status = 'pending' AND endpoint_id = endpoint.id) AS next_at,
            (SELECT count(*) FROM (
                SELECT 1 FROM webhook_deliveries
                WHERE status = 'pending' AND endpoint_id = endpoint.id AND next_at <= :clock
                ORDER BY next_at LIMIT :most
            ) AS counted) AS due
        FROM queues JOIN webhook_endpoints AS endpoint ON endpoint.id = queues.endpoint_id
        """
    )
    .bindparams(bindparam("clock", type_=UtcDateTime()))
    .columns(failing_since=UtcDateTime(), next_at=UtcDateTime())
)


@dataclass(frozen=True, slots=True)
class Queue:
    """An endpoint that something is pending for.

    ``due`` is how much of it is due, as far as it was counted; ``wait`` are the seconds until the first of it is.
    """

    endpoint_id: str
    tenant_id: str
    is_enabled: bool
    is_failing: bool
    due: int
    wait: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The right, and the duty, to make one attempt. ``clock`` is when it was claimed, by the database.

    ``planned_at`` is when the delivery was: with the event, or by a replay.

    ``names`` are those of the event's connection; None where it has none, or it is gone.
    """

    delivery_id: str
    attempt: int
    event: EventRecord
    endpoint: EndpointRecord
    names: ConnectionNames | None
    planned_at: datetime
    clock: datetime


class Claims:
    """Finds what is due, and claims it. A claim holds for ``lease_seconds``."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)

    async def release(self) -> None:
        """End the claims of a process that is gone, where no other can hold one: SQLite serves one process."""
        if self._database.dialect != "sqlite":
            return

        async def work(session: AsyncSession) -> None:
            clock = await self._database.read_clock(session)
            await session.exec(
                update(DeliveryRecord)
                .where(IS_PENDING, col(DeliveryRecord.lease_until) > clock)
                .values(next_at=clock, lease_until=None)
            )

        await self._database.run_transaction(work)

    async def queues(self, most: int) -> list[Queue]:
        """All endpoints that something is pending for, due or not; what is due is counted up to ``most``."""
        async with self._database.session() as session:
            clock = await self._database.read_clock(session)
            found = await (await session.connection()).execute(_QUEUES, {"clock": clock, "most": most})
            return [
                Queue(
                    row.id,
                    row.tenant_id,
                    is_enabled=row.status == EndpointStatus.ENABLED,
                    is_failing=row.failing_since is not None,
                    due=row.due,
                    wait=max((row.next_at - clock).total_seconds(), 0.0),
                )
                for row in found
            ]

    async def claim(self, wanted: Mapping[str, int]) -> list[Claim]:
        """Claim what is due: at most so many of each endpoint, by its id, the longest due first."""

        async def work(session: AsyncSession) -> list[Claim]:
            clock = await self._database.read_clock(session)
            connection = await session.connection()
            claimed: dict[str, sqlalchemy.Row[str, int, datetime]] = {}
            for endpoint_id, most in sorted(wanted.items()):
                values = {"of_endpoint": endpoint_id, "most": most, "clock": clock, "until": clock + self._lease}
                found = await connection.execute(_CLAIM, values)
                claimed.update({row.id: row for row in found})
            if not claimed:
                return []
            statement = _LOAD.where(col(DeliveryRecord.id).in_(claimed))
            loaded = await session.exec(statement)  # type: ignore[call-overload]  # SQLModel's has four at most
            return [
                Claim(
                    delivery_id,
                    claimed[delivery_id].attempts,
                    event,
                    endpoint,
                    None if external_id is None else ConnectionNames(external_id, customer_id),
                    claimed[delivery_id].created_at,
                    clock,
                )
                for delivery_id, event, endpoint, external_id, customer_id in loaded
            ]

        return await self._database.run_transaction(work)

    async def bury(self, endpoint_id: str) -> int:
        """Give up some of what is pending for a disabled endpoint, but for what is just being sent; how many."""

        async def work(session: AsyncSession) -> int:
            clock = await self._database.read_clock(session)
            some = (
                select(DeliveryRecord.id)
                .where(
                    IS_PENDING,
                    col(DeliveryRecord.endpoint_id) == endpoint_id,
                    func.coalesce(DeliveryRecord.lease_until, clock) <= clock,
                    ~_is_enabled(endpoint_id),
                )
                .limit(_BURIED_AT_ONCE)
                .with_for_update(skip_locked=True)
            )
            buried = await session.exec(
                update(DeliveryRecord)
                .where(col(DeliveryRecord.id).in_(select(some.cte("some").c.id)))
                .values(status=DeliveryStatus.DEAD, next_at=None, lease_until=None, finished_at=clock)
            )
            return buried.rowcount

        return await self._database.run_transaction(work)

    async def count_pending(self) -> int:
        """How much is to be delivered, due or not; what is beyond 100 000 is not counted."""
        some = select(col(DeliveryRecord.endpoint_id)).where(IS_PENDING).limit(_COUNTED).subquery()
        async with self._database.session() as session:
            return (await session.exec(select(func.count()).select_from(some))).one()


_LOAD = (
    sqlalchemy.select(
        col(DeliveryRecord.id),
        EventRecord,
        EndpointRecord,
        col(ConnectionRecord.external_id),
        col(ConnectionRecord.customer_id),
    )
    .join(EventRecord, col(EventRecord.id) == DeliveryRecord.event_id)
    .join(EndpointRecord, col(EndpointRecord.id) == DeliveryRecord.endpoint_id)
    .join(
        ConnectionRecord,
        and_(
            col(ConnectionRecord.tenant_id) == EventRecord.tenant_id,
            col(ConnectionRecord.id) == EventRecord.connection_id,
        ),
        isouter=True,
    )
    .order_by(col(EventRecord.position))
)


def _is_enabled(endpoint_id: Any) -> Any:
    return (
        select(EndpointRecord.id)
        .where(EndpointRecord.id == endpoint_id, EndpointRecord.status == EndpointStatus.ENABLED)
        .exists()
    )


_DUE = (
    select(DeliveryRecord.id)
    .where(
        IS_PENDING,
        col(DeliveryRecord.endpoint_id) == bindparam("of_endpoint"),
        col(DeliveryRecord.next_at) <= bindparam("clock"),
        _is_enabled(bindparam("of_endpoint")),
    )
    .order_by(col(DeliveryRecord.next_at))
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)  # past what others are claiming
    .cte("due")  # computed once, which a database does not promise of a subquery
)
_CLAIM = (
    update(DeliveryRecord)
    .where(col(DeliveryRecord.id).in_(select(_DUE.c.id)))
    .values(attempts=DeliveryRecord.attempts + 1, next_at=bindparam("until"), lease_until=bindparam("until"))
    .returning(col(DeliveryRecord.id), col(DeliveryRecord.attempts), col(DeliveryRecord.created_at))
)
