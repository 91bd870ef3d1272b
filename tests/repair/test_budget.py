from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.repair.budget import find_pause
from service.sentry.limits import RateLimitState

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SOON = int(NOW.timestamp()) + 1
COUNTS = st.none() | st.integers(0, 100)


@pytest.mark.parametrize(
    ("limit", "remaining", "is_free"), [(40, 40, True), (40, 20, True), (40, 19, False), (1, 0, False), (None, 0, True)]
)
def test_half_of_a_window_is_left_to_others(limit, remaining, is_free):
    assert find_pause(RateLimitState(limit, remaining, SOON, None, None), NOW) == (0.0 if is_free else 1.0)
    assert find_pause(RateLimitState(None, None, SOON, limit, remaining), NOW) == (0.0 if is_free else 1.0)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(-100, 100))
def test_a_window_that_is_over_says_nothing(limit, remaining, concurrent, free, seconds):
    state = RateLimitState(limit, remaining, int(NOW.timestamp()) + seconds, concurrent, free)
    assert find_pause(state, NOW) in {0.0, float(max(seconds, 0))}


def test_without_limits_there_is_room():
    assert find_pause(None, NOW) == 0.0
    assert find_pause(RateLimitState(40, 0, None, 25, 0), NOW) == 0.0
