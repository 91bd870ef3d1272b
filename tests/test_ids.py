import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ids import build_user_id, is_connection_id, new_id, parse_user_id, parse_user_ids
from tests.scale import scaled


def test_ids_say_what_they_name_and_differ():
    ids = [new_id("con") for _ in range(scaled(test=1000, soak=100_000))]
    assert len(set(ids)) == len(ids)
    assert all(is_connection_id(each) for each in ids)


def test_ids_sort_by_birth(monkeypatch: pytest.MonkeyPatch):
    born = []
    for milliseconds in (1_700_000_000_000, 1_700_000_000_001, 1_900_000_000_000, 2**47):
        monkeypatch.setattr(time, "time_ns", lambda: milliseconds * 1_000_000)  # noqa: B023  (called at once)
        born.append(new_id("con"))
    assert born == sorted(born)


@pytest.mark.parametrize(
    "text", ["", "con_", "con_1", "usr_" + "0" * 26, "con_" + "0" * 25, "con_" + "0" * 27, "con_" + "0" * 26 + "\n"]
)
def test_what_is_no_connections_id(text: str):
    assert not is_connection_id(text)


@pytest.mark.parametrize("letter", "ilouIL-")
def test_letters_that_are_mistaken_for_others_are_not_used(letter: str):
    assert not is_connection_id("con_" + "0" * 25 + letter)


@given(st.integers(min_value=0, max_value=2**63 - 1).map(str))
def test_a_users_id_is_its_connections_and_members(member_id: str):
    connection_id = new_id("con")
    user_id = build_user_id(connection_id, member_id)
    assert parse_user_id(user_id) == (connection_id, member_id)
    assert not is_connection_id(user_id)


@pytest.mark.parametrize("number", [2**63, 10**19 - 1])
def test_a_member_id_that_sentry_cannot_hold_is_none(number: int):
    assert parse_user_id(build_user_id(new_id("con"), str(number))) is None


@given(st.text() | st.from_regex(r"usr_[0-9a-z]{25,27}_[0-9٣]{0,21}\n?", fullmatch=True))
def test_a_users_id_is_parsed_whole_or_not_at_all(text: str):
    found = parse_user_id(text)
    if found is not None:
        assert build_user_id(*found) == text
        assert is_connection_id(found[0])
        assert found[1].isascii()
        assert found[1].isdigit()


_RIGHT = st.builds(
    build_user_id, st.sampled_from([new_id("con") for _ in range(3)]), st.integers(0, 2**64).map(str)
) | st.from_regex(r"usr_[0-9a-z]{26}_[0-9]{1,19}", fullmatch=True)


@given(st.lists(_RIGHT) | st.lists(_RIGHT | st.text() | st.from_regex(r"usr_[0-9a-z]{26}[_\n0-9٣]{0,21}")))
def test_many_users_ids_are_parsed_as_each_would_be(texts: list[str]):
    assert parse_user_ids(texts) == [parse_user_id(text) for text in texts]
