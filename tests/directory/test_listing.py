import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.directory.listing import (
    Position,
    Slice,
    UserPage,
    Window,
    scan,
    walk_backward,
    walk_forward,
)
from service.directory.query import Place, UserOrder, UserOrderField
from service.directory.user import User
from service.errors import BadInput, ScanLimitExceeded, UpstreamUnavailable
from tests.directory.people import person

PAGE = 4


class Upstream:
    """Connections with so many users each; pages of four, cursors as Sentry's: value, page number, direction."""

    def __init__(self, sizes: dict[str, int], broken: frozenset[str] = frozenset()) -> None:
        self.users = {each: [person(number, each) for number in range(size)] for each, size in sizes.items()}
        self.broken = broken
        self.calls: list[tuple[str, str | None]] = []
        self.running = 0

    async def __call__(self, connection_id: str, page_cursor: str | None) -> UserPage:
        self.calls.append((connection_id, page_cursor))
        self.running += 1
        try:
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        if connection_id in self.broken:
            raise UpstreamUnavailable("down")
        users = self.users[connection_id]
        number = int(page_cursor.split(":")[1]) if page_cursor else 0
        start = number * PAGE
        return UserPage(
            users=users[start : start + PAGE],
            page_cursor=page_cursor,
            next_cursor=f"{PAGE}:{number + 1}:0" if start + PAGE < len(users) else None,
            previous_cursor=f"{PAGE}:{number - 1}:1" if number else None,
        )

    async def pages(self, connection_id: str) -> AsyncIterator[UserPage]:
        cursor: str | None = None
        while True:
            page = await self(connection_id, cursor)
            yield page
            if (cursor := page.next_cursor) is None:
                return

    @property
    def all(self) -> list[str]:
        return [user.id for each in sorted(set(self.users) - self.broken) for user in self.users[each]]

    def sources(self) -> list[tuple[str, Callable[[], AsyncIterator[UserPage]]]]:
        return [(each, partial(self.pages, each)) for each in sorted(self.users)]


def names(found: Slice) -> list[str]:
    return [user.id for user in found.users]


def last_position(found: Slice) -> Position:
    position = found.positions[-1]
    assert isinstance(position, Position)
    return position


sizes = st.dictionaries(st.sampled_from(["con_a", "con_b", "con_c", "con_d"]), st.integers(0, 11), min_size=1)


@given(sizes, st.integers(1, 9), st.booleans())
def test_walking_forward_gives_everybody_once(sizes: dict[str, int], first: int, may_be_empty: bool) -> None:
    upstream = Upstream(sizes)

    async def walk() -> None:
        seen: list[str] = []
        after: Position | None = None
        while True:
            found = await walk_forward(upstream, sorted(sizes), first, after, may_be_empty=may_be_empty)
            assert found.has_previous is (after is not None)
            seen += names(found)
            assert len(found.users) == first or not found.has_next
            if not found.has_next:
                break
            if may_be_empty:
                assert len(seen) < len(upstream.all)
            after = last_position(found)
        assert seen == upstream.all
        assert upstream.running == 0

    asyncio.run(walk())


@given(sizes, st.integers(1, 9))
def test_walking_backward_gives_the_same_in_reverse(sizes: dict[str, int], last: int) -> None:
    upstream = Upstream(sizes)

    async def walk() -> None:
        whole = await walk_forward(upstream, sorted(sizes), 1000, None, may_be_empty=True)
        assert names(whole) == upstream.all
        for index, position in enumerate(whole.positions):
            assert isinstance(position, Position)
            found = await walk_backward(upstream, sorted(sizes), last, position)
            assert names(found) == upstream.all[max(0, index - last) : index]
            assert found.has_next
            assert found.has_previous is (index > last)
            # A position met on the way back leads forward to the same users.
            for user_id, back in zip(names(found), found.positions, strict=True):
                assert isinstance(back, Position)
                ahead = await walk_forward(upstream, sorted(sizes), 1, back, may_be_empty=True)
                following = upstream.all[upstream.all.index(user_id) + 1 :]
                assert names(ahead) == following[:1]

    asyncio.run(walk())


async def test_a_full_page_of_one_connection_is_one_call() -> None:
    upstream = Upstream({"con_a": 9})
    first = await walk_forward(upstream, ["con_a"], PAGE, None, may_be_empty=False)
    assert first.has_next
    assert len(upstream.calls) == 1
    second = await walk_forward(upstream, ["con_a"], PAGE, last_position(first), may_be_empty=False)
    assert names(second) == upstream.all[PAGE : 2 * PAGE]
    assert len(upstream.calls) == 2


async def test_many_small_connections_are_read_ahead_without_waste() -> None:
    upstream = Upstream({f"con_{number:02}": 2 for number in range(20)})
    found = await walk_forward(upstream, sorted(upstream.users), 40, None, may_be_empty=False)
    assert names(found) == upstream.all
    assert len(upstream.calls) == 20
    upstream.calls.clear()
    await walk_forward(upstream, sorted(upstream.users), 10, None, may_be_empty=False)
    assert len(upstream.calls) == 5


async def test_a_failing_connection_is_reported_and_the_others_are_served() -> None:
    upstream = Upstream({"con_a": 3, "con_b": 3, "con_c": 3}, broken=frozenset({"con_b"}))
    found = await walk_forward(upstream, sorted(upstream.users), 10, None, may_be_empty=False)
    assert names(found) == upstream.all
    assert [failure.connection_id for failure in found.failures] == ["con_b"]
    back = await walk_backward(upstream, sorted(upstream.users), 10, last_position(found))
    assert names(back) == upstream.all[:-1]
    assert [failure.connection_id for failure in back.failures] == ["con_b"]
    scanned = await scan(upstream.sources(), Window(10), keeps=None, order=None, most=100, after=None, before=None)
    assert names(scanned) == upstream.all
    assert [failure.connection_id for failure in scanned.failures] == ["con_b"]


async def test_a_cancelled_walk_leaves_nothing_running() -> None:
    upstream = Upstream({f"con_{number:02}": 1 for number in range(20)})
    for ticks in range(20):
        walk = asyncio.ensure_future(walk_forward(upstream, sorted(upstream.users), 20, None, may_be_empty=False))
        for _ in range(ticks):
            await asyncio.sleep(0)
        walk.cancel()
        await asyncio.wait([walk])
        assert upstream.running == 0


orders = st.none() | st.builds(UserOrder, st.sampled_from(UserOrderField), st.booleans())


@given(sizes, st.integers(1, 9), orders)
def test_a_scan_pages_both_ways_over_everybody(sizes: dict[str, int], count: int, order: UserOrder | None) -> None:
    upstream = Upstream(sizes)

    async def cut(after: Place | None = None, before: Place | None = None, size: int = count) -> Slice:
        window = Window(size, before="given" if before else None)
        return await scan(upstream.sources(), window, keeps=None, order=order, most=1000, after=after, before=before)

    async def walk() -> None:
        whole = await cut(size=1000)
        assert sorted(names(whole)) == sorted(upstream.all)
        assert whole.total == len(upstream.all)
        seen: list[str] = []
        after: Place | None = None
        while True:
            found = await cut(after=after)
            seen += names(found)
            assert found.has_next is (len(seen) < len(upstream.all))
            if not found.has_next:
                break
            assert isinstance(found.positions[-1], Place)
            after = found.positions[-1]
        assert seen == names(whole)
        for index, place in enumerate(whole.positions):
            assert isinstance(place, Place)
            found = await cut(before=place)
            assert names(found) == names(whole)[max(0, index - count) : index]
            assert found.has_previous is (index > count)

    asyncio.run(walk())


async def test_a_scan_filters_and_stops_at_its_limit() -> None:
    upstream = Upstream({"con_a": 9, "con_b": 9})

    def keeps(user: User) -> bool:
        return int(user.member.id) >= 7

    found = await scan(upstream.sources(), Window(9), keeps=keeps, order=None, most=18, after=None, before=None)
    assert [user.member.id for user in found.users] == ["7", "8", "7", "8"]
    with pytest.raises(ScanLimitExceeded, match="more than 17"):
        await scan(upstream.sources(), Window(9), keeps=keeps, order=None, most=17, after=None, before=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, None, 10, None), "cannot be combined"),
        ((None, "c", 10, "c"), "cannot be combined"),
        ((None, None, 10, None), "needs `before`"),
        ((None, None, None, "c"), "needs `last`"),
        ((10, None, None, "c"), "needs `last`"),
        ((-1, None, None, None), "`first` must be from 0 to 1000"),
        ((1001, None, None, None), "`first` must be from 0 to 1000"),
        ((None, None, 1001, "c"), "`last` must be from 0 to 1000"),
    ],
)
def test_relay_arguments_that_make_no_sense_are_refused(
    arguments: tuple[int | None, str | None, int | None, str | None], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Window.of(*arguments, default=50, most=1000)


def test_relay_arguments_become_a_window() -> None:
    assert Window.of(None, None, None, None, default=50, most=1000) == Window(50)
    assert Window.of(0, "a", None, None, default=50, most=1000) == Window(0, after="a")
    assert Window.of(None, None, 3, "b", default=50, most=1000) == Window(3, before="b")
