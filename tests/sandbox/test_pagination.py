from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.pagination import (
    Cursor,
    Page,
    page_by_key,
    page_by_number,
    page_by_offset,
    page_by_score,
    parse_limit,
    parse_size,
)
from service.sandbox.responses import Refused

Way = Callable[[Any, int, Cursor], Page[Any]]

_SIZES = st.integers(1, 7)
_ROWS = st.integers(0, 30).map(lambda count: list(range(count)))


def _walk(way: Way, rows: list[Any], size: int) -> list[Page[Any]]:
    pages = [way(rows, size, Cursor())]
    while pages[-1].has_next:
        pages.append(way(rows, size, Cursor.parse(str(pages[-1].next))))
        assert len(pages) <= len(rows) + 1
    return pages


@given(st.integers(-(10**14), 10**14) | st.floats(-1e9, 1e9), st.integers(-1000, 1000), st.booleans())
def test_a_cursor_survives_being_written(value: float, offset: int, is_prev: bool) -> None:
    if "e" not in str(value):
        assert Cursor.parse(str(Cursor(value, offset, is_prev))) == Cursor(value, offset, is_prev)


@given(st.text(max_size=20))
def test_any_text_is_a_cursor_or_a_400(text: str) -> None:
    with suppress(Refused):
        assert len(str(Cursor.parse(text)).split(":")) == 3


@given(_ROWS, _SIZES)
@pytest.mark.parametrize("way", [page_by_number, page_by_offset])
def test_numbered_pages_walk_forwards_and_back_over_the_same_pages(way: Way, rows: list[int], size: int) -> None:
    pages = _walk(way, rows, size)
    assert [row for page in pages for row in page.items] == rows
    assert not pages[0].has_previous
    for before, page in pairwise(pages):
        assert page.has_previous
        assert way(rows, size, page.previous).items == before.items


@given(st.lists(st.integers(1, 6), max_size=30), _SIZES)
def test_scored_pages_lose_nothing_where_scores_are_shared(scores: list[int], size: int) -> None:
    rows = [(score, index) for index, score in enumerate(sorted(scores, reverse=True))]

    def way(rows: Any, size: int, cursor: Cursor) -> Page[Any]:
        return page_by_score(rows, size, cursor, lambda row: row[0])

    pages = _walk(way, rows, size)
    assert [row for page in pages for row in page.items] == rows
    for before, page in pairwise(pages):
        assert page.has_previous
        assert way(rows, size, page.previous).items == before.items
    assert pages[0].hits == len(rows)


@given(st.sets(st.integers(1, 10**6), max_size=25), st.sampled_from([0.0, 0.25, 0.9]), _SIZES, st.booleans())
def test_keyed_pages_walk_both_ways_where_keys_are_apart(
    numbers: set[int], fraction: float, size: int, descending: bool
) -> None:
    # Rounded cursors cannot tell rows less than a whole number apart; going back, Sentry's own then repeat some.
    rows = sorted((number + fraction for number in numbers), reverse=descending)

    def way(rows: Any, size: int, cursor: Cursor) -> Page[Any]:
        return page_by_key(rows, size, cursor, lambda row: row, descending=descending)

    pages = _walk(way, rows, size)
    assert [row for page in pages for row in page.items] == rows
    for before, page in pairwise(pages):
        assert page.has_previous
        back = way(rows, size, page.previous)
        assert list(back.items) == list(before.items)
        assert back.has_previous is before.has_previous


@given(st.lists(st.sampled_from([5.25, 5.5, 5.75, 7.5]), max_size=20), _SIZES)
def test_keyed_pages_walk_on_where_keys_are_nearly_the_same(keys: list[float], size: int) -> None:
    rows = [(key, index) for index, key in enumerate(sorted(keys, reverse=True))]

    def way(rows: Any, size: int, cursor: Cursor) -> Page[Any]:
        return page_by_key(rows, size, cursor, lambda row: row[0], descending=True)

    assert [row for page in _walk(way, rows, size) for row in page.items] == rows


def test_going_on_from_a_page_reached_backwards_loses_a_row_as_on_a_real_server() -> None:
    rows = [9.5, 5.5]
    first = page_by_key(rows, 1, Cursor(), float, descending=True)
    second = page_by_key(rows, 1, first.next, float, descending=True)
    back = page_by_key(rows, 1, second.previous, float, descending=True)
    assert list(back.items) == [9.5]
    assert list(page_by_key(rows, 1, back.next, float, descending=True).items) == []


def test_an_empty_list_has_both_cursors() -> None:
    nothing: list[float] = []
    for page in (
        page_by_key(nothing, 5, Cursor(), float, descending=True),
        page_by_score(nothing, 5, Cursor(), int),
    ):
        assert (str(page.previous), str(page.next)) == ("0:0:1", "0:0:0")
        assert (page.has_previous, page.has_next) == (False, False)


def test_another_page_size_in_the_middle_of_a_walk_skips_rows() -> None:
    rows = list(range(300))
    first = page_by_number(rows, 100, Cursor())
    assert page_by_number(rows, 5, first.next).items == [195, 196, 197, 198, 199]


@pytest.mark.parametrize("way", [page_by_number, page_by_offset])
def test_before_the_first_page_is_nothing(way: Way) -> None:
    with pytest.raises(Refused) as caught:
        way(range(5), 5, Cursor(5, -1, is_prev=True))
    assert b"Pagination offset cannot be negative" in caught.value.answer.body


def test_page_sizes_are_bounded_and_limits_clamped() -> None:
    assert (parse_size(None), parse_size("7"), parse_size("0")) == (100, 7, 0)
    assert (parse_limit(None), parse_limit("7"), parse_limit("0"), parse_limit("1000")) == (100, 7, 100, 100)
    for parse, text in ((parse_size, "101"), (parse_size, "x"), (parse_limit, "x")):
        with pytest.raises(Refused):
            parse(text)


def test_links_keep_the_other_parameters_and_name_both_ways() -> None:
    page = page_by_number(range(5), 2, Cursor(2, 1))
    link = page.headers("http://sandbox/x/", [("query", "a b"), ("cursor", "2:1:0")])["link"]
    assert link == (
        '<http://sandbox/x/?query=a+b&cursor=2:0:1>; rel="previous"; results="true"; cursor="2:0:1", '
        '<http://sandbox/x/?query=a+b&cursor=2:2:0>; rel="next"; results="true"; cursor="2:2:0"'
    )
