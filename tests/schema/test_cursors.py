import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidCursor
from service.schema.cursors import CursorCodec


class Place(msgspec.Struct, array_like=True):
    page_cursor: str | None
    offset: int


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


CODEC = CursorCodec(b"k" * 32, clock=Clock())
SCOPE = CODEC.scope("ten_a", "users", None)
PLACE = Place("0:100:0", 7)


@given(st.text() | st.none(), st.integers(0, 100), st.text(), st.lists(st.text()))
def test_a_sealed_position_comes_back(page_cursor: str | None, offset: int, tenant: str, arguments: list[str]) -> None:
    scope = CODEC.scope(tenant, "users", arguments)
    place = Place(page_cursor, offset)
    if len(cursor := CODEC.seal(scope, place)) <= 2000:
        assert CODEC.open(scope, cursor, Place) == place


@given(st.lists(st.builds(Place, st.text(max_size=9) | st.none(), st.integers(0, 300))))
def test_many_are_sealed_as_each_would_be(places: list[Place]) -> None:
    cursors = CODEC.seal_all(SCOPE, places)
    assert cursors == [CODEC.seal(SCOPE, place) for place in places]
    assert [CODEC.open(SCOPE, cursor, Place) for cursor in cursors] == places


def test_a_cursor_with_any_bit_flipped_is_refused() -> None:
    cursor = CODEC.seal(SCOPE, PLACE)
    for index, character in enumerate(cursor):
        for bit in range(7):
            flipped = cursor[:index] + chr(ord(character) ^ (1 << bit)) + cursor[index + 1 :]
            with pytest.raises(InvalidCursor):
                CODEC.open(SCOPE, flipped, Place)


@pytest.mark.parametrize(
    "other",
    [
        CODEC.scope("ten_b", "users", None),
        CODEC.scope("ten_a", "connections", None),
        CODEC.scope("ten_a", "users", ["con_1"]),
        CODEC.scope("ten_ausers", None),
    ],
)
def test_a_cursor_is_bound_to_its_tenant_and_list(other: bytes) -> None:
    with pytest.raises(InvalidCursor, match="does not belong"):
        CODEC.open(other, CODEC.seal(SCOPE, PLACE), Place)


def test_a_cursor_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        CODEC.open(SCOPE, CursorCodec(b"x" * 32, clock=Clock()).seal(SCOPE, PLACE), Place)


def test_a_cursor_lasts_a_day() -> None:
    clock = Clock()
    codec = CursorCodec(b"k" * 32, clock=clock)
    cursor = codec.seal(SCOPE, PLACE)
    clock.now += 24 * 3600
    assert codec.open(SCOPE, cursor, Place) == PLACE
    clock.now += 1
    with pytest.raises(InvalidCursor, match="expired"):
        codec.open(SCOPE, cursor, Place)


@given(st.text(max_size=3000) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.open(SCOPE, text, Place)
