import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.directory.query import (
    DateTimeRange,
    Place,
    UserFilter,
    UserOrder,
    UserOrderField,
    place_key,
    place_of,
    split_filter,
)
from service.directory.user import User, UserStatus
from tests.directory.people import invited, person, row, user

PEOPLE = [
    person(1, name="Ada Lovelace", orgRole="owner"),
    person(2, name="ada"),
    person(3, flags={"member-limit:restricted": True}),
    user(invited(4)),
    user(invited(5, expired=True, orgRole="manager")),
    person(6, email="ada@lumen.example", dateCreated="2026-02-02T00:00:00Z"),
]


def kept(condition: UserFilter) -> list[str]:
    query = split_filter(condition)
    return [each.member.id for each in PEOPLE if query.keeps is None or query.keeps(each)]


@pytest.mark.parametrize(
    ("condition", "search", "is_ours"),
    [
        (UserFilter(), None, False),
        (UserFilter(roles=("owner", "admin", "owner")), "role:owner role:admin", False),
        (UserFilter(statuses=(UserStatus.INVITED, UserStatus.EXPIRED)), "isInvited:true", False),
        (UserFilter(statuses=(UserStatus.ACTIVE, UserStatus.RESTRICTED)), "isInvited:false", False),
        (UserFilter(statuses=(UserStatus.INVITED,)), "isInvited:true", True),
        (UserFilter(statuses=(UserStatus.ACTIVE, UserStatus.INVITED)), None, True),
        (UserFilter(statuses=()), None, True),
        (UserFilter(roles=()), None, True),
        (UserFilter(email=" Ada@Lumen.example "), "email:ada@lumen.example", True),
        (UserFilter(email="a b:c"), None, True),
        (UserFilter(name="Ada Love"), "ada love", True),
        (UserFilter(name='ada" role:owner'), None, True),
        (UserFilter(name="ada", roles=("owner",)), "role:owner", True),
        (UserFilter(created_at=DateTimeRange()), None, True),
        (UserFilter(roles=("owner",), group_ids=("1",)), None, True),
        (UserFilter(group_ids=("1",)), None, False),
    ],
)
def test_what_sentry_can_apply_is_left_to_it(condition: UserFilter, search: str | None, is_ours: bool) -> None:
    query = split_filter(condition)
    assert query.search == search
    assert (query.keeps is not None) is is_ours


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (UserFilter(email="ADA@lumen.example"), ["6"]),
        (UserFilter(name="ADA"), ["1", "2"]),
        (UserFilter(name="ada", roles=("owner",), group_ids=("1",)), ["1"]),
        (UserFilter(roles=("odd role",)), []),
        (UserFilter(roles=()), []),
        (UserFilter(statuses=(UserStatus.RESTRICTED,)), ["3"]),
        (UserFilter(statuses=(UserStatus.EXPIRED,)), ["5"]),
        (UserFilter(created_at=DateTimeRange(from_=datetime(2026, 2, 2, tzinfo=UTC))), ["6"]),
        (UserFilter(created_at=DateTimeRange(until=datetime(2026, 2, 2, tzinfo=UTC))), ["1", "2", "3", "4", "5"]),
    ],
)
def test_what_is_left_to_us_is_applied(condition: UserFilter, expected: list[str]) -> None:
    assert kept(condition) == expected


@given(st.text(), st.text(), st.lists(st.text(), min_size=1))
def test_no_text_of_a_caller_becomes_another_token(email: str, name: str, roles: list[str]) -> None:
    for condition in (UserFilter(email=email, roles=tuple(roles)), UserFilter(name=name)):
        search = split_filter(condition).search or ""
        keys = [token.split(":")[0] for token in search.split(" ") if ":" in token]
        assert set(keys) <= {"email", "role"}
        assert not re.search(r"[\"'\\\[\]()*]", search)
        assert not condition.name or ":" not in search


def test_an_unknown_moment_is_in_no_span() -> None:
    assert not DateTimeRange().holds(None)
    assert DateTimeRange().holds(datetime.now(UTC))


moments = st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1))  # noqa: DTZ001


@given(st.lists(st.tuples(moments, st.none() | st.text("abAB", max_size=2)), max_size=8), st.booleans())
def test_an_order_puts_unknown_values_last_and_ties_in_the_default_order(
    values: list[tuple[datetime | None, str | None]], descending: bool
) -> None:
    users = [
        person(number, dateCreated=moment.isoformat() if moment else None, name=name)
        for number, (moment, name) in enumerate(values)
    ]
    for field in (UserOrderField.CREATED_AT, UserOrderField.NAME):
        order = UserOrder(field, descending)
        places = sorted((place_of(each, order) for each in users), key=place_key(order))
        known: list[Any] = [place.value for place in places if place.value is not None]
        assert known == sorted(known, reverse=descending)
        assert all(place.value is None for place in places[len(known) :])
        for one, other in itertools.pairwise(places):
            if one.value == other.value:
                assert one.member_id < other.member_id


def test_the_default_order_is_connection_then_member_id() -> None:
    users: list[User] = [person(10, "con_a"), person(9, "con_a"), person(1, "con_b")]
    places = sorted((place_of(each, None) for each in users), key=place_key(None))
    assert places == [Place(None, "con_a", 9), Place(None, "con_a", 10), Place(None, "con_b", 1)]


def test_orders_follow_the_values() -> None:
    later = person(1, dateCreated=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    order = UserOrder(UserOrderField.CREATED_AT)
    assert place_key(order)(place_of(user(row(2)), order)) < place_key(order)(place_of(later, order))
