"""When a delivery is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.schedule import FAILING_FOR, WAITS, has_failed_too_long, plan_attempt, read_asked

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = 3600.0


def test_the_waits_are_those_that_are_promised() -> None:
    said = [5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600]
    assert [wait.total_seconds() for wait in WAITS] == said


def test_ten_attempts_are_made() -> None:
    assert [plan_attempt(number, None, 0.5) for number in range(1, 11)] == [*WAITS, None]
    assert plan_attempt(11, None, 0.5) is None


@given(attempts=st.integers(1, 9), draw=st.floats(0, 1))
def test_a_wait_is_spread_by_a_tenth_to_either_side(attempts: int, draw: float) -> None:
    wait = plan_attempt(attempts, None, draw)
    assert wait is not None
    assert 0.899 <= wait / WAITS[attempts - 1] <= 1.101


@given(attempts=st.integers(1, 30), asked=st.text(max_size=30) | st.integers(0, 10**15).map(str), status=st.integers())
def test_whatever_a_receiver_asks_for_a_wait_is_bounded(attempts: int, asked: str, status: int) -> None:
    seconds = read_asked(status, {"retry-after": asked}, NOW.timestamp())
    assert seconds is None or (0 <= seconds <= HOUR and status in {429, 503})
    wait, unasked = plan_attempt(attempts, seconds, 1.0), plan_attempt(attempts, None, 1.0)
    assert (wait is None) == (unasked is None)
    if wait is not None and unasked is not None:
        assert unasked <= wait <= max(unasked, timedelta(hours=1))


@pytest.mark.parametrize(
    ("status", "asked", "seconds"),
    [
        (429, "120", 120.0),
        (503, "120", 120.0),
        (500, "120", None),
        (200, "120", None),
        (429, "1000000000000", HOUR),
        (429, "1e12", None),
        (429, "-5", None),
        (429, "", None),
        (503, "Fri, 01 May 2026 12:02:00 GMT", 120.0),
        (503, "Fri, 01 May 2099 12:00:00 GMT", HOUR),
        (503, "Fri, 01 May 2020 12:00:00 GMT", 0.0),
    ],
)
def test_what_a_receiver_asks_for(status: int, asked: str, seconds: float | None) -> None:
    assert read_asked(status, {"retry-after": asked}, NOW.timestamp()) == seconds


def test_a_long_wait_is_asked_for_and_a_short_one_shortens_nothing() -> None:
    assert plan_attempt(1, 120.0, 0.5) == timedelta(seconds=120)
    assert plan_attempt(3, 1.0, 0.5) == timedelta(minutes=30)


def test_five_days_of_failures_are_too_many() -> None:
    assert not has_failed_too_long(None, NOW)
    assert not has_failed_too_long(NOW - FAILING_FOR + timedelta(seconds=1), NOW)
    assert has_failed_too_long(NOW - timedelta(days=5), NOW)
