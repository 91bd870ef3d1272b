"""Idempotency keys in the database: one row for each write that carried one, with its sealed answer."""

from datetime import datetime

from sqlalchemy import ColumnElement, delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.models import ConnectionRecord, IdempotencyRecord
from service.connections.vault import Sealed
from service.connections.visibility import no_such_connection, visible
from service.db import Database
from service.tenants.caller import Caller, Role


class IdempotencyStore:
    """Claims keys and remembers answers, sealed to :func:`service.connections.vault.bind_answer`.

    Keys must be storable: see :func:`service.connections.visibility.check_text`. What an earlier row means (another
    request, still running, unknown outcome) is the proxy's to say.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, caller: Caller, connection_id: str, key: str, *, request_hash: str, forgotten: datetime
    ) -> IdempotencyRecord | None:
        """Claim a key for a write that now begins: None. Or the row of the write that claimed it since ``forgotten``.

        Of several claims at the same time one gets None. Raises :class:`NotFound`, :class:`Forbidden`.
        """
        caller.require(Role.WRITE)

        async def work(session: AsyncSession) -> IdempotencyRecord | None:
            # The connection's row is locked, so that claims of one connection come one after the other.
            locked = select(ConnectionRecord).where(*visible(caller), col(ConnectionRecord.id) == connection_id)
            if (await session.exec(locked.with_for_update())).first() is None:
                raise no_such_connection()
            found = await session.get(IdempotencyRecord, (caller.tenant_id, connection_id, key))
            if found is not None and found.started_at > forgotten:
                return found
            if found is not None:
                await session.delete(found)
                await session.flush()
            session.add(
                IdempotencyRecord(
                    tenant_id=caller.tenant_id,
                    connection_id=connection_id,
                    key=key,
                    request_hash=request_hash,
                    started_at=now(),
                )
            )
            return None

        return await self._database.run_transaction(work)

    async def finish(
        self, caller: Caller, connection_id: str, key: str, *, status: int | None, answer: Sealed | None
    ) -> None:
        """Remember the answer of a claimed write: Sentry's HTTP status, None where the outcome is unknown."""

        async def work(session: AsyncSession) -> None:
            await session.exec(
                update(IdempotencyRecord)
                .where(*_row(caller, connection_id, key))
                .values(
                    finished_at=now(),
                    status=status,
                    key_id=answer.key_id if answer else None,
                    answer=answer.data if answer else None,
                )
            )

        await self._database.run_transaction(work)

    async def release(self, caller: Caller, connection_id: str, key: str) -> None:
        """Give a claimed key back: its write is known not to have happened, and may be tried again."""

        async def work(session: AsyncSession) -> None:
            await session.exec(delete(IdempotencyRecord).where(*_row(caller, connection_id, key)))

        await self._database.run_transaction(work)

    async def delete_older(self, moment: datetime) -> int:
        """Delete every tenant's rows from before ``moment``. Returns how many."""

        async def work(session: AsyncSession) -> int:
            result = await session.exec(delete(IdempotencyRecord).where(col(IdempotencyRecord.started_at) < moment))
            return result.rowcount

        return await self._database.run_transaction(work)


def _row(caller: Caller, connection_id: str, key: str) -> list[ColumnElement[bool]]:
    return [
        col(IdempotencyRecord.tenant_id) == caller.tenant_id,
        col(IdempotencyRecord.connection_id) == connection_id,
        col(IdempotencyRecord.connection_id).in_(select(ConnectionRecord.id).where(*visible(caller))),
        col(IdempotencyRecord.key) == key,
    ]
