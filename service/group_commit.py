"""Many small writes in one transaction: what arrives while a commit runs is committed together next.

A commit waits for the disk, whether it holds one row or a hundred.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession

from service.db import Database
from service.errors import StorageUnavailable

T = TypeVar("T")
R = TypeVar("R")

_MOST = 200


class GroupCommit(Generic[T, R]):
    """Writes items by ``work(session, items)``, which gives a result for each, in order.

    ``work`` may run several times for the same items, so it changes nothing but the database.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[AsyncSession, Sequence[T]], Awaitable[Sequence[R]]],
        *,
        every: float = 0.0,
    ) -> None:
        """``every``: at least so many seconds lie between the beginnings of two transactions.

        What comes to an idle one is written at once; under load there are fewer transactions, with more in each.
        """
        self._database = database
        self._work = work
        self._every = every
        self._next_at = 0.0
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def write(self, item: T) -> R:
        """The item's result, once it is committed. Raises what the transaction raises.

        An item whose writer is cancelled is written all the same. An item that cannot be written does not hinder those
        beside it.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="group commit")
        return await future

    async def drain(self) -> None:
        """Wait until everything that was given has ended."""
        while self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_turn()
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._write(batch)
        finally:
            self._running = None

    async def _wait_for_turn(self) -> None:
        clock = asyncio.get_running_loop().time
        if (early := self._next_at - clock()) > 0:
            await asyncio.sleep(early)
        self._next_at = clock() + self._every

    async def _write(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _ in batch]

        async def work(session: AsyncSession) -> Sequence[R]:
            results = await self._work(session, items)
            if len(results) != len(items):  # undone, rather than somebody waiting for ever
                raise ValueError(f"{len(results)} results for {len(items)} items")
            return results

        try:
            results = await self._database.run_transaction(work)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            if isinstance(error, StorageUnavailable) or len(batch) == 1:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
            for each in batch:
                await self._write([each])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
