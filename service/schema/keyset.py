"""Pages over lists of our own, in the order of a key, up or down: connections, API keys, the audit log, events."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from service.directory.listing import Window
from service.schema import relay
from service.schema.cursors import CursorCodec

R = TypeVar("R")
K = TypeVar("K", str, int)


@dataclass(frozen=True, slots=True)
class Key(Generic[R, K]):
    """What a list is ordered by, another in each row. ``end`` lies after all, where a list may be read from there."""

    kind: type[K]
    of: Callable[[R], K]
    end: K | None = None


BY_ID: Key[Any, str] = Key(str, attrgetter("id"))
"""The order of ids."""


@dataclass(frozen=True, slots=True)
class KeysetPage(Generic[R]):
    """Rows with a cursor each, and where they stand."""

    rows: list[R]
    cursors: list[str]
    page_info: relay.PageInfo


async def read_page(
    window: Window,
    codec: CursorCodec,
    scope: bytes,
    read: Callable[[int, K | None, K | None], Awaitable[list[R]]],
    key: Key[R, K],
) -> KeysetPage[R]:
    """The rows in a window of a list.

    ``read(limit, after, before)`` gives at most ``limit`` rows in order: the first after a key, or the last before one.
    Raises :class:`InvalidCursor`.
    """
    at = window.after or window.before
    place = codec.open(scope, at, key.kind) if at is not None else key.end if window.from_end else None
    is_backward = window.from_end or window.before is not None
    found = await read(window.count + 1, None if is_backward else place, place if is_backward else None)
    more = len(found) > window.count
    if more:
        found = found[1:] if is_backward else found[: window.count]
    cursors = codec.seal_all(scope, map(key.of, found))
    return KeysetPage(
        rows=found,
        cursors=cursors,
        page_info=relay.PageInfo(
            has_next_page=window.before is not None or (more and not is_backward),
            has_previous_page=more if is_backward else window.after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
