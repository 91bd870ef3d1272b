"""What the rules promise, whatever the states: what is told leads from what was told to what is seen, once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.repair.rules import (
    ASSIGNED,
    CREATED,
    GRACE,
    ISSUE_TYPES,
    LATE,
    LONGEST_RETRY,
    WINDOW,
    Known,
    State,
    find_changes,
    find_reach,
    judge,
    plan_next,
    plan_retry,
    read_state,
    tell,
)
from service.sentry.issues import Issue, IssueAssignee, IssueProject

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SUBSTATUSES: dict[str, list[str | None]] = {
    "unresolved": ["new", "ongoing", "regressed", "escalating", None],
    "ignored": ["archived_until_escalating", "archived_forever", None],
    "resolved": [None],
    "reprocessing": [None],
}
STATES = st.one_of(
    *(
        st.builds(
            State,
            st.just(status),
            st.sampled_from(substatuses),
            st.sampled_from([None, "user:1", "user:2", "team:1"]),
        )
        for status, substatuses in SUBSTATUSES.items()
    )
)
TYPES = st.sampled_from(ISSUE_TYPES)
MINUTES = st.integers(0, 60 * 24 * 30).map(lambda minutes: timedelta(minutes=minutes))


@given(st.none() | STATES, STATES)
def test_what_is_found_leads_to_what_is_seen(told, seen):
    after = told
    for type_ in find_changes(told, seen):
        after = tell(after, type_, seen)
    assert after is not None
    assert find_changes(after, seen) == []
    if seen.status in {"unresolved", "resolved", "ignored"}:
        assert after.status == seen.status
    assert seen.assignee in {None, after.assignee}


@given(STATES)
def test_of_what_is_as_it_was_told_nothing_is_found(state):
    assert find_changes(state, state) == []


@given(st.none() | STATES, STATES)
def test_each_type_is_found_once_and_that_an_issue_is_there_first(told, seen):
    changes = find_changes(told, seen)
    assert len(changes) == len(set(changes))
    assert (CREATED in changes) == (told is None)
    assert CREATED not in changes[1:]
    assert ASSIGNED not in changes[:-1]


@given(STATES, st.sampled_from([None, "user:1"]))
def test_that_an_issue_is_ongoing_after_some_days_is_no_news(state, assignee):
    seen = State("unresolved", "ongoing", None)
    before = State("unresolved", "new", assignee)
    assert find_changes(before, seen) == []


@given(STATES, STATES)
def test_a_substatus_that_is_not_known_is_no_difference(told, seen):
    blind = State(seen.status, None, seen.assignee)
    assert find_changes(State(seen.status, told.substatus, seen.assignee), blind) == []
    assert find_changes(blind, seen) == []


# --- what events tell ---


@given(STATES, TYPES, st.none() | STATES)
def test_an_event_tells_what_its_type_says_and_no_more(told, type_, said):
    after = tell(told, type_, said)
    assert after is not None
    if type_ == ASSIGNED:
        assert (after.status, after.substatus) == (told.status, told.substatus)
    else:
        assert after.assignee == told.assignee
    if type_ == CREATED:
        assert after == told


@given(TYPES, STATES)
def test_the_first_event_of_an_issue_tells_all_of_it_but_a_status_that_its_type_does_not_say(type_, said):
    after = tell(None, type_, said)
    assert after is not None
    assert after.assignee == said.assignee
    expected = {
        "issue.created": "unresolved",
        "issue.unresolved": "unresolved",
        "issue.resolved": "resolved",
        "issue.archived": "ignored",
        "issue.assigned": said.status,
    }
    assert after.status == expected[type_]


@given(TYPES)
def test_an_event_that_says_nothing_of_an_unknown_issue_leaves_it_unknown(type_):
    assert tell(None, type_, None) is None


@given(STATES, st.lists(st.tuples(TYPES, STATES), max_size=6))
def test_telling_the_same_again_changes_nothing(told, events):
    def fold(state: State | None) -> State | None:
        for type_, said in events:
            state = tell(state, type_, said)
        return state

    once = fold(told)
    assert fold(once) == once


# --- what is kept and told of an issue ---


@given(st.none() | STATES, STATES, MINUTES, MINUTES)
def test_a_difference_is_held_and_then_told_in_full(told, seen, held, later):
    known = Known(told, NOW - held)
    verdict = judge(known, seen, NOW, polled=NOW, now=NOW)
    changes = find_changes(told, seen)
    assert verdict.changes == (changes if held >= GRACE else ()) or not changes
    if not changes or held >= GRACE:
        assert verdict.known == Known(seen)
    else:
        assert verdict.known == known
    again = judge(verdict.known, seen, NOW, polled=NOW, now=NOW + later)
    assert not (verdict.changes and again.changes)


@given(st.none() | STATES, STATES)
def test_a_fresh_difference_is_never_told_at_once(told, seen):
    assert not judge(Known(told), seen, NOW, polled=NOW, now=NOW).changes


@given(st.none() | st.builds(Known, st.none() | STATES, st.none() | st.just(NOW - WINDOW)), STATES)
def test_the_first_look_takes_stock(known, seen):
    verdict = judge(known, seen, NOW, polled=None, now=NOW)
    assert (verdict.known, list(verdict.changes)) == (Known(seen), [])


@given(STATES, MINUTES)
def test_an_unknown_issue_is_new_if_it_began_since_the_look_before(seen, ago):
    verdict = judge(None, seen, NOW - ago, polled=NOW - timedelta(minutes=5), now=NOW)
    is_new = ago < timedelta(minutes=5) + LATE
    assert verdict.known == (Known(None, NOW) if is_new else Known(seen))
    assert not verdict.changes


@given(STATES)
def test_an_unknown_issue_of_unknown_age_is_no_new_one(seen):
    assert judge(None, seen, None, polled=NOW, now=NOW).known == Known(seen)


@given(
    st.text(max_size=50),
    st.none() | st.text(max_size=80),
    st.none() | st.builds(IssueAssignee, st.text(max_size=40), st.text(max_size=60)),
)
def test_what_is_kept_fits_its_column(status, substatus, who):
    state = read_state(Issue("1", status, IssueProject("2", "shop"), substatus=substatus, assigned_to=who))
    assert 0 < len(state.status) <= 32
    assert state.substatus is None or 0 < len(state.substatus) <= 64
    assert state.assignee is None or len(state.assignee) <= 80
    for text in (state.status, state.substatus, state.assignee):
        assert text is None or text.isascii()


# --- how far, and when ---


@given(st.none() | MINUTES, MINUTES, st.integers(1, 60))
def test_a_look_reaches_back_to_the_one_before_and_never_stops_short_of_it(polled_ago, oldest_ago, pages):
    polled = None if polled_ago is None else NOW - polled_ago
    reach = find_reach(polled, NOW)
    oldest = NOW - oldest_ago
    needed = NOW - WINDOW if polled is None else polled - LATE
    if reach.is_enough(oldest, pages):
        assert oldest < needed
    assert reach.is_enough(oldest, 60) == (oldest < needed)
    assert not reach.is_enough(None, pages)
    assert reach.is_enough(NOW - timedelta(days=400), 1)


@given(st.integers(1, 86400), st.integers(1, 10_000))
def test_the_wait_after_failures_grows_and_ends(seconds, failures):
    interval = timedelta(seconds=seconds)
    wait = plan_retry(NOW, interval, failures) - NOW
    assert interval * 0.75 <= wait <= max(interval, LONGEST_RETRY) * 1.25
    later = plan_retry(NOW, interval, failures + 3) - NOW
    assert later >= min(wait, max(interval, LONGEST_RETRY) * 0.75)


@given(st.integers(1, 86400), st.none() | MINUTES)
def test_what_is_held_is_told_as_soon_as_it_may_be(seconds, held):
    interval = timedelta(seconds=seconds)
    planned = plan_next(NOW, interval, None if held is None else NOW - held)
    assert NOW <= planned <= NOW + interval * 1.1
    if held is not None:
        assert planned <= max(NOW, NOW - held + GRACE)
