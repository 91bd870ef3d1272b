from hypothesis import given
from hypothesis import strategies as st

from service.sentry.breaker import Breaker


def broken() -> Breaker:
    breaker = Breaker()
    for _ in range(100):
        if breaker.admit(0.0) > 0.0:
            return breaker
        breaker.fail(0.0)
    raise AssertionError("it never opens")


def test_single_failures_open_nothing() -> None:
    breaker = Breaker()
    for _ in range(100):
        assert breaker.admit(0.0) == 0.0
        breaker.fail(0.0)
        assert breaker.admit(0.0) == 0.0
        breaker.succeed()


def test_failures_in_a_row_open_it_and_say_for_how_long() -> None:
    assert broken().admit(0.25) == 0.75


def test_after_the_pause_one_call_tries() -> None:
    breaker = broken()
    assert breaker.admit(1.0) == 0.0
    assert breaker.admit(1.0) > 0.0


def test_a_successful_try_closes_it() -> None:
    breaker = broken()
    breaker.admit(1.0)
    breaker.succeed()
    assert [breaker.admit(1.0) for _ in range(3)] == [0.0] * 3


def test_failed_tries_double_the_pause_up_to_a_bound() -> None:
    breaker, now, pauses = broken(), 1.0, []
    for _ in range(8):
        assert breaker.admit(now) == 0.0
        breaker.fail(now)
        pauses.append(breaker.admit(now))
        now += pauses[-1]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


def test_an_abandoned_try_leaves_room_for_another() -> None:
    breaker = broken()
    breaker.admit(1.0)
    breaker.abandon()
    assert breaker.admit(1.0) == 0.0


def test_calls_that_were_under_way_when_it_opened_do_not_prolong_the_pause() -> None:
    breaker = broken()
    breaker.fail(0.9)
    assert breaker.admit(1.0) == 0.0


@given(st.lists(st.sampled_from(["admit", "succeed", "fail", "abandon"]), max_size=60))
def test_it_always_lets_a_call_try_in_the_end(steps: list[str]) -> None:
    breaker, now, admitted = Breaker(), 0.0, 0
    for step in steps:
        now += 0.1
        if step == "admit":
            admitted += breaker.admit(now) == 0.0
        elif admitted:
            admitted -= 1
            breaker.fail(now) if step == "fail" else getattr(breaker, step)()
    for _ in range(admitted):
        breaker.abandon()
    assert breaker.admit(now + 31.0) == 0.0
