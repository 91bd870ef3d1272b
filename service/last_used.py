"""``last_used_at`` of API keys and connections: noted in memory, written in batches, never a commit per read."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import structlog
from sqlalchemy import bindparam, or_, update
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.errors import StorageUnavailable
from service.tasks import repeating

_log = structlog.get_logger(__name__)


class LastUsed:
    """Notes uses and writes them every ``seconds``. What a crash loses is a few seconds of them."""

    def __init__(self, database: Database, *, seconds: float = 5.0) -> None:
        self._database = database
        self._seconds = seconds
        self._noted: dict[type[SQLModel], dict[str, datetime]] = {}

    def note(self, table: type[SQLModel], row_id: str) -> None:
        """Note that the row was used now. ``table`` has the columns ``id`` and ``last_used_at``."""
        self._noted.setdefault(table, {})[row_id] = now()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while the block runs, and what is left at its end."""
        try:
            async with repeating(self.flush, self._seconds):
                yield
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted; keep it for the next time where the database is down."""
        noted, self._noted = self._noted, {}
        for table, rows in noted.items():
            try:
                await self._write(table, rows)
            except StorageUnavailable as error:
                _log.warning("last_used_not_written", table=table.__tablename__, rows=len(rows), error=error.message)
                self._noted[table] = rows | self._noted.get(table, {})

    async def _write(self, table: type[SQLModel], rows: dict[str, datetime]) -> None:
        columns = SQLModel.metadata.tables[str(table.__tablename__)].c
        statement = (
            update(columns.id.table)
            .where(
                columns.id == bindparam("row_id"),
                or_(columns.last_used_at.is_(None), columns.last_used_at < bindparam("used_at")),
            )
            .values(last_used_at=bindparam("used_at"))
        )
        # In order of their ids, so that replicas that write the same rows do not lock each other out.
        values = [{"row_id": row_id, "used_at": used_at} for row_id, used_at in sorted(rows.items())]

        async def work(session: AsyncSession) -> None:
            await (await session.connection()).execute(statement, values)

        await self._database.run_transaction(work)
