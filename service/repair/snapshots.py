"""Snapshots of a connection's issues in the database."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.repair_models import IssueSnapshotRecord, RepairRecord
from service.repair.rules import Known, State

_KEPT = timedelta(days=90)
_STEP = timedelta(days=1)  # how exactly it has to be known when an issue was seen last, to forget it one day


class Snapshots:
    """Some snapshots of one connection, read into a session, which writes what changes."""

    def __init__(self, session: AsyncSession, repair: RepairRecord, found: Collection[IssueSnapshotRecord]) -> None:
        self._session = session
        self._repair = repair
        self._found = {record.issue_id: record for record in found}

    def recall(self, issue_id: str) -> Known | None:
        """What is known of an issue; None where it was never met."""
        record = self._found.get(issue_id)
        if record is None:
            return None
        told = None if record.status is None else State(record.status, record.substatus, record.assignee)
        return Known(told, record.differs_since)

    def keep(self, issue_id: str, known: Known, seen: datetime) -> None:
        """Keep what is known from now on of an issue that was seen last at ``seen``."""
        record = self._found.get(issue_id)
        if record is None:
            record = self._found[issue_id] = IssueSnapshotRecord(
                connection_id=self._repair.connection_id,
                issue_id=issue_id,
                tenant_id=self._repair.tenant_id,
                last_seen=seen,
            )
            self._session.add(record)
        told = known.told
        record.status = None if told is None else told.status
        record.substatus = None if told is None else told.substatus
        record.assignee = None if told is None else told.assignee
        record.differs_since = known.differs_since
        if seen - record.last_seen > _STEP:
            record.last_seen = seen


async def read_snapshots(session: AsyncSession, repair: RepairRecord, issue_ids: Collection[str]) -> Snapshots:
    """The snapshots of these issues, as far as there are any."""
    statement = select(IssueSnapshotRecord).where(
        IssueSnapshotRecord.tenant_id == repair.tenant_id,
        IssueSnapshotRecord.connection_id == repair.connection_id,
        col(IssueSnapshotRecord.issue_id).in_(issue_ids),
    )
    return Snapshots(session, repair, list(await session.exec(statement)) if issue_ids else [])


async def forget_snapshots(session: AsyncSession, repair: RepairRecord, now: datetime) -> None:
    """Forget issues that were seen last so long ago that Sentry has forgotten their events, too."""
    await session.exec(
        delete(IssueSnapshotRecord).where(
            col(IssueSnapshotRecord.tenant_id) == repair.tenant_id,
            col(IssueSnapshotRecord.connection_id) == repair.connection_id,
            col(IssueSnapshotRecord.last_seen) < now - _KEPT,
        )
    )
