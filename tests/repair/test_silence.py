"""When webhooks count as silent: by what they did not tell, or by how long none came."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.repair.silence import MISSED_IN_A_ROW, SHORTEST, Voice, is_silent

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
GAPS = st.lists(st.integers(0, 5 * 86400), min_size=0, max_size=30)


def voice_of(gaps: list[int], *, last: timedelta = timedelta(0), issues: bool = True) -> Voice:
    """Webhooks so many seconds apart, the last one so long ago."""
    moments = [NOW - last]
    for gap in gaps:
        moments.append(moments[-1] - timedelta(seconds=gap))
    return Voice(moments[::-1], issues)


def silent(voice: Voice, missed: int = 0, listening: timedelta = timedelta(days=1000)) -> bool:
    return is_silent(voice, missed=missed, listening_since=NOW - listening, now=NOW)


@given(GAPS, st.booleans(), st.integers(0, 10))
def test_who_spoke_a_moment_ago_is_silent_only_if_changes_prove_it(gaps, issues, missed):
    assert silent(voice_of(gaps, issues=issues), missed) == (issues and missed >= MISSED_IN_A_ROW)


@given(GAPS, st.integers(0, 20))
def test_no_silence_shorter_than_a_day_counts(gaps, hours):
    assert not silent(voice_of(gaps, last=min(timedelta(hours=hours), SHORTEST)))


@given(GAPS)
def test_everybody_is_silent_one_day_who_spoke_often_enough(gaps):
    assert silent(voice_of(gaps, last=timedelta(days=500))) == (len(gaps) >= 4)


@given(st.lists(st.integers(60, 3600), min_size=10, max_size=40))
def test_no_weekend_counts_once_there_was_one(gaps):
    weekend = 63 * 3600
    assert not silent(voice_of([*gaps, weekend, *gaps], last=timedelta(hours=63)))
    assert silent(voice_of(gaps, last=timedelta(hours=63)))


@given(GAPS, st.integers(0, 24))
def test_what_nobody_was_there_to_hear_is_no_silence(gaps, hours):
    assert not silent(voice_of(gaps, last=timedelta(days=500)), listening=timedelta(hours=hours))


def test_one_that_never_spoke_cannot_fall_silent():
    assert not silent(Voice([], has_told_of_issues=False), missed=100)


@given(GAPS)
def test_the_usual_time_between_two_is_the_mean(gaps):
    usual = voice_of(gaps).usual
    assert (usual is None) == (not gaps)
    if usual is not None:
        assert abs(usual.total_seconds() - sum(gaps) / len(gaps)) < 0.001
