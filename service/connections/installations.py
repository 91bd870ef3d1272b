"""Installations of Sentry Apps and the connections that were linked by them, whoever's they are.

What is here is asked by the service itself, not by a caller: an installation comes from Sentry, which knows no tenants.
"""

from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.cache import ConnectionCache
from service.connections.models import (
    ConnectionRecord,
    ConnectionStatus,
    CredentialRecord,
    is_credential_of_connection,
)
from service.connections.store import destroy_credential
from service.db import Database
from service.journal import note_audit

_SENTRY = "Sentry"


class Installations:
    """Ends connections whose app was uninstalled."""

    def __init__(self, database: Database, cache: ConnectionCache) -> None:
        """``cache`` is the one of the process's :class:`ConnectionStore`."""
        self._database = database
        self._cache = cache

    async def unlink(self, *, control_origin: str, client_id: str, installation_id: str) -> list[ConnectionRecord]:
        """Unlink the connections whose credential that app got for that installation. None where there are none.

        Doing it again changes nothing.
        """

        async def work(session: AsyncSession) -> list[ConnectionRecord]:
            statement = (
                select(ConnectionRecord)
                .join(CredentialRecord, is_credential_of_connection())
                .where(
                    col(ConnectionRecord.installation_id) == installation_id,
                    col(ConnectionRecord.control_origin) == control_origin,
                    col(CredentialRecord.client_id) == client_id,
                )
            )
            found = list(await session.exec(statement.with_for_update(of=ConnectionRecord)))
            for connection in found:
                await destroy_credential(session, connection)
                connection.updated_at = now()
                note_audit(
                    session,
                    "connection.unlink",
                    connection.tenant_id,
                    actor=_SENTRY,
                    connection_id=connection.id,
                    details={"externalId": connection.external_id, "installation": installation_id},
                )
            return found

        found = await self._database.run_transaction(work)
        for connection in found:
            self._cache.forget(connection)
        return found


async def is_taken(session: AsyncSession, installation_id: str, connection: ConnectionRecord) -> bool:
    """Whether an installation at the connection's Sentry belongs to another one than this, of whatever tenant."""
    return await _exists(session, connection.control_origin, installation_id, col(ConnectionRecord.id) != connection.id)


async def is_taken_from(
    database: Database, control_origin: str, installation_id: str, *, tenant_id: str, external_id: str | None
) -> bool:
    """The same, before there is a connection: but for the one of that externalId in that tenant."""
    others = (col(ConnectionRecord.tenant_id) != tenant_id) | (col(ConnectionRecord.external_id) != (external_id or ""))
    async with database.session() as session:
        return await _exists(session, control_origin, installation_id, others)


async def _exists(
    session: AsyncSession, control_origin: str, installation_id: str, condition: ColumnElement[bool]
) -> bool:
    """At that Sentry alone: another one may say of any id that it is of an installation there."""
    statement = select(ConnectionRecord.id).where(
        col(ConnectionRecord.installation_id) == installation_id,
        col(ConnectionRecord.control_origin) == control_origin,
        col(ConnectionRecord.status) != ConnectionStatus.UNLINKED,
        condition,
    )
    return (await session.exec(statement.limit(1))).first() is not None
