"""Adding events to the log, inside the transaction of what they tell of, together with their deliveries."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from service.announcements import announce
from service.db import read_clock
from service.events.filters import EventFilter
from service.events.models import (
    DeliveryRecord,
    DeliveryStatus,
    EndpointPayload,
    EndpointRecord,
    EndpointStatus,
    EventRecord,
)
from service.events.types import EventType
from service.ids import new_id

REPEATS_WITHIN = timedelta(hours=24)
"""How long a body is remembered, to mark one that comes again."""

DELIVERIES = "deliveries"
"""The topic that is announced when there is something to deliver."""

_COUNT = (
    "INSERT INTO event_counters (tenant_id, connection_id, last) VALUES {rows} "
    "ON CONFLICT (tenant_id, connection_id) DO UPDATE SET last = event_counters.last + excluded.last "
    "RETURNING tenant_id, connection_id, last"
)


def _select_oldest() -> Select[str, str | None, bytes | None, str]:
    """One row for each body, however often it has come: the oldest event."""
    key = (col(EventRecord.tenant_id), col(EventRecord.connection_id), col(EventRecord.body_hash))
    oldest = (
        select(
            EventRecord.tenant_id,
            # Not as a condition, for which SQLite would read all events of the day by the index of their times.
            func.min(EventRecord.position).filter(col(EventRecord.created_at) > bindparam("since")).label("position"),
        )
        .where(
            col(EventRecord.tenant_id).in_(bindparam("tenants", expanding=True)),
            col(EventRecord.connection_id).in_(bindparam("connections", expanding=True)),
            col(EventRecord.body_hash).in_(bindparam("hashes", expanding=True)),
            col(EventRecord.is_synthetic).is_(False),
        )
        .group_by(*key)
        .subquery()
    )
    is_oldest = and_(oldest.c.tenant_id == EventRecord.tenant_id, oldest.c.position == EventRecord.position)
    return select(*key, col(EventRecord.id)).join(oldest, is_oldest)


# Made once: making them takes longer than they do.
_OLDEST = _select_oldest()
_INSERT = insert(EventRecord)
# Held, as far as that keeps them from being deleted: deliveries refer to them.
_ENDPOINTS = (
    select(EndpointRecord)
    .where(
        col(EndpointRecord.tenant_id).in_(bindparam("tenants", expanding=True)),
        EndpointRecord.status == EndpointStatus.ENABLED,
    )
    .order_by(col(EndpointRecord.id))
    .with_for_update(read=True, key_share=True)
)


def events_topic(tenant_id: str) -> str:
    """The topic that is announced when there are new events of a tenant."""
    return f"events {tenant_id}"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is to be added; see :class:`EventRecord`. Its id is made with it, so that trying again is safe.

    ``endpoint_id`` delivers it to that endpoint alone, whatever endpoints want.
    """

    tenant_id: str
    type: str
    connection_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    issue_id: str | None = None
    project_id: str | None = None
    project_slug: str | None = None
    environment: str | None = None
    level: str | None = None
    is_synthetic: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    endpoint_id: str | None = None
    id: str = field(default_factory=lambda: new_id("evt"))


@dataclass(frozen=True, slots=True)
class AddedEvent:
    """Where an event has come to be; see :class:`EventRecord`."""

    id: str
    tenant_id: str
    position: int
    connection_id: str | None
    sequence: int | None
    repeat_of: str | None
    created_at: datetime


async def append_event(session: AsyncSession, event: NewEvent) -> AddedEvent:
    """Add one event to the transaction: see :func:`append_events`."""
    return (await append_events(session, [event]))[0]


async def append_events(session: AsyncSession, events: Sequence[NewEvent]) -> list[AddedEvent]:
    """Add events and their deliveries to the transaction, and give their places in the log, in order.

    From here to the commit nobody else adds events of the same tenants, so do it last. The transaction must be one of
    :meth:`service.db.Database.run_transaction`, which announces them.
    """
    if not events:
        return []
    connection = await session.connection()
    places = await _count(connection, events)
    clock = await read_clock(session)  # after the counting, which waits for others: times are in the order of positions
    hashes = [_hash(event) for event in events]
    repeats = await _find_repeats(connection, events, hashes, clock)
    added = [
        AddedEvent(event.id, event.tenant_id, position, event.connection_id, sequence, repeat_of, clock)
        for event, (position, sequence), repeat_of in zip(events, places, repeats, strict=True)
    ]
    deliveries = await _plan_deliveries(connection, events, clock)
    rows = [_build_row(*each) for each in zip(events, added, hashes, strict=True)]
    await connection.execute(_INSERT, rows)
    session.add_all(deliveries)
    for tenant_id in {event.tenant_id for event in events}:
        announce(session, events_topic(tenant_id))
    if deliveries:
        announce(session, DELIVERIES)
    return added


def plan_delivery(
    endpoint: EndpointRecord | Row[Any], event_id: str, clock: datetime, *, replay_of: str | None = None
) -> DeliveryRecord:
    """A delivery that is due now."""
    return DeliveryRecord(
        id=new_id("whd"),
        tenant_id=endpoint.tenant_id,
        endpoint_id=endpoint.id,
        event_id=event_id,
        status=DeliveryStatus.PENDING,
        next_at=clock,
        replay_of=replay_of,
        created_at=clock,
    )


async def _count(connection: AsyncConnection, events: Sequence[NewEvent]) -> list[tuple[int, int | None]]:
    """Position and sequence of each, in order. All take the rows in one order, or two could wait in a circle."""
    wanted = Counter((event.tenant_id, "") for event in events)
    wanted.update((event.tenant_id, event.connection_id) for event in events if event.connection_id)
    counted = {
        name: value
        for index, ((tenant_id, connection_id), number) in enumerate(sorted(wanted.items()))
        for name, value in ((f"t{index}", tenant_id), (f"c{index}", connection_id), (f"n{index}", number))
    }
    rows = ", ".join(f"(:t{index}, :c{index}, :n{index})" for index in range(len(wanted)))
    counts = await connection.execute(text(_COUNT.format(rows=rows)), counted)
    following: dict[tuple[str, str], int] = {
        (tenant, connection): last - wanted[tenant, connection] for tenant, connection, last in counts
    }

    def take(tenant_id: str, connection_id: str) -> int:
        following[tenant_id, connection_id] += 1
        return following[tenant_id, connection_id]

    return [
        (take(event.tenant_id, ""), take(event.tenant_id, event.connection_id) if event.connection_id else None)
        for event in events
    ]


def _hash(event: NewEvent) -> bytes | None:
    """What equal bodies have in common. Newer servers tell of an archived issue twice, in the older word as well."""
    if event.body is None:
        return None
    body = event.body
    if event.type == "issue.archived":
        body = body.replace(b'"action":"ignored"', b'"action":"archived"', 1)
    return hashlib.sha256(body).digest()


async def _find_repeats(
    connection: AsyncConnection, events: Sequence[NewEvent], hashes: Sequence[bytes | None], clock: datetime
) -> list[str | None]:
    """The event whose body each repeats, among those stored and those before it."""
    wanted = {
        body_hash for event, body_hash in zip(events, hashes, strict=True) if body_hash and not event.is_synthetic
    }
    if not wanted:
        return [None] * len(events)
    named = {
        "tenants": list({event.tenant_id for event in events}),
        "connections": list({event.connection_id for event in events if event.connection_id}),
        "hashes": list(wanted),
        "since": clock - REPEATS_WITHIN,
    }
    known = {
        (tenant_id, connection_id, found): id_
        for tenant_id, connection_id, found, id_ in await connection.execute(_OLDEST, named)
    }
    repeats: list[str | None] = []
    for event, body_hash in zip(events, hashes, strict=True):
        if body_hash is None or event.is_synthetic:
            repeats.append(None)
            continue
        first = known.setdefault((event.tenant_id, event.connection_id, body_hash), event.id)
        repeats.append(None if first == event.id else first)
    return repeats


def _build_row(event: NewEvent, added: AddedEvent, body_hash: bytes | None) -> dict[str, Any]:
    """The row of an event, for a statement: objects of the session would take longer to make than to store."""
    return {
        "id": event.id,
        "tenant_id": event.tenant_id,
        "position": added.position,
        "connection_id": event.connection_id,
        "sequence": added.sequence,
        "type": event.type,
        "is_synthetic": event.is_synthetic,
        "repeat_of": added.repeat_of,
        "issue_id": event.issue_id,
        "project_id": event.project_id,
        "project_slug": event.project_slug,
        "environment": event.environment,
        "level": event.level,
        "headers": dict(event.headers),
        "data": dict(event.data),
        "body": event.body,
        "body_hash": body_hash,
        "created_at": added.created_at,
    }


async def _plan_deliveries(
    connection: AsyncConnection, events: Sequence[NewEvent], clock: datetime
) -> list[DeliveryRecord]:
    tenants = {"tenants": list({event.tenant_id for event in events})}
    endpoints: dict[str, list[Row[Any]]] = defaultdict(list)
    rows: Iterable[Row[Any]] = await connection.execute(_ENDPOINTS, tenants)
    for endpoint in rows:
        endpoints[endpoint.tenant_id].append(endpoint)
    return [
        plan_delivery(endpoint, event.id, clock)
        for event in events
        for endpoint in endpoints[event.tenant_id]
        if _is_wanted(event, endpoint)
    ]


def _is_wanted(event: NewEvent, endpoint: Row[Any]) -> bool:
    if event.endpoint_id is not None:
        return bool(event.endpoint_id == endpoint.id)
    if endpoint.payload is EndpointPayload.SENTRY and event.body is None:
        return False  # there is no body of Sentry's to pass on
    return filter_of(endpoint).matches(event)


def may_have(endpoint: EndpointRecord, event: EventRecord) -> bool:
    """Whether an endpoint may be sent an event: of the connections that it is limited to, or a test, made for it."""
    limits = endpoint.connection_ids
    return limits is None or event.connection_id in limits or event.type == EventType.ENDPOINT_TEST


def filter_of(endpoint: EndpointRecord | Row[Any]) -> EventFilter:
    """Which events an endpoint wants, given its record or a row of its columns."""
    return EventFilter(
        connection_ids=endpoint.connection_ids,
        types=endpoint.types,
        projects=endpoint.projects,
        environments=endpoint.environments,
        levels=endpoint.levels,
    )
