"""A time limit for what happens thousands of times a second."""

import asyncio
from types import TracebackType
from typing import Any, Self


class Deadlines:
    """``asyncio.timeout`` for any number of tasks at once, who all have equally long.

    Whoever began first has to end first, so one timer does for all. A timer for each costs more than what a call to
    Sentry spends on its rate limits.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Deadline, None] = {}  # in the order of their ends
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> "Deadline":
        """To be entered: after so many seconds the task is cancelled, and the block raises :class:`TimeoutError`."""
        return Deadline(self)

    def add(self, deadline: "Deadline") -> None:
        """Have it end, from now on, in time."""
        loop = asyncio.get_running_loop()
        deadline.ends = loop.time() + self.seconds
        self._open[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.ends, self._expire)

    def discard(self, deadline: "Deadline") -> None:
        """Have it end no more."""
        self._open.pop(deadline, None)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        while self._open:
            first = next(iter(self._open))
            if first.ends > now:
                self._timer = loop.call_at(first.ends, self._expire)
                return
            del self._open[first]
            first.expire()


class Deadline:
    """One task's. It may be entered once."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "ends", "is_expired")

    def __init__(self, deadlines: Deadlines) -> None:
        self.ends = 0.0
        """When, on the loop's clock."""
        self.is_expired = False
        self._deadlines = deadlines
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0

    def expire(self) -> None:
        """Cancel the task, which turns into a :class:`TimeoutError` at the end of the block."""
        if self._task is not None:
            self.is_expired = True
            self._task.cancel()

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A deadline is for a task.")
        self._cancelling = task.cancelling()
        self._deadlines.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._deadlines.discard(self)
        task, self._task = self._task, None
        if not self.is_expired or task is None:
            return
        # As asyncio has it: where somebody else has cancelled the task as well, theirs goes on.
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
