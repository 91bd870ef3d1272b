import heapq
import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sentry.limits import Bucket, RateLimitState, parse_rate_limit
from tests.scale import scaled

EPOCH = 1_795_000_000.25


def headers(limit: int, remaining: int, reset: int, concurrent: int | str = 25) -> dict[str, str]:
    return {
        "x-sentry-rate-limit-limit": str(limit),
        "x-sentry-rate-limit-remaining": str(remaining),
        "x-sentry-rate-limit-reset": str(reset),
        "x-sentry-rate-limit-concurrentlimit": str(concurrent),
        "x-sentry-rate-limit-concurrentremaining": "None",
    }


def settle(bucket: Bucket, serial: int, told: dict[str, str], now: float, *, refused: bool = False) -> None:
    bucket.settle(serial, parse_rate_limit(told), told, refused=refused, now=now, epoch=EPOCH + now)


class FixedWindow:
    """Sentry's limiter: counts in windows of whole seconds of its own clock, when it gets to a request."""

    def __init__(self, limit: int, window: int, *, skew: float = 0.0) -> None:
        self.limit, self.window, self.skew = limit, window, skew
        self.counts: dict[int, int] = {}
        self.refused = self.served = 0

    def answer(self, now: float) -> tuple[bool, dict[str, str]]:
        number = int((EPOCH + now + self.skew) // self.window)
        count = self.counts[number] = self.counts.get(number, 0) + 1
        is_refused = count > self.limit
        self.refused += is_refused
        self.served += not is_refused
        return is_refused, headers(self.limit, max(self.limit - count, 0), (number + 1) * self.window)


def simulate(server: FixedWindow, calls: int, *, seed: int, latency: float, others: float = 0.0) -> float:
    """Many callers at once against one bucket; returns how long all of them took."""
    dice = random.Random(seed)
    bucket = Bucket()
    waiting, now = calls, 0.0
    events: list[tuple[float, int, int, bool, dict[str, str]]] = []  # (when, kind, serial, refused, headers)
    order = 0
    while waiting or events:
        wait = bucket.claim(now) if waiting else math.inf
        if wait == 0.0:
            waiting -= 1
            order += 1
            heapq.heappush(events, (now + dice.uniform(0.1, 1) * latency, order, bucket.serial, False, {}))
            continue
        if wait != math.inf and (not events or now + wait < events[0][0]):
            now += wait
            continue
        assert events, "nothing is in flight and nothing may go: a deadlock"
        now, _, serial, is_refused, told = heapq.heappop(events)
        if not told:  # the request arrives at the server
            if dice.random() < others:
                server.answer(now)
            is_refused, told = server.answer(now)
            order += 1
            heapq.heappush(events, (now + dice.uniform(0.1, 1) * latency, order, serial, is_refused, told))
            continue
        settle(bucket, serial, told, now, refused=is_refused)
        waiting += is_refused
    return now


@pytest.mark.parametrize(("limit", "window"), [(3, 1), (10, 1), (40, 1), (40, 10), (100, 60)])
@pytest.mark.parametrize("latency", [0.005, 0.08, 0.9])
def test_a_process_alone_is_refused_at_most_once_in_a_hundred_calls(limit: int, window: int, latency: float) -> None:
    calls = scaled(test=1000, soak=20000)
    server = FixedWindow(limit, window)
    took = simulate(server, calls, seed=limit, latency=latency)
    assert server.served == calls
    assert server.refused <= calls / 100
    assert took < 4 * (calls / limit + 2) * max(window, latency * 2)  # and it does use what it may


@settings(max_examples=scaled(test=50, soak=2000), deadline=None)
@given(
    seed=st.integers(0, 10**6),
    skew=st.floats(-700, 700),
    limit=st.integers(1, 50),
    latency=st.floats(0.001, 2),
    others=st.floats(0, 0.9),
)
def test_every_call_is_served_in_the_end_whatever_the_clocks_and_neighbours_do(
    seed: int, skew: float, limit: int, latency: float, others: float
) -> None:
    server = FixedWindow(limit, 1, skew=skew)
    simulate(server, 100, seed=seed, latency=latency, others=others)
    assert server.served >= 100


def test_nothing_is_held_where_sentry_names_no_limit() -> None:
    bucket = Bucket()
    assert [bucket.claim(0), bucket.claim(0), bucket.claim(0)] == [0.0, 0.0, math.inf]
    settle(bucket, 1, {}, 0)
    assert [bucket.claim(0) for _ in range(500)] == [0.0] * 500


def test_a_used_up_window_is_waited_for() -> None:
    bucket = Bucket()
    bucket.claim(0)
    settle(bucket, bucket.serial, headers(40, 0, math.floor(EPOCH) + 5), 0)
    assert 4.7 < bucket.claim(0) < 4.85
    assert 4.7 < bucket.wait(0) < 4.85
    assert bucket.claim(5) == 0.0


def test_calls_at_the_same_time_stay_under_the_concurrent_limit_and_shrink_when_refused() -> None:
    bucket = Bucket()
    bucket.claim(0)
    settle(bucket, bucket.serial, headers(100, 99, math.floor(EPOCH) + 60, concurrent=8), 0)
    assert [bucket.claim(0) for _ in range(9)] == [0.0] * 8 + [math.inf]
    settle(bucket, bucket.serial, headers(100, 80, math.floor(EPOCH) + 60, concurrent=8), 0, refused=True)
    assert bucket.claim(0) == math.inf
    for _ in range(4):
        settle(bucket, bucket.serial, headers(100, 80, math.floor(EPOCH) + 60, concurrent=8), 0)
    assert bucket.claim(0) == 0.0


def test_retry_after_holds_the_whole_bucket() -> None:
    bucket = Bucket()
    bucket.claim(0)
    settle(bucket, bucket.serial, {"retry-after": "7"}, 0, refused=True)
    assert bucket.claim(1) == bucket.wait(1) == 6.0
    assert bucket.claim(7) == 0.0


def test_a_bucket_whose_calls_all_get_lost_in_a_new_window_lets_one_find_out() -> None:
    bucket = Bucket()
    bucket.claim(0)
    settle(bucket, bucket.serial, headers(2, 1, math.floor(EPOCH) + 1), 0)
    assert [bucket.claim(9), bucket.claim(9), bucket.claim(9)] == [0.0, 0.0, math.inf]
    bucket.abandon()
    assert bucket.claim(9) == math.inf
    bucket.abandon()
    assert bucket.claim(9) == 0.0


def test_headers_are_read_as_they_are() -> None:
    state = parse_rate_limit(headers(40, 36, 1_795_407_882))
    assert state == RateLimitState(
        limit=40, remaining=36, reset=1_795_407_882, concurrent_limit=25, concurrent_remaining=None
    )
    assert state.reset_at == datetime(2026, 11, 23, 4, 24, 42, tzinfo=UTC)


def test_no_headers_are_no_state() -> None:
    assert parse_rate_limit({"content-type": "application/json"}) is None


@given(st.dictionaries(st.sampled_from(sorted(headers(1, 1, 1))), st.text(max_size=20)))
def test_any_headers_are_read_without_an_error_and_settled(told: dict[str, str]) -> None:
    bucket = Bucket()
    bucket.claim(0)
    settle(bucket, bucket.serial, told, 0, refused=True)
    assert bucket.claim(10_000) == 0.0
