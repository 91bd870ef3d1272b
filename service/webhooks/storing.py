"""Storing what came: a webhook's events, their deliveries and what goes into quarantine, in one transaction.

Many that come at once share a transaction, since each waits for the disk.
"""

import asyncio
from collections.abc import Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from service.db import Database
from service.errors import StorageUnavailable
from service.events.append import append_events
from service.group_commit import GroupCommit
from service.webhooks.quarantine import add_quarantined
from service.webhooks.sorting import Arrival

MOST_BYTES = 64 * 2**20
"""Of webhooks that wait for the database."""


_EVERY = 0.01
"""Seconds from one transaction to the next: a transaction costs more time of the processor than what it stores."""


class HookStore:
    """Stores arrivals. While the database is slow, no more than some of them wait in memory."""

    def __init__(self, database: Database, *, most_bytes: int = MOST_BYTES) -> None:
        self._commit = GroupCommit(database, write_arrivals, every=_EVERY)
        self._most_bytes = most_bytes
        self._waiting = 0

    async def add(self, arrival: Arrival) -> bool:
        """Store it, and return once it is on the disk: whether it repeats what came before.

        Who is cancelled leaves it to be stored or not. Raises :class:`StorageUnavailable`.
        """
        if self._waiting + arrival.size > self._most_bytes:
            raise StorageUnavailable("Too many webhooks wait for the database.")
        self._waiting += arrival.size
        task = asyncio.ensure_future(self._commit.write(arrival))

        def end(ended: "asyncio.Future[bool]") -> None:
            self._waiting -= arrival.size
            if not ended.cancelled():
                ended.exception()  # looked at here, since whoever waited may be gone

        task.add_done_callback(end)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until everything that was given has ended."""
        await self._commit.drain()


async def write_arrivals(session: AsyncSession, arrivals: Sequence[Arrival]) -> list[bool]:
    """Store them within a transaction: whether each repeats what came before."""
    await add_quarantined(session, [each for arrival in arrivals for each in arrival.quarantined])
    records = await append_events(session, [event for arrival in arrivals for event in arrival.events])
    repeats = {record.id for record in records if record.repeat_of is not None}
    return [any(event.id in repeats for event in arrival.events) for arrival in arrivals]
