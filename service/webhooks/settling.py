"""What came of attempts to deliver, written down: the log, when a delivery is tried again, and endpoints that fail."""

import enum
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import bindparam, insert, select, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.events.append import NewEvent, append_events
from service.events.models import (
    IS_PENDING,
    AttemptRecord,
    DeliveryRecord,
    DeliveryStatus,
    EndpointRecord,
    EndpointStatus,
)
from service.events.types import EventType
from service.group_commit import GroupCommit
from service.journal import note_audit
from service.webhooks.answers import GONE, OURS, Answer, Problem
from service.webhooks.claiming import Claim
from service.webhooks.schedule import has_failed_too_long, plan_attempt

_log = structlog.get_logger(__name__)

_EVERY = 0.05  # seconds: what ends within such a span is written down together

ACTOR = "service"
"""Who the audit log says disabled an endpoint."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim and what came of it, after so many ``milliseconds``."""

    claim: Claim
    answer: Answer
    milliseconds: int

    @property
    def ended_at(self) -> datetime:
        """When it ended, on the database's clock."""
        return self.claim.clock + timedelta(milliseconds=self.milliseconds)


class Fate(enum.StrEnum):
    """What became of an attempt. ``failed`` is tried again, ``dead`` is given up.

    ``lost`` came too late to be written down: somebody else has made another attempt, or the endpoint is gone.
    """

    DELIVERED = "delivered"
    FAILED = "failed"
    DEAD = "dead"
    LOST = "lost"


class Settler:
    """Writes down what came of attempts: many together, as one transaction."""

    def __init__(self, database: Database) -> None:
        self._writing: GroupCommit[Attempt, Fate] = GroupCommit(database, _settle, every=_EVERY)

    async def settle(self, attempt: Attempt) -> Fate:
        """Write an attempt down, and return once that is stored. Raises :class:`StorageUnavailable`.

        An endpoint that wants no more, or has failed for too long, is disabled, with an event.
        """
        return await self._writing.write(attempt)

    async def drain(self) -> None:
        """Wait until what is being written is stored, or cannot be."""
        await self._writing.drain()


_SETTLE = (
    update(DeliveryRecord)
    .where(col(DeliveryRecord.id) == bindparam("delivery_id"))
    .values(status=bindparam("fate"), next_at=bindparam("next"), lease_until=None, finished_at=bindparam("finished"))
)
_STATUSES = {
    Fate.DELIVERED: DeliveryStatus.DELIVERED,
    Fate.FAILED: DeliveryStatus.PENDING,
    Fate.DEAD: DeliveryStatus.DEAD,
}


async def _settle(session: AsyncSession, attempts: Sequence[Attempt]) -> list[Fate]:
    held = await _lock(session, attempts)
    fates: list[Fate] = []
    rows, log, mine = [], [], []
    for attempt in attempts:
        claim = attempt.claim
        if claim.delivery_id not in held or held[claim.delivery_id].attempts != claim.attempt:
            fates.append(Fate.LOST)
            continue
        fate, wait = _judge(attempt)
        fates.append(fate)
        mine.append(attempt)
        rows.append(
            {
                "delivery_id": claim.delivery_id,
                "fate": _STATUSES[fate],
                "next": None if wait is None else attempt.ended_at + wait,
                "finished": attempt.ended_at if wait is None else None,
            }
        )
        log.append(_describe(attempt))
    if mine:
        connection = await session.connection()
        await connection.execute(_SETTLE, rows)
        await connection.execute(insert(AttemptRecord), log)
        await _judge_endpoints(session, mine, {held[attempt.claim.delivery_id].standing for attempt in mine})
    return fates


def _judge(attempt: Attempt) -> tuple[Fate, timedelta | None]:
    """What becomes of the delivery, and after how long it is tried again; None where it is over."""
    answer = attempt.answer
    if answer.is_success:
        return Fate.DELIVERED, None
    if answer.status == GONE or answer.problem is Problem.OTHER_CONNECTION:
        return Fate.DEAD, None
    if answer.problem is Problem.INTERRUPTED:
        return Fate.FAILED, timedelta()
    wait = plan_attempt(attempt.claim.attempt, answer.asked, random.random())  # noqa: S311 - jitter
    return (Fate.DEAD if wait is None else Fate.FAILED), wait


def _describe(attempt: Attempt) -> dict[str, Any]:
    claim, answer = attempt.claim, attempt.answer
    return {
        "delivery_id": claim.delivery_id,
        "number": claim.attempt,
        "tenant_id": claim.event.tenant_id,
        "started_at": claim.clock,
        "milliseconds": attempt.milliseconds,
        "status": answer.status,
        "error": answer.problem,
        "answer": answer.text,
    }


@dataclass(frozen=True, slots=True)
class _Standing:
    """How an endpoint stands: since when it fails, and why it failed last."""

    endpoint_id: str
    failing_since: datetime | None
    problem: str | None

    def after(self, attempt: Attempt) -> "_Standing":
        """After one more attempt."""
        answer = attempt.answer
        if answer.is_success:
            return replace(self, failing_since=None, problem=None)
        if answer.problem in OURS:
            return self
        return replace(self, failing_since=self.failing_since or attempt.ended_at, problem=answer.word)


@dataclass(frozen=True, slots=True)
class _Held:
    """A delivery that is claimed still, with the number of the attempt."""

    attempts: int
    standing: _Standing


async def _lock(session: AsyncSession, attempts: Sequence[Attempt]) -> dict[str, _Held]:
    """The deliveries that are claimed still, by id."""
    statement = (
        select(
            col(DeliveryRecord.id),
            col(DeliveryRecord.attempts),
            col(EndpointRecord.id),
            col(EndpointRecord.failing_since),
            col(EndpointRecord.problem),
        )
        .join(EndpointRecord, col(EndpointRecord.id) == DeliveryRecord.endpoint_id)
        .where(
            IS_PENDING,
            col(DeliveryRecord.id).in_({attempt.claim.delivery_id for attempt in attempts}),
            col(DeliveryRecord.lease_until).is_not(None),
        )
        .order_by(col(DeliveryRecord.id))
        .with_for_update(of=DeliveryRecord)
    )
    found = await (await session.connection()).execute(statement)
    return {
        delivery_id: _Held(number, _Standing(endpoint_id, failing_since, problem))
        for delivery_id, number, endpoint_id, failing_since, problem in found
    }


async def _judge_endpoints(session: AsyncSession, attempts: Sequence[Attempt], before: Iterable[_Standing]) -> None:
    """Note since when endpoints fail, where that changes, and disable those that are to be."""
    known = {standing.endpoint_id: standing for standing in before}
    after = dict(known)
    reasons: dict[str, str] = {}
    for attempt in attempts:
        endpoint_id = attempt.claim.endpoint.id
        after[endpoint_id] = after[endpoint_id].after(attempt)
        if attempt.answer.status == GONE:
            reasons[endpoint_id] = "gone"
        elif has_failed_too_long(after[endpoint_id].failing_since, attempt.ended_at):
            reasons[endpoint_id] = "failing"
    events = []
    for endpoint_id in sorted(known):
        if after[endpoint_id] == known[endpoint_id] and endpoint_id not in reasons:
            continue
        endpoint = await session.get_one(EndpointRecord, endpoint_id)
        endpoint.failing_since, endpoint.problem = after[endpoint_id].failing_since, after[endpoint_id].problem
        if endpoint_id in reasons:
            events.append(await _disable(session, endpoint, reasons[endpoint_id]))
    await append_events(session, [event for event in events if event is not None])


async def _disable(session: AsyncSession, endpoint: EndpointRecord, reason: str) -> NewEvent | None:
    """Disable an endpoint; the event that tells of it, None where it is disabled already."""
    changed = await session.exec(
        update(EndpointRecord)
        .where(col(EndpointRecord.id) == endpoint.id, col(EndpointRecord.status) == EndpointStatus.ENABLED)
        .values(status=EndpointStatus.DISABLED, disabled_reason=reason, updated_at=now())
    )
    if not changed.rowcount:
        return None
    _log.warning("webhook_endpoint_disabled", tenant_id=endpoint.tenant_id, endpoint_id=endpoint.id, reason=reason)
    said = {"endpointId": endpoint.id, "name": endpoint.name, "reason": reason, "problem": endpoint.problem}
    note_audit(session, "webhook_endpoint.disable", endpoint.tenant_id, actor=ACTOR, details=said)
    return NewEvent(endpoint.tenant_id, EventType.ENDPOINT_DISABLED, data=said)
