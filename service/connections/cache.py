"""A few seconds' memory of connections, their sealed credentials and lists of them.

A look-up costs more than the rest of a request.

It holds sealed bytes only. What is remembered by id has not been checked against a caller: the store does that, with
:func:`service.connections.visibility.is_visible`, on every hit. Lists are remembered for the caller who asked.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace

from cachetools import TTLCache

from service.connections.models import ConnectionRecord, CredentialRecord

SECONDS = 3.0
"""How late a change made by another process is noticed at most; our own writes are noticed at once."""

_AGEING_SECONDS = 2.0
"""After these, what is asked for is read anew beside the request, so that none of a busy caller's waits for it."""

_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Linked:
    """A connection and its sealed credential, which is None once the connection is unlinked. Never changed.

    ``remembered_at`` is on the cache's clock, for what comes from there.
    """

    connection: ConnectionRecord
    credential: CredentialRecord | None
    remembered_at: float = 0.0


class ConnectionCache:
    """Connections by (tenant, id) and by (tenant, externalId), and pages of them by what was asked for."""

    def __init__(self, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._linked: TTLCache[tuple[str, str], Linked] = TTLCache(_SIZE, SECONDS, timer)
        self._ids: TTLCache[tuple[str, str], str] = TTLCache(_SIZE, SECONDS, timer)
        self._pages: TTLCache[Hashable, list[ConnectionRecord]] = TTLCache(
            _SIZE, SECONDS, timer, getsizeof=lambda page: len(page) + 1
        )
        self._writes = 0

    @property
    def writes(self) -> int:
        """How many writes there were: note it before reading from the database, and hand it to :meth:`add`."""
        return self._writes

    def get(self, tenant_id: str, connection_id: str) -> Linked | None:
        """What is remembered under an id."""
        return self._linked.get((tenant_id, connection_id))

    def get_by_external_id(self, tenant_id: str, external_id: str) -> Linked | None:
        """What is remembered under an externalId."""
        connection_id = self._ids.get((tenant_id, external_id))
        return self.get(tenant_id, connection_id) if connection_id is not None else None

    def is_ageing(self, linked: Linked) -> bool:
        """Whether what :meth:`get` gave is about to be forgotten."""
        return self._timer() - linked.remembered_at > _AGEING_SECONDS

    def add(self, found: Linked, *, writes: int) -> None:
        """Remember what was read, unless a write came between: then the reading may be older than the write."""
        if writes == self._writes:
            connection = found.connection
            self._linked[connection.tenant_id, connection.id] = replace(found, remembered_at=self._timer())
            self._ids[connection.tenant_id, connection.external_id] = connection.id

    async def page(
        self, asked: Hashable, read: Callable[[], Awaitable[list[ConnectionRecord]]]
    ) -> list[ConnectionRecord]:
        """The page that was asked for, as it was read since the latest write: any page may have changed with that."""
        key = (asked, self._writes)
        found = self._pages.get(key)
        if found is None:
            found = self._pages[key] = await read()
        return list(found)

    def forget(self, connection: ConnectionRecord) -> None:
        """Forget a connection that was just written, and another one that had its externalId before."""
        self._writes += 1
        key = (connection.tenant_id, connection.external_id)
        for connection_id in {connection.id, self._ids.pop(key, connection.id)}:
            self._linked.pop((connection.tenant_id, connection_id), None)
