from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sentry.retry import (
    Failure,
    RetryBudget,
    costs_budget,
    plan_retry,
    read_reset,
    read_retry_after,
    read_skew,
    told_wait,
)

NOW = 1_795_000_000.5
FIRST: dict[str, Any] = {"attempt": 1, "attempts": 3, "now": NOW}
WRITES = ["POST", "PUT", "PATCH", "DELETE"]


def date(epoch: float) -> str:
    return format_datetime(datetime.fromtimestamp(epoch, UTC), usegmt=True)


@pytest.mark.parametrize("outcome", [500, 502, 503, 504, 599, Failure.LOST, Failure.GARBLED, Failure.UNSENT, 429])
def test_reads_are_tried_again(outcome: int | Failure) -> None:
    wait = plan_retry(outcome, {}, method="GET", **FIRST)
    assert wait is not None
    assert 0 <= wait <= 5


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("outcome", [500, 502, 503, 504, Failure.LOST, Failure.GARBLED])
def test_writes_that_may_have_happened_are_not(method: str, outcome: int | Failure) -> None:
    assert plan_retry(outcome, {}, method=method, **FIRST) is None


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("outcome", [429, Failure.UNSENT])
def test_writes_that_cannot_have_happened_are(method: str, outcome: int | Failure) -> None:
    assert plan_retry(outcome, {}, method=method, **FIRST) is not None


@pytest.mark.parametrize("method", ["GET", *WRITES])
def test_a_certificate_is_not_doubted_twice(method: str) -> None:
    assert plan_retry(Failure.DISTRUSTED, {}, method=method, **FIRST) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_refusals_stand(status: int) -> None:
    assert plan_retry(status, {}, method="GET", **FIRST) is None


@pytest.mark.parametrize("outcome", [429, 503, Failure.UNSENT, Failure.LOST])
def test_the_last_attempt_is_the_last(outcome: int | Failure) -> None:
    assert plan_retry(outcome, {}, method="GET", attempt=3, attempts=3, now=NOW) is None


def test_waits_grow_in_bound_and_vary() -> None:
    waits = [plan_retry(503, {}, method="GET", attempt=20, attempts=99, now=NOW) for _ in range(200)]
    assert len(set(waits)) > 100
    assert all(wait is not None and wait <= 5 for wait in waits)


def test_a_429_waits_for_what_it_is_told() -> None:
    reset = {"x-sentry-rate-limit-reset": "1795000003", "x-sentry-rate-limit-remaining": "0"}
    assert plan_retry(429, reset, method="POST", **FIRST) == 2.5
    assert plan_retry(429, reset | {"retry-after": "7"}, method="POST", **FIRST) == 7.0


def test_a_503_waits_at_least_as_long_as_it_is_told() -> None:
    assert plan_retry(503, {"retry-after": "9"}, method="GET", **FIRST) == 9.0


def test_a_refusal_with_calls_left_is_about_calls_at_the_same_time() -> None:
    assert told_wait({"x-sentry-rate-limit-reset": "1795000009", "x-sentry-rate-limit-remaining": "3"}, NOW) is None


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("99999999999999999999", 3600.0),
        (date(NOW + 30), 29.5),
        (date(NOW - 30), 0.0),
        ("Mon, 23 Nov 2026 04:24:42 -0000", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after_has_two_forms(value: str, wait: float | None) -> None:
    assert read_retry_after({"retry-after": value}, NOW) == wait


def test_a_reset_is_read_on_the_servers_clock_where_ours_is_off() -> None:
    reset = {"x-sentry-rate-limit-reset": str(int(NOW) + 3)}
    assert read_reset(reset, NOW) == 2.5
    assert read_reset(reset | {"date": date(NOW)}, NOW) == 2.5
    assert read_reset(reset | {"date": date(NOW)}, NOW + 600) == 3.0
    assert read_reset(reset | {"date": date(NOW)}, NOW - 600) == 3.0
    assert read_reset(reset, NOW - 10**6) == 3600.0
    assert read_reset({"x-sentry-rate-limit-reset": "None"}, NOW) is None


@pytest.mark.parametrize("skew", [0, 1, -1, 600, -600, 10**8])
def test_the_servers_clock_is_known_to_half_a_second(skew: int) -> None:
    found = read_skew({"date": date(NOW + skew)}, NOW)
    assert found is not None
    assert abs(found - skew) <= 0.5


@pytest.mark.parametrize("text", ["", "soon", "Mon, 99 Nov 2026 04:24:52 GMT"])
def test_a_server_without_a_clock_has_no_skew(text: str) -> None:
    assert read_skew({"date": text} if text else {}, NOW) is None


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_it_or_makes_it_wait_without_end(after: str, reset: str, now: str) -> None:
    headers = {"retry-after": after, "x-sentry-rate-limit-reset": reset, "date": now}
    wait = plan_retry(429, headers, method="GET", **FIRST)
    assert wait is not None
    assert 0.0 <= wait <= 3600.0


def test_a_429_that_tells_its_terms_costs_nothing() -> None:
    assert not costs_budget(429, {"retry-after": "1"})
    assert not costs_budget(429, {"x-sentry-rate-limit-limit": "40"})
    assert costs_budget(429, {})
    assert costs_budget(503, {"retry-after": "1"})
    assert costs_budget(Failure.LOST, {})


def test_repeating_adds_a_tenth_in_the_long_run() -> None:
    budget, repeated = RetryBudget(), 0
    for _ in range(10_000):
        budget.earn()
        while budget.spend():
            repeated += 1
    assert 1000 <= repeated <= 1011


def test_quiet_times_save_up_no_storm() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 10
