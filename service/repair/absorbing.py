"""What the log of events has told of issues, kept as snapshots: read on from where the last look has read up to."""

import msgspec
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.repair_models import RepairRecord
from service.events.models import EventCounterRecord, EventRecord
from service.repair.rules import ISSUE_TYPES, Known, read_state, tell
from service.repair.snapshots import read_snapshots
from service.sentry.issues import Issue
from service.sentry.payloads import Payload

_AT_ONCE = 200


class _Data(Payload, frozen=True):
    issue: Issue


class _Body(Payload, frozen=True):
    data: _Data


_BODY = msgspec.json.Decoder(_Body)


async def read_last_position(session: AsyncSession, tenant_id: str) -> int:
    """The position of a tenant's newest event. Everything up to it is committed, and can be read."""
    return (
        await session.scalar(
            select(EventCounterRecord.last).where(
                EventCounterRecord.tenant_id == tenant_id, EventCounterRecord.connection_id == ""
            )
        )
        or 0
    )


async def absorb(session: AsyncSession, repair: RepairRecord) -> bool:
    """Take what events told since ``repair.position`` into the snapshots, a few hundred at most; whether more is left.

    Events of repairs are read again with the others, since the order in which they were told decides.
    """
    last = await read_last_position(session, repair.tenant_id)
    mine = (
        EventRecord.tenant_id == repair.tenant_id,
        EventRecord.connection_id == repair.connection_id,
        col(EventRecord.position) > repair.position,
    )
    statement = (
        select(EventRecord)
        .where(
            *mine,
            col(EventRecord.position) <= last,
            col(EventRecord.type).in_(ISSUE_TYPES),
            col(EventRecord.issue_id).is_not(None),
        )
        .order_by(col(EventRecord.position))
        .limit(_AT_ONCE)
    )
    events = list(await session.exec(statement))
    is_more = len(events) == _AT_ONCE
    until = events[-1].position if is_more else last
    snapshots = await read_snapshots(session, repair, {event.issue_id or "" for event in events})
    for event in events:
        issue_id = event.issue_id or ""
        issue = _read_issue(event.body)
        known = snapshots.recall(issue_id) or Known(None)
        told = tell(known.told, event.type, None if issue is None else read_state(issue))
        if told is not None:
            seen = (issue and issue.ended) or event.created_at
            snapshots.keep(issue_id, Known(told, known.differs_since), seen)
    webhook = (
        select(EventRecord.created_at)
        .where(*mine, col(EventRecord.position) <= until, *is_webhook())
        .order_by(col(EventRecord.position).desc())
        .limit(1)
    )
    repair.heard_at = (await session.exec(webhook)).first() or repair.heard_at
    repair.position = until
    return is_more


def is_webhook() -> list[ColumnElement[bool]]:
    """The conditions of events that came from Sentry by themselves: not our own, and not by a repair."""
    return [col(EventRecord.is_synthetic).is_(False), col(EventRecord.body).is_not(None)]


def _read_issue(body: bytes | None) -> Issue | None:
    try:
        return None if body is None else _BODY.decode(body).data.issue
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
