"""The receiver that a webhook came to, with its connection and the secrets that may have signed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache
from sqlalchemy import and_
from sqlmodel import col, select

from service.columns import now
from service.connections.cache import SECONDS
from service.connections.models import ConnectionRecord
from service.connections.receiver_models import ReceiverKind, ReceiverRecord
from service.connections.vault import Sealed, Vault, bind_receiver_secret
from service.db import Database
from service.tasks import Coalescer

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Receiving:
    """A receiver and its connection. Never changed."""

    receiver: ReceiverRecord
    connection: ConnectionRecord


class ReceiverFinder:
    """Finds receivers, whoever's they are: Sentry, which asks for them, knows no tenants."""

    def __init__(
        self, database: Database, vault: Vault, *, legacy: bool, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """``legacy``: whether the legacy plugin, which signs nothing, may have receivers."""
        self.legacy = legacy
        self._database = database
        self._vault = vault
        self._found: TTLCache[str, Receiving] = TTLCache(_REMEMBERED, SECONDS, timer)
        self._loads: Coalescer[str, Receiving | None] = Coalescer()

    async def find(self, receiver_id: str) -> Receiving | None:
        """The receiver of an address that was found to be ours, as it was some seconds ago at most.

        None where it is gone, or its kind is not allowed any more.
        """
        found = self._found.get(receiver_id) or await self._loads.run(receiver_id, lambda: self._load(receiver_id))
        if found is None or (found.receiver.kind is ReceiverKind.LEGACY_PLUGIN and not self.legacy):
            return None
        return found

    def forget(self, receiver_id: str) -> None:
        """Forget a receiver that was just changed."""
        self._found.pop(receiver_id, None)

    def secrets(self, receiver: ReceiverRecord) -> tuple[str, ...]:
        """The secrets that may have signed. Raises :class:`SecretUnreadable`."""
        found = [(receiver.key_id, receiver.secret)]
        if receiver.previous_until is not None and receiver.previous_until > now():
            found.append((receiver.previous_key_id, receiver.previous_secret))
        binding = bind_receiver_secret(receiver)
        return tuple(
            self._vault.open(Sealed(key_id, data), binding).decode() for key_id, data in found if key_id and data
        )

    async def _load(self, receiver_id: str) -> Receiving | None:
        is_its_connection = and_(
            col(ConnectionRecord.tenant_id) == ReceiverRecord.tenant_id,
            col(ConnectionRecord.id) == ReceiverRecord.connection_id,
        )
        statement = (
            select(ReceiverRecord, ConnectionRecord)
            .join(ConnectionRecord, is_its_connection)
            .where(col(ReceiverRecord.id) == receiver_id)
        )
        async with self._database.session() as session:
            row = (await session.exec(statement)).first()
        if row is None:
            return None
        found = self._found[receiver_id] = Receiving(*row)
        return found
