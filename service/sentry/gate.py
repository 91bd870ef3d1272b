"""Makes calls wait for their turn in a rate limit's bucket, in the order in which they came."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping

from service.sentry.limits import Bucket, RateLimitState


class Gate:
    """One bucket's queue. Belongs to one event loop."""

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._queue: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Wait until the call may go; returns its serial number, for :meth:`leave` or :meth:`abandon`."""
        loop = asyncio.get_running_loop()
        if not self._queue and self._bucket.claim(loop.time()) == 0.0:
            return self._bucket.serial
        turn: asyncio.Future[int] = loop.create_future()
        self._queue.append(turn)
        self._advance()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came together with the cancellation
                self.abandon()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    def leave(self, serial: int, state: RateLimitState | None, headers: Mapping[str, str], *, refused: bool) -> None:
        """The answer came: learn from it."""
        now = asyncio.get_running_loop().time()
        self._bucket.settle(serial, state, headers, refused=refused, now=now, epoch=time.time())
        if self._queue:
            self._advance()

    def abandon(self) -> None:
        """No answer came."""
        self._bucket.abandon()
        if self._queue:
            self._advance()

    def wait(self) -> float | None:
        """Seconds until the bucket lets a call go, where that is known."""
        wait = self._bucket.wait(asyncio.get_running_loop().time())
        return wait if math.isfinite(wait) else None

    def _advance(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            if self._queue[0].done():
                self._queue.popleft()
                continue
            wait = self._bucket.claim(loop.time())
            if wait == 0.0:
                self._queue.popleft().set_result(self._bucket.serial)
            else:
                if math.isfinite(wait):
                    self._timer = loop.call_later(wait, self._advance)
                return
