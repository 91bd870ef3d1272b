"""Running things at once: several as one, one for several, and one again and again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar, cast

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
    """Work that somebody does, and who else waits for it."""

    __slots__ = ("error", "is_broken_off", "is_done", "value", "waiters", "worker")

    def __init__(self) -> None:
        self.worker: asyncio.Task[Any] | None = None
        self.waiters: list[asyncio.Future[None]] = []
        self.is_done = self.is_broken_off = False
        self.value: V | None = None
        self.error: Exception | None = None

    def wait(self) -> "asyncio.Future[None]":
        """To be awaited until it has ended, in whatever way."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        return waiter

    def end(self) -> None:
        """Wake all who wait."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class Coalescer(Generic[K, V]):
    """Runs equal work once for all who ask while it runs.

    Whoever asks first does the work, in its own task: one more for each call is a tenth of the CPU of a call to Sentry.
    Who is cancelled leaves the others alone: where it was the one that worked, another one begins anew. Work that
    ``is_kept`` has a task of its own and goes on, whoever is cancelled.
    """

    def __init__(self, *, is_kept: bool = False) -> None:
        self._running: dict[K, _Shared[V]] = {}
        self._is_kept = is_kept

    async def run(self, key: K, start: Callable[[], Awaitable[V]]) -> V:
        """The result of ``start()``, shared by all who ask for ``key`` until it is there; so is its error."""
        while (found := self._running.get(key)) is not None:
            await found.wait()
            if found.is_done:
                return cast("V", found.value)
            if found.error is not None:
                raise found.error
            if found.is_broken_off:
                raise asyncio.CancelledError
        if self._is_kept:
            return await asyncio.shield(self._begin(key, start))
        shared = self._running[key] = _Shared()
        return await self._work(key, shared, start)

    def begin(self, key: K, start: Callable[[], Awaitable[V]]) -> None:
        """Have it run beside the caller, unless it runs already; only those who ask meanwhile hear of an error."""
        if key not in self._running:
            self._begin(key, start)

    async def drain(self) -> None:
        """Wait until what runs has ended."""
        await asyncio.gather(*(shared.wait() for shared in self._running.values()))

    async def aclose(self) -> None:
        """Break off what runs, and wait until it has ended."""
        for shared in self._running.values():
            shared.is_broken_off = True
            if shared.worker is not None:
                shared.worker.cancel()
        await self.drain()

    def _begin(self, key: K, start: Callable[[], Awaitable[V]]) -> "asyncio.Task[V]":
        shared = self._running[key] = _Shared()
        task = asyncio.ensure_future(self._work(key, shared, start))
        task.add_done_callback(_look_at_error)  # everybody who waited may be gone
        return task

    async def _work(self, key: K, shared: _Shared[V], start: Callable[[], Awaitable[V]]) -> V:
        shared.worker = asyncio.current_task()
        try:
            value = shared.value = await start()
            shared.is_done = True
            return value
        except Exception as error:
            if shared.waiters:
                shared.error = error
            raise
        finally:
            del self._running[key]
            shared.end()
            del shared  # an error holds this frame, and must not hold itself by it


def _look_at_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
