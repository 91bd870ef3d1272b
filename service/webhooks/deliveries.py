"""The deliveries of an endpoint as its tenant sees them: listed with their attempts, and made once more.

A replay is a delivery of its own, of the same event: receivers know it by the same ``webhook-id``.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.announcements import announce
from service.connections.visibility import storable
from service.db import Database
from service.errors import BadInput, NotFound
from service.events.append import DELIVERIES, filter_of, may_have, plan_delivery
from service.events.models import (
    IS_DEAD,
    IS_PENDING,
    AttemptRecord,
    DeliveryRecord,
    DeliveryStatus,
    EndpointPayload,
    EndpointRecord,
    EventRecord,
)
from service.events.store import build_conditions
from service.events.types import EventType
from service.tenants.caller import Caller
from service.webhooks.endpoints import Endpoints, find_endpoint, is_visible, note_endpoint, require_enabled

MOST_REPLAYED = 10_000
"""Deliveries that one call makes again."""

_AT_ONCE = 200
_PAUSE_SECONDS = 0.05  # in which others write: SQLite has one writer at a time, and webhooks do not wait long


@dataclass(frozen=True, slots=True)
class EventRange:
    """Which events to deliver again: after one up to another, both by id, since a time, before another."""

    after: str | None = None
    up_to: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """How many deliveries were made, up to which event; ``has_more`` where another call has to go on."""

    count: int
    last_event_id: str | None
    has_more: bool


class Deliveries:
    """Lists and repeats deliveries for a caller: all of it needs the role ``admin``, as endpoints do.

    ``most`` is about how many deliveries one call repeats.
    """

    def __init__(self, database: Database, endpoints: Endpoints, *, most: int = MOST_REPLAYED) -> None:
        self._database = database
        self._endpoints = endpoints
        self._most = most

    async def page(
        self,
        endpoint: EndpointRecord,
        status: DeliveryStatus | None = None,
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        is_narrowed: bool = False,
    ) -> list[DeliveryRecord]:
        """At most ``limit`` deliveries of an endpoint that the caller was shown, the newest first.

        ``after`` and ``before`` are ids, exclusive, in that order. A narrowed caller is shown those that the endpoint
        may have now: once it may have been for other connections, too.
        """
        conditions = [col(DeliveryRecord.endpoint_id) == endpoint.id]
        if is_narrowed:
            conditions += _is_of_limits(endpoint)
        if status is not None:
            conditions.append(_status_is(status))
        if after is not None:
            conditions.append(col(DeliveryRecord.id) < after)
        if before is not None:
            conditions.append(col(DeliveryRecord.id) > before)
        is_backward = before is not None and after is None
        order = col(DeliveryRecord.id).asc() if is_backward else col(DeliveryRecord.id).desc()
        async with self._database.session() as session:
            found = list(await session.exec(select(DeliveryRecord).where(*conditions).order_by(order).limit(limit)))
        return found[::-1] if is_backward else found

    async def attempts(self, tenant_id: str, delivery_ids: Collection[str]) -> dict[str, list[AttemptRecord]]:
        """The attempts of deliveries, in order, by the delivery's id."""
        statement = (
            select(AttemptRecord)
            .where(AttemptRecord.tenant_id == tenant_id, col(AttemptRecord.delivery_id).in_(delivery_ids))
            .order_by(col(AttemptRecord.number))
        )
        found: dict[str, list[AttemptRecord]] = defaultdict(list)
        async with self._database.session() as session:
            for attempt in await session.exec(statement):
                found[attempt.delivery_id].append(attempt)
        return found

    async def replay(self, caller: Caller, delivery_id: str) -> DeliveryRecord:
        """Make a delivery again, whatever became of it; one that is waiting for its next attempt is due at once.

        The new delivery, or the one that is due. Raises :class:`NotFound`, for foreign ones alike, and
        :class:`Conflict` where the endpoint is disabled.
        """
        seen = await self._endpoints.find_seen(caller)

        async def work(session: AsyncSession) -> DeliveryRecord:
            statement = (
                select(DeliveryRecord, EndpointRecord, EventRecord)
                .join(EndpointRecord, col(EndpointRecord.id) == DeliveryRecord.endpoint_id)
                .join(EventRecord, col(EventRecord.id) == DeliveryRecord.event_id)
                .where(
                    DeliveryRecord.tenant_id == caller.tenant_id, col(DeliveryRecord.id).in_(storable([delivery_id]))
                )
                .with_for_update(of=DeliveryRecord)
            )
            found = (await session.exec(statement)).first()
            if found is None or not is_visible(found[1], seen) or (caller.is_narrowed and not may_have(*found[1:])):
                raise NotFound("There is no such webhook delivery.")
            delivery, endpoint, _ = found
            require_enabled(endpoint)
            clock = await self._database.read_clock(session)
            note_endpoint(session, "webhook_delivery.replay", endpoint, caller, deliveryId=delivery.id)
            if delivery.status is DeliveryStatus.PENDING:
                if delivery.lease_until is None:  # otherwise it is being sent
                    delivery.next_at = clock
                    announce(session, DELIVERIES)
                return delivery
            if delivery.status is DeliveryStatus.DEAD:
                delivery.status = DeliveryStatus.REPLAYED
            [again] = _plan(session, endpoint, [_Again(delivery.event_id, replay_of=delivery.id)], clock)
            return again

        return await self._database.run_transaction(work)

    async def replay_dead(self, caller: Caller, endpoint_id: str) -> Replay:
        """Make all deliveries of an endpoint again that were given up and it may have, the oldest first.

        Raises as :meth:`replay`.
        """

        async def find(session: AsyncSession, endpoint: EndpointRecord, _: str | None) -> list[_Again]:
            statement = (
                select(DeliveryRecord.id, DeliveryRecord.event_id)
                .where(IS_DEAD, DeliveryRecord.endpoint_id == endpoint.id, *_is_of_limits(endpoint))
                .order_by(col(DeliveryRecord.id))
                .limit(_AT_ONCE)
                .with_for_update(skip_locked=True)
            )
            found = [_Again(event_id, replay_of=delivery_id) for delivery_id, event_id in await session.exec(statement)]
            await session.exec(
                update(DeliveryRecord)
                .where(col(DeliveryRecord.id).in_([each.replay_of for each in found]))
                .values(status=DeliveryStatus.REPLAYED)
            )
            return found

        return await self._replay_many(caller, endpoint_id, "webhook_delivery.replay_dead", find)

    async def replay_events(self, caller: Caller, endpoint_id: str, wanted: EventRange) -> Replay:
        """Deliver those events of the log to an endpoint that it wants now, whether they were delivered before or not.

        Raises :class:`NotFound`, also for an event that the range names; :class:`BadInput` for a range without a
        beginning; :class:`Conflict`.
        """
        if wanted.after is None and wanted.since is None:
            raise BadInput("A replay needs a beginning.", cure="Give `afterEventId` or `since`.")
        await self._check_events(caller, [each for each in (wanted.after, wanted.up_to) if each is not None])

        async def find(session: AsyncSession, endpoint: EndpointRecord, last: str | None) -> list[_Again]:
            statement = (
                select(EventRecord.id)
                .where(*_wanted_events(endpoint, wanted, after=last or wanted.after))
                .order_by(col(EventRecord.position))
                .limit(_AT_ONCE)
            )
            return [_Again(event_id) for event_id in await session.exec(statement)]

        return await self._replay_many(caller, endpoint_id, "webhook_delivery.replay_events", find)

    async def _replay_many(
        self,
        caller: Caller,
        endpoint_id: str,
        action: str,
        find: "Callable[[AsyncSession, EndpointRecord, str | None], Awaitable[list[_Again]]]",
    ) -> Replay:
        """Batch after batch, each a transaction; ``find`` is told the last event of the batch before."""
        seen = await self._endpoints.find_seen(caller)
        count, last = 0, None

        async def work(session: AsyncSession) -> list[_Again]:
            endpoint = await find_endpoint(session, caller, endpoint_id, seen)
            require_enabled(endpoint)
            found = await find(session, endpoint, last)
            _plan(session, endpoint, found, await self._database.read_clock(session))
            if last is None:
                note_endpoint(session, action, endpoint, caller)
            return found

        while True:
            found = await self._database.run_transaction(work)
            count += len(found)
            last = found[-1].event_id if found else last
            has_more = len(found) == _AT_ONCE
            if not has_more or count >= self._most:
                return Replay(count, last, has_more)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _check_events(self, caller: Caller, ids: Collection[str]) -> None:
        seen = await self._endpoints.find_seen(caller)
        statement = select(func.count()).where(
            EventRecord.tenant_id == caller.tenant_id,
            col(EventRecord.id).in_(storable(ids)),
            *([] if seen is None else [col(EventRecord.connection_id).in_(seen)]),
        )
        async with self._database.session() as session:
            if (await session.exec(statement)).one() < len(set(ids)):
                raise NotFound("There is no such event.")


@dataclass(frozen=True, slots=True)
class _Again:
    event_id: str
    replay_of: str | None = None


def _plan(
    session: AsyncSession, endpoint: EndpointRecord, found: Sequence[_Again], clock: datetime
) -> list[DeliveryRecord]:
    """New deliveries, due now."""
    again = [plan_delivery(endpoint, each.event_id, clock, replay_of=each.replay_of) for each in found]
    session.add_all(again)
    announce(session, DELIVERIES)
    return again


def _wanted_events(endpoint: EndpointRecord, wanted: EventRange, *, after: str | None) -> list[ColumnElement[bool]]:
    conditions = [
        col(EventRecord.tenant_id) == endpoint.tenant_id,
        col(EventRecord.type) != EventType.ENDPOINT_TEST,
        *build_conditions(filter_of(endpoint)),
    ]
    if endpoint.payload is EndpointPayload.SENTRY:
        conditions.append(col(EventRecord.body).is_not(None))
    if after is not None:
        conditions.append(col(EventRecord.position) > _position_of(after))
    if wanted.up_to is not None:
        conditions.append(col(EventRecord.position) <= _position_of(wanted.up_to))
    if wanted.since is not None:
        conditions.append(col(EventRecord.created_at) >= wanted.since)
    if wanted.until is not None:
        conditions.append(col(EventRecord.created_at) < wanted.until)
    return conditions


def _is_of_limits(endpoint: EndpointRecord) -> list[ColumnElement[bool]]:
    """The conditions of deliveries that :func:`may_have` lets through."""
    if endpoint.connection_ids is None:
        return []
    is_its = or_(
        col(EventRecord.connection_id).in_(endpoint.connection_ids), col(EventRecord.type) == EventType.ENDPOINT_TEST
    )
    return [select(EventRecord.id).where(EventRecord.id == DeliveryRecord.event_id, is_its).exists()]


def _position_of(event_id: str) -> ScalarSelect[int]:
    other = aliased(EventRecord)
    return select(other.position).where(other.id == event_id).scalar_subquery()


def _status_is(status: DeliveryStatus) -> ColumnElement[bool]:
    """The condition, in the words of the index where there is one."""
    literal = {DeliveryStatus.PENDING: IS_PENDING, DeliveryStatus.DEAD: IS_DEAD}.get(status)
    return col(DeliveryRecord.status) == status if literal is None else and_(literal)
