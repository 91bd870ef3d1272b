"""What keeps one caller from using up what all share: the memory of the process, and the connections to one Sentry."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from weakref import WeakValueDictionary

import httpx

from service.errors import UpstreamTooLarge
from service.sentry.origin import Origin


class ByteBudget:
    """The bytes of answers that one request of a caller may read in all, and so hold at a time.

    One answer is capped by itself, but a request can ask for thousands of them.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, size: int) -> None:
        """Count bytes that were read or shared. Raises :class:`UpstreamTooLarge` where they are too many."""
        self._left -= size
        if self._left < 0:
            raise UpstreamTooLarge(
                "This request reads too much from Sentry.", cure="Ask for fewer or smaller things in one request."
            )


current: ContextVar[ByteBudget | None] = ContextVar("byte_budget", default=None)
"""The budget of the request that the present task works for; None where nobody set one."""


def spend(size: int) -> None:
    """Count bytes in the present request's budget, where it has one. Raises as :meth:`ByteBudget.spend` does."""
    if (budget := current.get()) is not None:
        budget.spend(size)


class Shares:
    """For each tenant, turns at each Sentry: at most ``most`` calls and open streams at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shares: WeakValueDictionary[tuple[Origin, str], asyncio.Semaphore] = WeakValueDictionary()

    def of(self, origin: Origin, tenant_id: str) -> asyncio.Semaphore:
        """The tenant's turns at this origin. Keep it for as long as a turn is taken."""
        share = self._shares.get((origin, tenant_id))
        if share is None:
            share = self._shares[origin, tenant_id] = asyncio.Semaphore(self._most)
        return share


class TurnStream(httpx.AsyncByteStream):
    """A stream that gives its turn back when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, share: asyncio.Semaphore) -> None:
        self._stream = stream
        self._share: asyncio.Semaphore | None = share

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        """Give the turn back once, however often it is closed."""
        share, self._share = self._share, None
        if share is not None:
            share.release()
        await self._stream.aclose()
