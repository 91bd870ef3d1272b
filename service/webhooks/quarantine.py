"""Quarantine: webhooks that are genuine and nobody's, kept for a while in case that their connection is linked."""

import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.installations import InstallationKey, Installed, find_installed, unlink_installed
from service.connections.models import ConnectionRecord
from service.connections.receiver_models import QuarantineReason, QuarantineRecord
from service.db import Database, read_clock
from service.errors import StorageUnavailable
from service.events.append import append_events
from service.events.types import build_type
from service.ids import new_id
from service.sentry.hooks import read_app_hook
from service.tasks import repeating
from service.webhooks.sorting import Quarantined, sort_app_hook

KEPT = timedelta(days=7)
"""How long what is in quarantine is shown."""

ADOPTED_WITHIN = timedelta(days=1)
"""How old it may be when its installation is linked, to become an event."""

MOST_OF_SOURCE = 100
"""Of one receiver, or of one installation of an app; the oldest make room."""

MOST_OF_APP = 1000
"""Of all installations of an app together."""

_ADOPT_SECONDS = 10.0
_NOBODYS = (QuarantineReason.UNKNOWN_INSTALLATION, QuarantineReason.UNLINKED)

_log = structlog.get_logger(__name__)


async def add_quarantined(session: AsyncSession, items: Sequence[Quarantined]) -> None:
    """Put webhooks into quarantine, within a transaction, and let the oldest of each source make room."""
    if not items:
        return
    clock = await read_clock(session)
    records = [
        QuarantineRecord(
            id=new_id("whq"),
            tenant_id=None if item.connection is None else item.connection.tenant_id,
            connection_id=None if item.connection is None else item.connection.id,
            receiver_id=item.receiver_id,
            client_id=item.client_id,
            reason=item.reason,
            installation_id=item.hook.installation_id,
            type=build_type(item.hook.resource, item.hook.action),
            headers=item.headers,
            body=item.body,
            created_at=clock,
        )
        for item in items
    ]
    session.add_all(records)
    await session.flush()
    for client_id, installation_id, receiver_id in {(r.client_id, r.installation_id, r.receiver_id) for r in records}:
        if receiver_id is not None:
            await _trim(session, [col(QuarantineRecord.receiver_id) == receiver_id], MOST_OF_SOURCE)
        else:
            of_app = [col(QuarantineRecord.client_id) == client_id]
            of_installation = [*of_app, col(QuarantineRecord.installation_id) == installation_id]
            await _trim(session, of_installation, MOST_OF_SOURCE)
            await _trim(session, of_app, MOST_OF_APP)


async def _trim(session: AsyncSession, conditions: list[ColumnElement[bool]], most: int) -> None:
    newest_first = select(QuarantineRecord.id).where(*conditions).order_by(col(QuarantineRecord.id).desc())
    excess = list(await session.exec(newest_first.offset(most)))
    if excess:
        await session.exec(delete(QuarantineRecord).where(col(QuarantineRecord.id).in_(excess)))


class Quarantine:
    """Shows what is in quarantine, and makes events of it once its installation is linked."""

    def __init__(self, database: Database, clients: Clients, cache: ConnectionCache) -> None:
        """``cache`` is the one of the process's :class:`ConnectionStore`."""
        self._database = database
        self._apps = {app.client_id: app for app in clients.apps}
        self._cache = cache

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Adopt while the block runs."""
        async with repeating(self._sweep, _ADOPT_SECONDS):
            yield

    async def page(
        self,
        tenant_id: str | None,
        *,
        limit: int,
        seen: Collection[str] | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> list[QuarantineRecord]:
        """At most ``limit``, the newest first; those of a tenant, or with None of everybody and nobody.

        ``after`` and ``before`` are ids, exclusive, in that order. ``seen`` are the ids of the only connections whose
        webhooks are shown; None shows all.
        """
        conditions: list[ColumnElement[bool]] = []
        if tenant_id is not None:
            conditions.append(col(QuarantineRecord.tenant_id) == tenant_id)
        if seen is not None:
            conditions.append(col(QuarantineRecord.connection_id).in_(sorted(seen)))
        if after is not None:
            conditions.append(col(QuarantineRecord.id) < after)
        if before is not None:
            conditions.append(col(QuarantineRecord.id) > before)
        is_backward = before is not None and after is None
        order = col(QuarantineRecord.id).asc() if is_backward else col(QuarantineRecord.id).desc()
        statement = select(QuarantineRecord).where(*conditions).order_by(order).limit(limit)
        async with self._database.session() as session:
            found = list(await session.exec(statement))
        return found[::-1] if is_backward else found

    async def adopt(self) -> int:
        """Make events of what came for installations that are linked by now; how many.

        Whatever was linked in the very moment in which a webhook came is found here, too.
        """
        async with self._database.session() as session:
            since = await read_clock(session) - ADOPTED_WITHIN
            places = select(QuarantineRecord.client_id, QuarantineRecord.installation_id)
            waiting = list(await session.exec(places.where(*_waiting(since)).distinct()))
        adopted = 0
        for client_id, installation_id in waiting:
            app = self._apps.get(client_id or "")
            if app is not None and installation_id is not None:
                adopted += await self._adopt(InstallationKey(app.origin.url, app.client_id, installation_id))
        return adopted

    async def purge(self) -> None:
        """Forget what is old."""

        async def work(session: AsyncSession) -> None:
            clock = await read_clock(session)
            await session.exec(delete(QuarantineRecord).where(col(QuarantineRecord.created_at) <= clock - KEPT))

        await self._database.run_transaction(work)

    async def _adopt(self, key: InstallationKey) -> int:
        async def work(session: AsyncSession) -> tuple[int, list[ConnectionRecord]]:
            installed = await find_installed(session, key)
            if not installed.connections:
                return 0, []
            since = await read_clock(session) - ADOPTED_WITHIN
            statement = select(QuarantineRecord).where(*_waiting(since), *_of(key)).order_by(col(QuarantineRecord.id))
            found = list(await session.exec(statement.with_for_update(skip_locked=True)))
            hooks = [(read_app_hook(record.headers, record.body), record) for record in found]

            async def store(session: AsyncSession, installed: Installed) -> None:
                sorted_ = [
                    sort_app_hook(key.client_id, installed, hook, record.headers, record.body) for hook, record in hooks
                ]
                for record in found:
                    await session.delete(record)
                await add_quarantined(session, [item for arrival in sorted_ for item in arrival.quarantined])
                await append_events(session, [event for arrival in sorted_ for event in arrival.events])

            if any(hook.is_uninstalled for hook, _ in hooks):
                return len(found), await unlink_installed(session, key, store)
            await store(session, installed)
            return len(found), []

        adopted, unlinked = await self._database.run_transaction(work)
        for connection in unlinked:
            self._cache.forget(connection)
        if adopted:
            _log.info("webhooks_adopted", installation=key.installation_id, webhooks=adopted)
        return adopted

    async def _sweep(self) -> None:
        try:
            await self.adopt()
        except StorageUnavailable as error:
            _log.warning("webhooks_not_adopted", error=error.message)


def _waiting(since: datetime) -> list[ColumnElement[bool]]:
    """What came since, and may find its connection yet."""
    return [
        col(QuarantineRecord.receiver_id).is_(None),
        col(QuarantineRecord.reason).in_(_NOBODYS),
        col(QuarantineRecord.created_at) > since,
    ]


def _of(key: InstallationKey) -> list[ColumnElement[bool]]:
    return [
        col(QuarantineRecord.client_id) == key.client_id,
        col(QuarantineRecord.installation_id) == key.installation_id,
    ]
