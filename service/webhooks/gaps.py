"""Gaps: since when webhooks are missed because the database is away, and that this is made up for afterwards.

Sentry may not send again what was answered 503, so the connections of whoever sent it are compared with Sentry as soon
as the database is back. A process that ends meanwhile forgets the gap; then the next comparison in turn finds it.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from service.connections.installations import ids_of_app
from service.connections.receiver_models import ReceiverRecord
from service.connections.repairing import repair_soon
from service.db import Database
from service.errors import StorageUnavailable
from service.sentry.installations import SentryApp
from service.tasks import repeating

_TRY_SECONDS = 2.0

_log = structlog.get_logger(__name__)

Source = SentryApp | str
"""Who sent what was missed: an app, or a receiver by its id."""


@dataclass(slots=True)
class _Gap:
    since: float
    missed: int = 0


class Gaps:
    """Remembers gaps in memory, and has them closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gaps: dict[Source, _Gap] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close gaps while the block runs, soon after the database is back."""
        async with repeating(self.close, _TRY_SECONDS):
            yield

    def note(self, source: Source) -> None:
        """Note that a webhook was missed."""
        if source not in self._gaps:
            _log.warning("webhooks_missed", source=_name(source))
        self._gaps.setdefault(source, _Gap(time.monotonic())).missed += 1

    async def close(self) -> None:
        """Let the connections of all gaps be compared with Sentry now; where the database is away, later."""
        if not self._gaps:
            return
        noted = {source: gap.missed for source, gap in self._gaps.items()}

        async def work(session: AsyncSession) -> None:
            for source in noted:
                await repair_soon(session, _connection_ids(source))

        with contextlib.suppress(StorageUnavailable):
            await self._database.run_transaction(work)
            for source, missed in noted.items():
                gap = self._gaps[source]
                if gap.missed == missed:  # else the database was away once more
                    del self._gaps[source]
                    seconds = round(time.monotonic() - gap.since, 1)
                    _log.warning("webhooks_gap_closed", source=_name(source), missed=missed, seconds=seconds)


def _connection_ids(source: Source) -> SelectOfScalar[str]:
    if isinstance(source, SentryApp):
        return ids_of_app(control_origin=source.origin.url, client_id=source.client_id)
    return select(ReceiverRecord.connection_id).where(col(ReceiverRecord.id) == source)


def _name(source: Source) -> str:
    return source.slug if isinstance(source, SentryApp) else source
