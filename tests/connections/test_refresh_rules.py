import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.connections.models import ConnectionProblem
from service.connections.refresh_rules import (
    CURABLE,
    EXPIRY_MARGIN,
    LOST,
    SAID,
    SHORTEST_REST,
    backoff,
    explain_refusal,
    is_ripe,
    needs_refresh,
    plan_refresh,
    plan_retry,
)
from service.errors import (
    MissingScope,
    OutcomeUnknown,
    RateLimited,
    UnauthorizedReason,
    UpstreamNotFound,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
lives = st.timedeltas(min_value=timedelta(days=-30), max_value=timedelta(days=3650))
problems = st.sampled_from(ConnectionProblem)
seeds = st.integers(0, 2**32)


@given(moments, lives, seeds)
def test_what_can_be_refreshed_is_within_its_life_and_not_at_once(received, life, seed):
    random.seed(seed)
    planned = plan_refresh(received, received + life, is_refreshable=True)
    assert planned >= received + SHORTEST_REST
    if life > timedelta(hours=1):
        assert received + life * 0.7 <= planned <= received + life * 0.85
        assert planned < received + life - EXPIRY_MARGIN  # before anybody would wait for it


@given(moments, lives, seeds)
def test_what_is_planned_for_is_ripe_then_and_not_before_its_time(received, life, seed):
    random.seed(seed)
    expires = received + life
    assert is_ripe(received, expires, plan_refresh(received, expires, is_refreshable=True))
    if life > timedelta(minutes=30):
        # On a replica whose clock is ten minutes behind it is, too, where that is little of the life.
        planned = plan_refresh(received, expires, is_refreshable=True)
        assert life < timedelta(hours=8) or is_ripe(received, expires, planned - timedelta(minutes=10))
        assert not is_ripe(received, expires, received + life * 0.5)


@given(moments, lives)
def test_what_cannot_be_refreshed_is_looked_at_when_it_expires(received, life):
    assert plan_refresh(received, received + life, is_refreshable=False) == received + life


@given(moments, st.booleans(), seeds)
def test_what_does_not_expire_is_looked_at_once_a_day(received, is_refreshable, seed):
    random.seed(seed)
    planned = plan_refresh(received, None, is_refreshable=is_refreshable)
    assert timedelta(hours=20) <= planned - received <= timedelta(hours=28)
    assert not is_ripe(received, None, planned)


def test_links_made_at_once_are_not_refreshed_at_once():
    random.seed(1)
    expires = NOW + timedelta(days=30)
    planned = {plan_refresh(NOW, expires, is_refreshable=True) for _ in range(1000)}
    assert len(planned) == 1000
    assert max(planned) - min(planned) > timedelta(days=4)


@given(moments, problems, st.integers(0, 10_000), seeds)
def test_a_retry_lies_ahead_or_is_not_to_be_expected(clock, problem, failures, seed):
    random.seed(seed)
    again = plan_retry(clock, problem, failures)
    assert (again is None) == (problem in LOST - CURABLE)
    if again is not None:
        assert timedelta(seconds=1) <= again - clock <= timedelta(hours=1)


@given(st.integers(1, 10_000), seeds)
def test_sentrys_failures_are_waited_out_with_a_bound_that_doubles(failures, seed):
    random.seed(seed)
    again = plan_retry(NOW, ConnectionProblem.SENTRY_UNAVAILABLE, failures)
    assert again is not None
    bound = min(600.0, 2.0 ** min(failures, 20))
    assert 1.0 <= (again - NOW).total_seconds() <= 1.0 + bound
    assert 0.0 <= backoff(failures) <= bound


def test_sentrys_first_failures_do_not_use_up_a_minute():
    random.seed(1)
    for _ in range(200):
        waited = sum(1.0 + backoff(failures) for failures in (1, 2, 3, 4))
        assert waited + 4 * 5.0 < 60  # with the sweeps between


@given(moments, st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=1)))
def test_a_token_is_used_until_a_minute_before_its_end(clock, left):
    assert needs_refresh(clock + left, clock) == (left <= EXPIRY_MARGIN)
    assert not needs_refresh(None, clock)


def test_the_sets_of_problems_are_within_one_another():
    assert SAID < CURABLE < LOST
    assert ConnectionProblem.CLIENT_REFUSED not in LOST
    assert ConnectionProblem.SENTRY_UNAVAILABLE not in LOST


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        (UnauthorizedReason.INVALID_TOKEN, ConnectionProblem.TOKEN_REVOKED),
        (UnauthorizedReason.TOKEN_EXPIRED, ConnectionProblem.TOKEN_EXPIRED),
        (UnauthorizedReason.USER_INACTIVE, ConnectionProblem.USER_INACTIVE),
        (UnauthorizedReason.MEMBER_DISABLED, ConnectionProblem.USER_INACTIVE),
        (UnauthorizedReason.EMAIL_UNVERIFIED, ConnectionProblem.USER_INACTIVE),
        (UnauthorizedReason.APPLICATION_INACTIVE, ConnectionProblem.APPLICATION_DISABLED),
        (UnauthorizedReason.SSO_REQUIRED, ConnectionProblem.SSO_REQUIRED),
        (UnauthorizedReason.TWO_FACTOR_REQUIRED, ConnectionProblem.TWO_FACTOR_REQUIRED),
        (UnauthorizedReason.DATA_SECRECY, ConnectionProblem.ORGANIZATION_GONE),
        (UnauthorizedReason.SUDO_REQUIRED, None),
        (UnauthorizedReason.UNKNOWN, None),
    ],
)
def test_sentrys_own_words_say_what_is_wrong_and_others_say_nothing(reason, problem):
    assert explain_refusal(UpstreamUnauthorized("no", reason=reason)) is problem


@pytest.mark.parametrize(
    "error", [RateLimited("no"), UpstreamUnavailable("no"), MissingScope("no"), OutcomeUnknown("no")]
)
def test_what_is_not_about_the_credential_says_nothing_of_it(error):
    assert explain_refusal(error) is None


def test_an_organization_that_is_not_there_is_gone():
    assert explain_refusal(UpstreamNotFound("no")) is ConnectionProblem.ORGANIZATION_GONE
