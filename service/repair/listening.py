"""Listening for a connection's webhooks: when they stop, and when they come again, an event tells of it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.repair_models import RepairRecord
from service.db import Database
from service.events.append import NewEvent, append_event
from service.events.models import EventRecord
from service.events.types import EventType
from service.repair.absorbing import is_webhook
from service.repair.silence import MISSED_IN_A_ROW, REMEMBERED, SHORTEST, Voice, is_silent


class Listening:
    """Tells how connections' webhooks come, as far as repairs have looked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_many(self, tenant_id: str, connection_ids: Collection[str]) -> dict[str, RepairRecord]:
        """What is known of the webhooks of these connections of a tenant, without those never looked at."""
        statement = select(RepairRecord).where(
            RepairRecord.tenant_id == tenant_id,
            col(RepairRecord.connection_id).in_(connection_ids),
            col(RepairRecord.polled_at).is_not(None),
        )
        async with self._database.session() as session:
            return {record.connection_id: record for record in await session.exec(statement)}


async def find_last_heard(session: AsyncSession, repair: RepairRecord) -> datetime | None:
    """When the last webhook came that is still in the log."""
    voice = await _read_voice(session, repair)
    return voice.moments[-1] if voice.moments else None


async def tell_of_silence(session: AsyncSession, repair: RepairRecord, now: datetime) -> None:
    """Add the event that webhooks have stopped, or come again, once."""
    if repair.heard_at is None:
        return
    about = {"lastReceivedAt": repair.heard_at.isoformat()}
    if repair.silent_since is not None:
        if repair.heard_at > repair.silent_since:
            about["silentSince"] = repair.silent_since.isoformat()
            repair.silent_since = None
            await _add(session, repair, EventType.WEBHOOKS_RESUMED, about)
        return
    listening_since = repair.steady_since or now
    if repair.missed < MISSED_IN_A_ROW and now - max(repair.heard_at, listening_since) <= SHORTEST:
        return  # by far the most common: nothing has to be read
    voice = await _read_voice(session, repair)
    if not is_silent(voice, missed=repair.missed, listening_since=listening_since, now=now):
        return
    repair.silent_since = now
    data = {
        **about,
        "usualSeconds": None if voice.usual is None else round(voice.usual.total_seconds()),
        "repaired": await _count_repaired(session, repair, repair.heard_at),
    }
    await _add(session, repair, EventType.WEBHOOKS_SILENT, data)


async def _add(session: AsyncSession, repair: RepairRecord, type_: EventType, data: Mapping[str, Any]) -> None:
    await append_event(session, NewEvent(repair.tenant_id, type_, repair.connection_id, data))


async def _read_voice(session: AsyncSession, repair: RepairRecord) -> Voice:
    statement = (
        select(EventRecord.created_at, EventRecord.type)
        .where(
            EventRecord.tenant_id == repair.tenant_id, EventRecord.connection_id == repair.connection_id, *is_webhook()
        )
        .order_by(col(EventRecord.position).desc())
        .limit(REMEMBERED)
    )
    heard = list(await session.exec(statement))
    return Voice(
        moments=[moment for moment, _ in reversed(heard)],
        has_told_of_issues=any(type_.startswith("issue.") for _, type_ in heard),
    )


async def _count_repaired(session: AsyncSession, repair: RepairRecord, since: datetime) -> dict[str, int]:
    """How many events of each type were added by repairs since then."""
    statement = (
        select(EventRecord.type, func.count())
        .where(
            EventRecord.tenant_id == repair.tenant_id,
            EventRecord.connection_id == repair.connection_id,
            col(EventRecord.is_synthetic).is_(True),
            col(EventRecord.created_at) > since,
        )
        .group_by(EventRecord.type)
    )
    return dict(sorted(await session.exec(statement)))
