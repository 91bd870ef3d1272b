"""The audit log: what happened, for whoever has to answer for it.

Entries are written inside the transaction of the change that they tell of, so that neither is there without the other.
Details hold words, ids and numbers, never a secret.
"""

import contextlib
import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Index, delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import json_column, now, utc_column, word_column
from service.db import Database
from service.ids import new_id


class Outcome(enum.StrEnum):
    """How an audited action ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class AuditRecord(SQLModel, table=True):
    """Who did what, when, and how it ended. ``action`` is a dotted word such as ``connection.link``."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "tenant_id", "id"), Index(None, "tenant_id", "connection_id"))

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    connection_id: str | None = Field(default=None, max_length=64)
    actor: str = Field(max_length=200)
    action: str = Field(max_length=64)
    outcome: Outcome = Field(sa_column=word_column(Outcome, length=16))
    details: dict[str, Any] = Field(sa_column=json_column(nullable=False))
    created_at: datetime = Field(sa_column=utc_column(nullable=False))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the audit log to list; all conditions hold together."""

    connection_id: str | None = None
    action: str | None = None
    outcome: Outcome | None = None


def note_audit(
    session: AsyncSession,
    action: str,
    tenant_id: str,
    *,
    actor: str,
    connection_id: str | None = None,
    outcome: Outcome = Outcome.SUCCEEDED,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry of the audit log to the transaction; what is None in ``details`` is left out."""
    session.add(
        AuditRecord(
            id=new_id("aud"),
            tenant_id=tenant_id,
            connection_id=connection_id,
            actor=actor[:200],
            action=action,
            outcome=outcome,
            details={name: value for name, value in (details or {}).items() if value is not None},
            created_at=now(),
        )
    )


class Journal:
    """Reads and writes the audit log of a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def audit(
        self, action: str, tenant_id: str, *, actor: str, outcome: Outcome = Outcome.SUCCEEDED, **details: Any
    ) -> None:
        """Write an entry by itself, for what changes no row of its own: a refused attempt, say.

        There is none of a tenant that does not exist.
        """

        async def work(session: AsyncSession) -> None:
            note_audit(session, action, tenant_id, actor=actor, outcome=outcome, details=details)

        with contextlib.suppress(IntegrityError):
            await self._database.run_transaction(work)

    async def purge(self, days: int) -> None:
        """Forget entries of the audit log that are older."""

        async def work(session: AsyncSession) -> None:
            until = now() - timedelta(days=days)
            await session.exec(delete(AuditRecord).where(col(AuditRecord.created_at) < until))

        await self._database.run_transaction(work)

    async def page_audit(
        self,
        tenant_id: str,
        wanted: AuditFilter = AuditFilter(),
        *,
        limit: int,
        seen: Collection[str] | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> list[AuditRecord]:
        """At most ``limit`` entries, the newest first. ``after`` and ``before`` are ids, exclusive, in that order.

        ``seen`` are the ids of the only connections whose entries are listed; None lists all, also those of none.
        """
        conditions = [col(AuditRecord.tenant_id) == tenant_id]
        if seen is not None:
            conditions.append(col(AuditRecord.connection_id).in_(sorted(seen)))
        if wanted.connection_id is not None:
            conditions.append(col(AuditRecord.connection_id) == wanted.connection_id)
        if wanted.action is not None:
            conditions.append(col(AuditRecord.action) == wanted.action)
        if wanted.outcome is not None:
            conditions.append(col(AuditRecord.outcome) == wanted.outcome)
        if after is not None:
            conditions.append(col(AuditRecord.id) < after)
        if before is not None:
            conditions.append(col(AuditRecord.id) > before)
        is_backward = before is not None and after is None
        order = col(AuditRecord.id).asc() if is_backward else col(AuditRecord.id).desc()
        async with self._database.session() as session:
            found = list(await session.exec(select(AuditRecord).where(*conditions).order_by(order).limit(limit)))
        return found[::-1] if is_backward else found
