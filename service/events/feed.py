"""What was just committed, handed to whoever follows it: read once for all of a tenant, and only while somebody does.

Announcements say when to read, and the log says what: a reader goes on from the position that it has read up to, so one
that heard of nothing for a while misses nothing. Who comes late reads the log up to where the reader is, at its own
pace, and joins there.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import Protocol

import structlog

from service.db import Database
from service.errors import ServiceError, StorageUnavailable, SubscriptionOverflow
from service.events.append import events_topic
from service.events.filters import EventFilter
from service.events.models import EventRecord
from service.events.store import EventStore

_PAGE = 100

_log = structlog.get_logger(__name__)


class View(Protocol):
    """Which events one follower wants and may see."""

    @property
    def wanted(self) -> EventFilter:
        """What it wants."""
        ...

    @property
    def seen(self) -> Collection[str] | None:
        """The ids of the only connections whose events it may see, as of the last :meth:`refresh`; None for all."""
        ...

    async def refresh(self) -> None:
        """Look anew which connections it may see."""
        ...

    def matches(self, event: EventRecord) -> bool:
        """Whether the next event of the log passes. Called with each one in order, after a :meth:`refresh`."""
        ...


class Feed:
    """The events of all tenants that somebody in this process follows.

    ``buffer`` is how many events may wait for a follower, and ``look_seconds`` how long at most the log is left unread
    where no announcement comes.
    """

    def __init__(self, database: Database, store: EventStore, *, buffer: int, look_seconds: float = 5.0) -> None:
        self._database = database
        self._store = store
        self._buffer = buffer
        self._look_seconds = look_seconds
        self._tails: dict[str, _Tail] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear of new events while the block runs; :meth:`follow` is for inside of it."""
        async with self._database.hearing(self._hear):
            try:
                yield
            finally:
                for tail in self._tails.values():
                    tail.stop()

    async def follow(self, tenant_id: str, view: View, *, after: int | None = None) -> "Follower":
        """All events after a position of the tenant's log, and each new one; without a position the new ones only.

        The follower must be closed. Raises :class:`StorageUnavailable`.
        """
        newest = await self._store.last_position(tenant_id)
        await view.refresh()
        tail = self._tails.get(tenant_id)
        if tail is None:
            tail = self._tails[tenant_id] = _Tail(self._store, tenant_id, newest, self._look_seconds)
        follower = Follower(self, tail, view, newest if after is None else after, limit=self._buffer)
        tail.followers.add(follower)
        return follower

    def leave(self, follower: "Follower", tail: "_Tail") -> None:
        """Forget a follower; with the last one of a tenant its log is not read any more."""
        tail.followers.discard(follower)
        if not tail.followers and self._tails.get(tail.tenant_id) is tail:
            del self._tails[tail.tenant_id]
            tail.stop()

    def _hear(self, topic: str | None) -> None:
        for tenant_id, tail in self._tails.items():
            if topic is None or topic == events_topic(tenant_id):
                tail.wake.set()


class _Tail:
    """The end of one tenant's log: reads what is new after ``position`` and offers it to all followers, in order."""

    def __init__(self, store: EventStore, tenant_id: str, position: int, look_seconds: float) -> None:
        self.store = store
        self.tenant_id = tenant_id
        self.position = position
        self.followers: set[Follower] = set()
        self.wake = asyncio.Event()
        self._look_seconds = look_seconds
        self._task = asyncio.create_task(self._run(), name=f"feed {tenant_id}")

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.wake.clear()
            try:
                await self._read()
            except StorageUnavailable as error:
                _log.warning("feed_delayed", tenant=self.tenant_id, error=error.message)
            except Exception as error:  # noqa: BLE001 - the next look may do, and nobody else would hear of it
                _log.error("feed_failed", tenant=self.tenant_id, exc_info=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self.wake.wait()

    async def _read(self) -> None:
        while events := await self.store.page(self.tenant_id, limit=_PAGE, after=self.position):
            for event in events:
                self.position = event.position
                for follower in list(self.followers):
                    follower.offer(event)
                await asyncio.sleep(0)  # those who are fast take it before the next one comes


class Follower(AsyncIterator[EventRecord]):
    """One follower's events, each once and in order. Waiting for the next one may be cancelled and begun anew."""

    __slots__ = (
        "_buffer",
        "_feed",
        "_is_live",
        "_is_over",
        "_last_id",
        "_limit",
        "_position",
        "_tail",
        "_view",
        "_wake",
    )

    def __init__(self, feed: Feed, tail: _Tail, view: View, position: int, *, limit: int) -> None:
        self._feed = feed
        self._tail = tail
        self._view = view
        self._limit = limit
        self._position = position  # all up to it are in the buffer, were given, or are not wanted
        self._buffer: deque[EventRecord] = deque()
        self._last_id: str | None = None
        self._is_live = self._is_over = False
        self._wake: asyncio.Future[None] | None = None

    async def __anext__(self) -> EventRecord:
        """The next event.

        Raises :class:`SubscriptionOverflow` once more events came than the buffer holds; those that wait are dropped
        then, since who reads slowly would get them late. Raises :class:`StorageUnavailable` while events from before
        are read.
        """
        while not self._buffer:
            if self._is_over:
                raise SubscriptionOverflow(self._limit, last_id=await self._find_last_id())
            if self._is_live:
                await self._wait()
            else:
                await self._catch_up()
        event = self._buffer.popleft()
        self._last_id = event.id
        return event

    def offer(self, event: EventRecord) -> None:
        """Take the next event of the log, if it is wanted. Until it is live it reads the log by itself."""
        if not self._is_live or event.position <= self._position:
            return
        if not self._view.matches(event):
            self._position = event.position
            return
        if len(self._buffer) >= self._limit:
            self._position = self._buffer[0].position - 1
            self._buffer.clear()
            self._is_live, self._is_over = False, True
        else:
            self._position = event.position
            self._buffer.append(event)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def aclose(self) -> None:
        """Follow no longer."""
        self._feed.leave(self, self._tail)

    async def _wait(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    async def _catch_up(self) -> None:
        """Read a page of the log up to where the tail is, or join the tail where all of that has been read."""
        until = self._tail.position
        if self._position >= until:
            self._is_live = True  # without having waited since the look at the tail: nothing comes between
            return
        await self._view.refresh()
        limit = min(_PAGE, self._limit)
        found = await self._tail.store.page(
            self._tail.tenant_id,
            self._view.wanted,
            seen=self._view.seen,
            limit=limit,
            after=self._position,
            before=until + 1,
        )
        self._position = found[-1].position if len(found) == limit else until
        self._buffer.extend(found)

    async def _find_last_id(self) -> str | None:
        """The event to go on after; None where that cannot be known."""
        if self._last_id is None:
            with contextlib.suppress(ServiceError):
                before = await self._tail.store.page(self._tail.tenant_id, limit=1, before=self._position + 1)
                return before[0].id if before else None
        return self._last_id
