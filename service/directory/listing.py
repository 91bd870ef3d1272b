"""Many connections' users as one list.

Two ways, chosen by what the list asks for. A *walk* follows Sentry's own pages (one call a page, the default order); a
*scan* reads everything up to a limit, because a filter or an order is ours to apply. Both give a :class:`Slice`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from service.directory.query import Place, UserOrder, place_key, place_of
from service.directory.user import User
from service.errors import BadInput, ScanLimitExceeded, ServiceError
from service.tasks import together

_MOST_AHEAD = 16


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The gap right after a user in a walk: ``offset`` users into the page that ``page_cursor`` fetches."""

    connection_id: str
    page_cursor: str | None
    offset: int


class UserPage(msgspec.Struct, frozen=True):
    """One page of a connection's users, and the upstream cursors around it."""

    users: list[User]
    page_cursor: str | None
    next_cursor: str | None
    previous_cursor: str | None


class Failure(msgspec.Struct, frozen=True):
    """A connection whose users are missing from a list, and why."""

    connection_id: str
    error: ServiceError


class Slice(msgspec.Struct):
    """A part of a list, each user with the position right after it. ``total`` is known only after a scan."""

    users: list[User] = []
    positions: list[Position | Place] = []
    has_next: bool = False
    has_previous: bool = False
    total: int | None = None
    failures: list[Failure] = []


class PageSource(Protocol):
    """Where pages come from: one connection's page at an upstream cursor (None: the first). Raises ServiceError."""

    async def __call__(self, connection_id: str, page_cursor: str | None) -> UserPage: ...  # noqa: D102 - the class says it


class Window(msgspec.Struct, frozen=True):
    """Relay's arguments, checked: ``count`` items, forward after a position or backward before one or the end."""

    count: int
    after: str | None = None
    before: str | None = None
    from_end: bool = False

    @classmethod
    def of(
        cls,
        first: int | None,
        after: str | None,
        last: int | None,
        before: str | None,
        *,
        default: int,
        most: int,
        has_end: bool = False,
    ) -> "Window":
        """The window that Relay's four arguments describe, of a list that may have an end to count back from.

        Raises :class:`BadInput` for ``first`` with ``last``, ``last`` without ``before`` where there is no such end,
        and counts outside 0…``most``.
        """
        if last is not None:
            if first is not None or after is not None:
                raise BadInput("`last` and `before` cannot be combined with `first` or `after`.")
            if before is None and not has_end:
                raise BadInput("`last` needs `before`: Sentry's lists have no end to count back from.")
        elif before is not None:
            raise BadInput("`before` needs `last`.")
        name, count = ("last", last) if last is not None else ("first", default if first is None else first)
        if not 0 <= count <= most:
            raise BadInput(f"`{name}` must be from 0 to {most}.")
        return cls(count, after, before, from_end=last is not None and before is None)


async def walk_forward(
    source: PageSource, connection_ids: Sequence[str], count: int, after: Position | None, *, may_be_empty: bool
) -> Slice:
    """``count`` users after a position, in the default order.

    ``may_be_empty`` says that a connection may have no user at all (a filter is on), so that a next page is promised
    only when somebody was seen on it.
    """
    found = Slice(has_previous=after is not None)
    remaining = [each for each in connection_ids if after is None or each >= after.connection_id]
    at = after if after and remaining and remaining[0] == after.connection_id else None
    ahead = _Ahead(source)
    try:
        for index, connection_id in enumerate(remaining):
            full = len(found.users) == count
            if full and not may_be_empty:
                found.has_next = True
                break
            start = at if index == 0 else None
            if not full:
                ahead.start(remaining[index + 1 : index + _wanted(found, count, index)])
            try:
                await _walk_one(ahead, connection_id, start, count, found)
            except ServiceError as error:
                found.failures.append(Failure(connection_id, error))
            if found.has_next:
                break
    finally:
        await ahead.stop()
    return found


def _wanted(found: Slice, count: int, done: int) -> int:
    """How many further connections the rest of a list will need, going by those read so far; at least one."""
    if not done:
        return 1
    usual = max(1.0, len(found.users) / done)
    return min(_MOST_AHEAD, max(1, math.ceil((count - len(found.users)) / usual)))


async def _walk_one(source: PageSource, connection_id: str, start: Position | None, count: int, found: Slice) -> None:
    page_cursor, offset = (start.page_cursor, start.offset) if start else (None, 0)
    while True:
        page = await source(connection_id, page_cursor)
        users = page.users[offset : offset + count - len(found.users)]
        found.users += users
        end = offset + len(users)
        if users:
            found.positions += [Position(connection_id, page.page_cursor, index) for index in range(offset + 1, end)]
            found.positions.append(_gap(connection_id, page, end))
        if end < len(page.users):
            found.has_next = True
            return
        if page.next_cursor is None:
            return
        if len(found.users) == count:
            found.has_next = True
            return
        page_cursor, offset = page.next_cursor, 0


def _gap(connection_id: str, page: UserPage, index: int) -> Position:
    # After a page's last user comes the next page: pointing there saves fetching this one again.
    if index == len(page.users) and page.next_cursor is not None:
        return Position(connection_id, page.next_cursor, 0)
    return Position(connection_id, page.page_cursor, index)


class _Ahead:
    """A page source that starts the first pages of connections before their turn comes."""

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self._started: dict[str, asyncio.Task[UserPage]] = {}

    def start(self, connection_ids: Sequence[str]) -> None:
        for connection_id in connection_ids:
            if connection_id not in self._started:
                self._started[connection_id] = asyncio.ensure_future(self._source(connection_id, None))

    async def __call__(self, connection_id: str, page_cursor: str | None) -> UserPage:
        if page_cursor is None and (task := self._started.pop(connection_id, None)):
            return await task
        return await self._source(connection_id, page_cursor)

    async def stop(self) -> None:
        if self._started:
            for task in self._started.values():
                task.cancel()
            await asyncio.gather(*self._started.values(), return_exceptions=True)


async def walk_backward(source: PageSource, connection_ids: Sequence[str], count: int, before: Position) -> Slice:
    """``count`` users before the user whose position is ``before``, in the default order."""
    found = Slice(has_next=True)
    earlier = [each for each in connection_ids if each <= before.connection_id]
    for connection_id in reversed(earlier):
        try:
            async with aclosing(_backward(source, connection_id, before)) as users:
                async for user, position in users:
                    if len(found.users) == count:
                        found.has_previous = True
                        break
                    found.users.append(user)
                    found.positions.append(position)
        except ServiceError as error:
            found.failures.append(Failure(connection_id, error))
        if found.has_previous:
            break
    found.users.reverse()
    found.positions.reverse()
    return found


async def _backward(
    source: PageSource, connection_id: str, before: Position
) -> AsyncGenerator[tuple[User, Position], None]:
    """One connection's users from the one before ``before`` (or from its last) back to its first."""
    if connection_id == before.connection_id:
        pages = [await source(connection_id, before.page_cursor)]
        # The position is the gap after the user, so the user itself is one step back, perhaps on the page before.
        end = before.offset - 1
        if end < 0 and pages[0].previous_cursor is not None:
            pages = [await source(connection_id, pages[0].previous_cursor)]
            end += len(pages[0].users)
    else:
        pages = [await source(connection_id, None)]
        while (cursor := pages[-1].next_cursor) is not None:
            pages.append(await source(connection_id, cursor))
        end = len(pages[-1].users)
    while pages:
        page = pages.pop()
        for index in range(end, 0, -1):
            yield page.users[index - 1], _gap(connection_id, page, index)
        if not pages and page.previous_cursor is not None:
            pages = [await source(connection_id, page.previous_cursor)]
        if pages:
            end = len(pages[-1].users)


async def scan(
    sources: Sequence[tuple[str, Callable[[], AsyncIterator[UserPage]]]],
    window: Window,
    *,
    keeps: Callable[[User], bool] | None,
    order: UserOrder | None,
    most: int,
    after: Place | None,
    before: Place | None,
) -> Slice:
    """Read every source whole (at most ``most`` users together), filter, order, and cut the window out.

    ``sources`` are pairs of a connection's id and a function that begins its walk. Raises
    :class:`ScanLimitExceeded` where they hold more; a source that fails is reported and left out.
    """
    read = 0
    turn = asyncio.Semaphore(_MOST_AHEAD)

    async def read_one(connection_id: str, begin: Callable[[], AsyncIterator[UserPage]]) -> list[User] | Failure:
        nonlocal read
        users: dict[str, User] = {}
        try:
            async with turn:
                async for page in begin():
                    read += len(page.users)
                    users |= {user.member.id: user for user in page.users if keeps is None or keeps(user)}
                    if read > most:
                        break
        except ServiceError as error:
            return Failure(connection_id, error)
        return list(users.values())

    results = await together(read_one(*source) for source in sources)
    if read > most:
        raise ScanLimitExceeded(f"This filter or order would read more than {most} users from Sentry.")
    failures = [result for result in results if isinstance(result, Failure)]
    key = place_key(order)
    rows = [(place_of(user, order), user) for result in results if not isinstance(result, Failure) for user in result]
    rows.sort(key=lambda row: key(row[0]))
    low = sum(key(place) <= key(after) for place, _ in rows) if after else 0
    high = sum(key(place) < key(before) for place, _ in rows) if before else len(rows)
    start, end = (max(low, high - window.count), high) if before else (low, min(high, low + window.count))
    return Slice(
        users=[user for _, user in rows[start:end]],
        positions=[place for place, _ in rows[start:end]],
        has_next=end < len(rows),
        has_previous=start > 0,
        total=len(rows),
        failures=failures,
    )
