"""Installations of Sentry Apps and the connections that were linked by them, whoever's they are.

What is here is asked by the service itself, not by a caller: an installation comes from Sentry, which knows no tenants.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachetools import TTLCache
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from service.columns import now
from service.connections.cache import SECONDS, ConnectionCache
from service.connections.models import (
    ConnectionRecord,
    ConnectionStatus,
    CredentialRecord,
    is_credential_of_connection,
)
from service.connections.store import destroy_credential
from service.db import Database
from service.journal import note_audit
from service.tasks import Coalescer

_SENTRY = "Sentry"
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class InstallationKey:
    """An installation of the app ``client_id``, which is registered with the Sentry at ``control_origin``."""

    control_origin: str
    client_id: str
    installation_id: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The connections that an app linked by an installation: one, as a rule. ``was_linked``: one is unlinked by now."""

    connections: tuple[ConnectionRecord, ...]
    was_linked: bool


StoreFirst = Callable[[AsyncSession, Installed], Awaitable[None]]
"""What else belongs to the transaction that unlinks connections, and comes before."""


class Installations:
    """Finds the connections of installations, and ends those whose app was uninstalled."""

    def __init__(
        self, database: Database, cache: ConnectionCache, *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """``cache`` is the one of the process's :class:`ConnectionStore`."""
        self._database = database
        self._cache = cache
        self._found: TTLCache[InstallationKey, Installed] = TTLCache(_REMEMBERED, SECONDS, timer)
        self._loads: Coalescer[InstallationKey, Installed] = Coalescer()

    async def find(self, key: InstallationKey) -> Installed:
        """Whose an installation is, as it was some seconds ago at most; one that is nobody's is asked for anew."""
        found = self._found.get(key)
        return found if found is not None else await self._loads.run(key, lambda: self._load(key))

    async def unlink(self, key: InstallationKey, first: StoreFirst | None = None) -> list[ConnectionRecord]:
        """Unlink the connections that the app linked by the installation. None where there are none.

        ``first`` belongs to the same transaction, also where there are none. Doing it again changes nothing.
        """

        async def work(session: AsyncSession) -> list[ConnectionRecord]:
            return await unlink_installed(session, key, first)

        found = await self._database.run_transaction(work)
        self._found.pop(key, None)
        for connection in found:
            self._cache.forget(connection)
        return found

    async def _load(self, key: InstallationKey) -> Installed:
        async with self._database.session() as session:
            found = await find_installed(session, key)
        if found.connections:
            self._found[key] = found
        return found


async def find_installed(session: AsyncSession, key: InstallationKey) -> Installed:
    """Whose an installation is."""
    statement = (
        select(ConnectionRecord, CredentialRecord.client_id)
        .join(CredentialRecord, is_credential_of_connection(), isouter=True)
        .where(
            col(ConnectionRecord.installation_id) == key.installation_id,
            col(ConnectionRecord.control_origin) == key.control_origin,
        )
        .order_by(col(ConnectionRecord.id))
    )
    rows = list(await session.exec(statement))
    return Installed(
        connections=tuple(connection for connection, client_id in rows if client_id == key.client_id),
        was_linked=any(connection.status is ConnectionStatus.UNLINKED for connection, _ in rows),
    )


async def unlink_installed(
    session: AsyncSession, key: InstallationKey, first: StoreFirst | None = None
) -> list[ConnectionRecord]:
    """The work of :meth:`Installations.unlink`, within a transaction."""
    statement = (
        select(ConnectionRecord)
        .join(CredentialRecord, is_credential_of_connection())
        .where(
            col(ConnectionRecord.installation_id) == key.installation_id,
            col(ConnectionRecord.control_origin) == key.control_origin,
            col(CredentialRecord.client_id) == key.client_id,
        )
        .order_by(col(ConnectionRecord.id))
    )
    found = list(await session.exec(statement.with_for_update(of=ConnectionRecord)))
    if first is not None:
        await first(session, await find_installed(session, key))
    for connection in found:
        await destroy_credential(session, connection)
        connection.updated_at = now()
        note_audit(
            session,
            "connection.unlink",
            connection.tenant_id,
            actor=_SENTRY,
            connection_id=connection.id,
            details={"externalId": connection.external_id, "installation": key.installation_id},
        )
    return found


def ids_of_app(*, control_origin: str, client_id: str) -> SelectOfScalar[str]:
    """A query of the ids of the connections that an app has linked."""
    return (
        select(ConnectionRecord.id)
        .join(CredentialRecord, is_credential_of_connection())
        .where(col(ConnectionRecord.control_origin) == control_origin, col(CredentialRecord.client_id) == client_id)
    )


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
