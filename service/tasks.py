"""Running things at once: several as one, one for several, and one again and again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")


async def together(work: Iterable[Coroutine[Any, Any, V]]) -> list[V]:
    """Run coroutines at once and give their results in order.

    The first error is raised as it is (not in a group), after the others have been cancelled and have ended.
    """
    coroutines = list(work)
    if len(coroutines) == 1:  # needs no task of its own
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@contextlib.asynccontextmanager
async def repeating(work: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Do work now and every so many seconds while the block runs. An error of it is logged; the next time may do."""

    async def repeat() -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - nobody else would hear of it
                _log.error("repeated_work_failed", work=getattr(work, "__qualname__", ""), exc_info=error)
            await asyncio.sleep(seconds)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Shared(Generic[V]):
    __slots__ = ("task", "waiters")

    def __init__(self, task: "asyncio.Task[V]") -> None:
        self.task = task
        self.waiters = 0


class Coalescer(Generic[K, V]):
    """Runs equal work once for all who ask while it runs.

    A waiter that is cancelled leaves the others alone; when the last one is, so is the work, unless it ``is_kept``.
    """

    def __init__(self, *, is_kept: bool = False) -> None:
        self._running: dict[K, _Shared[V]] = {}
        self._is_kept = is_kept

    async def run(self, key: K, start: Callable[[], Awaitable[V]]) -> V:
        """The result of ``start()``, shared by all who ask for ``key`` until it is there; so is its error."""
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _Shared(asyncio.ensure_future(_await(start)))
            shared.task.add_done_callback(lambda _: self._end(key, shared))
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.task.done() and not self._is_kept:
                self._forget(key, shared)
                shared.task.cancel()

    async def drain(self) -> None:
        """Wait until what runs has ended."""
        await asyncio.gather(*(shared.task for shared in self._running.values()), return_exceptions=True)

    async def aclose(self) -> None:
        """Break off what runs, and wait until it has ended."""
        tasks = [shared.task for shared in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: K, shared: _Shared[V]) -> None:
        self._forget(key, shared)
        if not shared.task.cancelled():
            shared.task.exception()  # looked at here, since everybody who waited may be gone

    def _forget(self, key: K, shared: _Shared[V]) -> None:
        if self._running.get(key) is shared:
            del self._running[key]


async def _await(start: Callable[[], Awaitable[V]]) -> V:
    return await start()
