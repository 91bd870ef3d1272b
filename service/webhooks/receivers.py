"""Receivers: addresses of single connections, for internal integrations, service hooks and the legacy plugin."""

from datetime import timedelta

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.models import ConnectionRecord
from service.connections.receiver_models import ReceiverKind, ReceiverRecord
from service.connections.vault import Sealed, Vault, bind_receiver_secret
from service.connections.visibility import no_such_connection, storable, visible
from service.db import Database
from service.errors import BadInput, Conflict, NotFound
from service.ids import is_connection_id, new_id
from service.journal import note_audit
from service.tenants.caller import Caller, Role
from service.webhooks.addresses import Addresses
from service.webhooks.finding import ReceiverFinder

MOST = 20
"""Receivers of one connection."""

LONGEST_OVERLAP = timedelta(days=30)
"""How long the secret before is good beside a new one, at most."""

_SHORTEST_SECRET, _LONGEST_SECRET = 16, 200


class Receivers:
    """Makes, lists and changes receivers for a caller; what the caller may not see is not there."""

    def __init__(self, database: Database, vault: Vault, addresses: Addresses, finder: ReceiverFinder) -> None:
        self._database = database
        self._vault = vault
        self._addresses = addresses
        self._finder = finder

    async def create(
        self, caller: Caller, connection_id: str, kind: ReceiverKind, secret: str | None
    ) -> ReceiverRecord:
        """Make a receiver. ``secret`` is what Sentry signs with; the legacy plugin has none.

        Raises :class:`Forbidden`, :class:`NotFound`, :class:`BadInput`, :class:`Conflict`,
        :class:`AddressUnavailable`.
        """
        caller.require(Role.ADMIN)
        self._addresses.check()
        if kind is ReceiverKind.LEGACY_PLUGIN:
            self._check_legacy(secret)
        else:
            secret = _check_secret(secret)

        async def work(session: AsyncSession) -> ReceiverRecord:
            connection = await _get_connection(session, caller, connection_id)
            if await _count(session, connection) >= MOST:
                raise Conflict(f"The connection has {MOST} receivers already.", cure="Delete those that are not used.")
            made = ReceiverRecord(
                id=new_id("whr"),
                tenant_id=connection.tenant_id,
                connection_id=connection.id,
                kind=kind,
                created_at=now(),
            )
            if secret is not None:
                sealed = self._seal(made, secret)
                made.key_id, made.secret = sealed.key_id, sealed.data
            session.add(made)
            _note(session, caller, "webhook_receiver.create", made)
            return made

        return await self._database.run_transaction(work)

    async def list_of(self, caller: Caller, connection_id: str) -> list[ReceiverRecord]:
        """The receivers of a connection, the oldest first. Raises :class:`Forbidden`, :class:`NotFound`."""
        caller.require(Role.ADMIN)
        async with self._database.session() as session:
            connection = await _get_connection(session, caller, connection_id)
            statement = select(ReceiverRecord).where(*_of(connection)).order_by(col(ReceiverRecord.id))
            return list(await session.exec(statement))

    async def rotate_secret(
        self, caller: Caller, receiver_id: str, secret: str, *, overlap: timedelta
    ) -> ReceiverRecord:
        """Take another secret; the one before stays good for ``overlap``, while Sentry may still sign with it.

        Raises :class:`Forbidden`, :class:`NotFound`, :class:`BadInput`.
        """
        caller.require(Role.ADMIN)
        fresh = _check_secret(secret)

        async def work(session: AsyncSession) -> ReceiverRecord:
            found = await _get_receiver(session, caller, receiver_id)
            if found.kind is ReceiverKind.LEGACY_PLUGIN:
                raise BadInput("The legacy plugin signs nothing, so that it has no secret.")
            sealed = self._seal(found, fresh)
            found.previous_key_id, found.previous_secret = found.key_id, found.secret
            found.previous_until = await self._database.read_clock(session) + overlap
            found.key_id, found.secret = sealed.key_id, sealed.data
            _note(session, caller, "webhook_receiver.rotate_secret", found)
            return found

        changed = await self._database.run_transaction(work)
        self._finder.forget(changed.id)
        return changed

    async def delete(self, caller: Caller, receiver_id: str) -> ReceiverRecord:
        """Delete a receiver: what comes to its address is refused. Raises :class:`Forbidden`, :class:`NotFound`."""
        caller.require(Role.ADMIN)

        async def work(session: AsyncSession) -> ReceiverRecord:
            found = await _get_receiver(session, caller, receiver_id)
            await session.delete(found)
            _note(session, caller, "webhook_receiver.delete", found)
            return found

        deleted = await self._database.run_transaction(work)
        self._finder.forget(deleted.id)
        return deleted

    def url(self, receiver: ReceiverRecord) -> str:
        """The address to enter in Sentry. Raises :class:`AddressUnavailable`."""
        return self._addresses.of_receiver(receiver.id)

    def _seal(self, receiver: ReceiverRecord, secret: str) -> Sealed:
        return self._vault.seal(secret.encode(), binding=bind_receiver_secret(receiver))

    def _check_legacy(self, secret: str | None) -> None:
        if not self._finder.legacy:
            raise BadInput(
                "The legacy plugin signs nothing, and the operator does not allow that.",
                cure="Use an internal integration or a service hook, or have SENTRY_GRAPH_LEGACY_WEBHOOKS switched on.",
            )
        if secret is not None:
            raise BadInput("The legacy plugin signs nothing: leave `secret` out.")


def _check_secret(secret: str | None) -> str:
    """The secret without the blanks of a copy. Raises :class:`BadInput`, which does not repeat it."""
    text = (secret or "").strip()
    if not (_SHORTEST_SECRET <= len(text) <= _LONGEST_SECRET and text.isascii() and text.isprintable()):
        raise BadInput(
            f"`secret` must have {_SHORTEST_SECRET} to {_LONGEST_SECRET} printable characters.",
            cure="Copy the integration's Client Secret, or the `secret` that Sentry gave with the service hook, whole.",
        )
    return text


async def _get_connection(session: AsyncSession, caller: Caller, connection_id: str) -> ConnectionRecord:
    statement = select(ConnectionRecord).where(*visible(caller), col(ConnectionRecord.id) == connection_id)
    found = (await session.exec(statement)).first() if is_connection_id(connection_id) else None
    if found is None:
        raise no_such_connection()
    return found


async def _get_receiver(session: AsyncSession, caller: Caller, receiver_id: str) -> ReceiverRecord:
    """A receiver of a connection that the caller sees, locked. Raises :class:`NotFound`, for foreign ones alike."""
    seen = select(ConnectionRecord.id).where(*visible(caller))
    statement = select(ReceiverRecord).where(
        col(ReceiverRecord.tenant_id) == caller.tenant_id,
        col(ReceiverRecord.id).in_(storable([receiver_id])),
        col(ReceiverRecord.connection_id).in_(seen),
    )
    found = (await session.exec(statement.with_for_update())).first()
    if found is None:
        raise NotFound("There is no such webhook receiver.")
    return found


async def _count(session: AsyncSession, connection: ConnectionRecord) -> int:
    return (await session.exec(select(func.count()).select_from(ReceiverRecord).where(*_of(connection)))).one()


def _of(connection: ConnectionRecord) -> list[ColumnElement[bool]]:
    return [
        col(ReceiverRecord.tenant_id) == connection.tenant_id,
        col(ReceiverRecord.connection_id) == connection.id,
    ]


def _note(session: AsyncSession, caller: Caller, action: str, receiver: ReceiverRecord) -> None:
    note_audit(
        session,
        action,
        receiver.tenant_id,
        actor=caller.subject,
        connection_id=receiver.connection_id,
        details={"receiver": receiver.id, "kind": receiver.kind.value},
    )
