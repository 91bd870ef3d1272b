"""Pages over lists of our own, in the order of their ids, up or down: connections, API keys, the audit log."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from service.directory.listing import Window
from service.schema import relay
from service.schema.cursors import CursorCodec


class HasId(Protocol):
    """A row with an id that sorts."""

    id: str


R = TypeVar("R", bound=HasId)


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
    read: Callable[[int, str | None, str | None], Awaitable[list[R]]],
) -> KeysetPage[R]:
    """The rows in a window of a list.

    ``read(limit, after, before)`` gives at most ``limit`` rows in order: the first after an id, or the last before one.
    Raises :class:`InvalidCursor`.
    """
    at = window.after or window.before
    place = codec.open(scope, at, str) if at is not None else None
    is_backward = window.before is not None
    found = await read(window.count + 1, None if is_backward else place, place if is_backward else None)
    more = len(found) > window.count
    if more:
        found = found[1:] if is_backward else found[: window.count]
    cursors = [codec.seal(scope, row.id) for row in found]
    return KeysetPage(
        rows=found,
        cursors=cursors,
        page_info=relay.PageInfo(
            has_next_page=is_backward or more,
            has_previous_page=more if is_backward else window.after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
