"""Sentry's four ways to cut a list into pages. All print both links, with cursors ``value:offset:isPrev``.

Which list is cut in which way was read off a real server's cursors:

- ``page_by_number``: members, teams, projects, releases. Cursor: page size, page number.
- ``page_by_offset``: events, comments. Cursor: 0, rows to skip.
- ``page_by_score``: issues. Cursor: score (milliseconds, say), rows of that score to skip.
- ``page_by_key``: organizations, project keys. Cursor: key rounded to a whole number, rows to skip.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from service.sandbox.responses import detail

Item = TypeVar("Item")
DEFAULT_PAGE = 100
MAX_HITS = 1000


@dataclass(frozen=True, slots=True)
class Cursor:
    """``value:offset:isPrev``; ``value`` may have a fraction, and ``offset`` be negative."""

    value: float = 0
    offset: int = 0
    is_prev: bool = False

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Reads a cursor; raises a 400 answer where it is none."""
        parts = text.split(":")
        try:
            value, offset, is_prev = parts
            return cls(float(value) if "." in value else int(value), int(offset), bool(int(is_prev)))
        except ValueError:
            raise detail(400, "Invalid cursor parameter.") from None

    def __str__(self) -> str:
        return f"{self.value}:{self.offset}:{int(self.is_prev)}"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of items with the cursors of its neighbours, which are printed even where there is no neighbour."""

    items: Sequence[Item]
    previous: Cursor
    has_previous: bool
    next: Cursor
    has_next: bool
    hits: int | None = None

    def headers(self, url: str, query: Sequence[tuple[str, str]]) -> dict[str, str]:
        """``Link``, and ``X-Hits`` where the list is counted. ``url`` is the list's own, without its query."""
        others = urlencode([pair for pair in query if pair[0] != "cursor"])
        link = ", ".join(
            f'<{url}?{others}&cursor={cursor}>; rel="{rel}"; results="{str(has_results).lower()}"; cursor="{cursor}"'
            for rel, cursor, has_results in (
                ("previous", self.previous, self.has_previous),
                ("next", self.next, self.has_next),
            )
        )
        if self.hits is None:
            return {"link": link}
        return {"link": link, "x-hits": str(min(self.hits, MAX_HITS)), "x-max-hits": str(MAX_HITS)}


def parse_size(text: str | None) -> int:
    """``per_page``: 100 by default and at most; Sentry takes 0 and less, and then shows nothing."""
    if text is None:
        return DEFAULT_PAGE
    try:
        size = int(text)
    except ValueError:
        raise detail(400, "Invalid per_page parameter.") from None
    if size > DEFAULT_PAGE:
        raise detail(400, f"Invalid per_page value. Cannot exceed {DEFAULT_PAGE}.")
    return size


def parse_limit(text: str | None) -> int:
    """``limit`` of issue lists: clamped to 100 in silence."""
    try:
        size = int(text) if text else DEFAULT_PAGE
    except ValueError:
        raise detail(400, "invalid limit") from None
    return size if 0 < size < DEFAULT_PAGE else DEFAULT_PAGE


def page_by_number(rows: Sequence[Item], size: int, cursor: Cursor) -> Page[Item]:
    """Numbered pages. A cursor of another page size than ``size`` shows the END of its own page: rows are skipped."""
    start = int(cursor.offset * cursor.value)
    if start < 0:
        raise detail(400, "Pagination offset cannot be negative")
    window = rows[start : start + (int(cursor.value) or size) + 1]
    if cursor.value != size:
        window = window[-(size + 1) :]
    number = cursor.offset
    return Page(
        window[:size], Cursor(size, number - 1, is_prev=True), number > 0, Cursor(size, number + 1), len(window) > size
    )


def page_by_offset(rows: Sequence[Item], size: int, cursor: Cursor) -> Page[Item]:
    """Rows from an offset on."""
    start = cursor.offset
    if start < 0:
        raise detail(400, "Pagination offset cannot be negative")
    back = Cursor(0, max(0, start - size), is_prev=True)
    return Page(rows[start : start + size], back, start > 0, Cursor(0, start + size), len(rows) > start + size)


def page_by_score(rows: Sequence[Item], size: int, cursor: Cursor, score: Callable[[Item], int]) -> Page[Item]:
    """Rows in falling order of a score that several may share. A previous page ends right before its cursor's row."""
    scores = [score(row) for row in rows]
    if not rows:
        return Page(
            (),
            Cursor(cursor.value, cursor.offset, is_prev=True),
            has_previous=False,
            next=Cursor(cursor.value, cursor.offset),
            has_next=False,
            hits=0,
        )

    def first_at(value: float, stop: int) -> int:
        return next((index for index in range(stop) if scores[index] <= value), stop)

    if cursor.value:
        position = first_at(cursor.value, len(rows)) + cursor.offset
    else:
        position = (len(rows) if cursor.is_prev else 0) + cursor.offset
    if cursor.is_prev:
        high = min(position, len(rows))
        low = max(high - size, 0)
    else:
        low = max(position, 0)
        high = min(low + size, len(rows))
    before, after = scores[min(low, len(rows) - 1)], scores[min(high, len(rows) - 1)]
    return Page(
        rows[low:high],
        Cursor(before, low - first_at(before, low), is_prev=True),
        low > 0,
        Cursor(after, high - first_at(after, high)),
        high < len(rows),
        len(rows),
    )


def page_by_key(
    rows: Sequence[Item], size: int, cursor: Cursor, key: Callable[[Item], float], *, descending: bool
) -> Page[Item]:
    """Rows from a key on. Cursors hold the key rounded away from where the walk goes, so that no row is lost going on.

    Sentry's own flaw is kept: the ``next`` link of a page that was reached backwards is rounded the wrong way, and
    loses a row whose key has a fraction.
    """
    sign = -1 if descending else 1
    forward, backward = (math.ceil, math.floor) if descending else (math.floor, math.ceil)
    # From here on everything ascends: a descending key is negated.
    keyed = [(sign * key(row), row) for row in rows]
    ahead = [sign * forward(key(row)) for row in rows]
    behind = [sign * backward(key(row)) for row in rows]
    value = sign * cursor.value
    if cursor.is_prev:
        last = max((i for i, (k, _) in enumerate(keyed) if not cursor.value or k <= value), default=-1) - cursor.offset
        low = max(0, last - size - (1 if cursor.value else 0))
        picked = list(range(low, last + 1))
        if cursor.value and picked and behind[picked[-1]] == value:
            picked.pop()
        picked = picked[-(size + 1) :]
        has_previous = len(picked) > size
        shown = picked[1:] if has_previous else picked
        first = behind[shown[0]] if shown else 0
        if shown and first == value:
            skip = cursor.offset + size
        else:
            skip = sum(1 for index in shown[1:] if behind[index] <= first)
        onward = value or (ahead[shown[0]] if shown else 0)
        back = Cursor(int(sign * first), skip, is_prev=True)
        return Page([rows[i] for i in shown], back, has_previous, Cursor(int(sign * onward)), has_next=True)
    start = next((i for i, (k, _) in enumerate(keyed) if not cursor.value or k >= value), len(rows)) + cursor.offset
    picked = list(range(start, min(start + size + 1, len(rows))))
    shown = picked[:size]
    has_next = len(picked) > size
    came_from = bool(cursor.value or cursor.offset)
    back = Cursor(int(sign * behind[shown[0]]) if shown else 0, 0, is_prev=True)
    if not picked:
        return Page((), back, came_from, Cursor(cursor.value, cursor.offset), has_next=False)
    onward = ahead[picked[-1]]
    if onward == (value or ahead[picked[0]]):
        skip = cursor.offset + size
    else:
        skip = sum(1 for index in shown if ahead[index] >= onward)
    return Page([rows[i] for i in shown], back, came_from, Cursor(int(sign * onward), skip), has_next)
