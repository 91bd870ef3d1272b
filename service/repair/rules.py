"""What events have told of an issue, what Sentry shows, and which events lead from the one to the other. Pure."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from service.sentry.issues import Issue

CREATED, RESOLVED, ARCHIVED = "issue.created", "issue.resolved", "issue.archived"
UNRESOLVED, ASSIGNED = "issue.unresolved", "issue.assigned"

ISSUE_TYPES = (CREATED, RESOLVED, ARCHIVED, UNRESOLVED, ASSIGNED)
"""The types of events that tell of an issue's state."""

GRACE = timedelta(minutes=6)
"""How long a difference is held: Sentry sends a webhook that failed again after five minutes."""

WINDOW = timedelta(days=14)
"""How long ago an issue may have been seen last to be looked at."""

LATE = timedelta(hours=1)
"""How much older than its arrival in Sentry an event may be, and so the issue that it begins."""

LONGEST_RETRY = timedelta(hours=1)
"""How long a connection is left alone after many failures, unless it is looked at more seldom anyway."""

_PAGES = 5

_STATUSES = {RESOLVED: "resolved", ARCHIVED: "ignored", UNRESOLVED: "unresolved", CREATED: "unresolved"}
_TYPES = {"resolved": RESOLVED, "ignored": ARCHIVED, "unresolved": UNRESOLVED}
# An unresolved issue that has become one of these is news. That it is `ongoing` after some days, Sentry tells nobody.
_ALARMING = frozenset({"regressed", "escalating"})

_WORD = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class State:
    """What an issue is. ``substatus`` is None where it is not known; ``assignee`` is ``user:ID`` or ``team:ID``."""

    status: str
    substatus: str | None = None
    assignee: str | None = None


def read_state(issue: Issue) -> State:
    """The state of an issue; what is no word of Sentry's is read as unknown."""
    who = issue.assigned_to
    return State(
        status=read_word(issue.status) or "unknown",
        substatus=read_word(issue.substatus),
        assignee=f"{who.type}:{who.id}" if who and read_word(who.type) and read_word(who.id) else None,
    )


def tell(told: State | None, type_: str, said: State | None) -> State | None:
    """What has been told after one more event. ``said`` is the state in its body; None where that cannot be read.

    ``told`` is None where no event has told of the issue yet, and stays so where this one says too little. An event
    tells what its type says: that a body also shows a later state makes no event of that.
    """
    if told is None:
        if said is None:
            return None
        told = said
    elif type_ == CREATED:  # late: more is known by now
        return told
    if type_ == ASSIGNED:
        return told if said is None else replace(told, assignee=said.assignee)
    status = _STATUSES.get(type_)
    if status is None:
        return told
    return replace(told, status=status, substatus=said.substatus if said and said.status == status else None)


def find_changes(told: State | None, seen: State) -> list[str]:
    """The types of the events that tell what is not told yet, in order.

    That nobody is responsible any more is told by none, as Sentry sends no webhook of it.
    """
    changes = []
    if told is None:
        changes.append(CREATED)
        told = State("unresolved", seen.substatus if seen.status == "unresolved" else None)
    if seen.status in _TYPES and (seen.status != told.status or _is_news(told.substatus, seen)):
        changes.append(_TYPES[seen.status])
    if seen.assignee is not None and seen.assignee != told.assignee:
        changes.append(ASSIGNED)
    return changes


def _is_news(before: str | None, seen: State) -> bool:
    """Whether a substatus is, where the status is the same."""
    if None in (before, seen.substatus) or before == seen.substatus:
        return False
    return seen.status == "ignored" or seen.substatus in _ALARMING


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of an issue: what was ``told``, and since when Sentry says otherwise."""

    told: State | None
    differs_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is kept of an issue from now on, and the types of the events to add."""

    known: Known
    changes: Sequence[str] = ()


def judge(
    known: Known | None, seen: State, began: datetime | None, *, polled: datetime | None, now: datetime
) -> Verdict:
    """Compare what is known of an issue with what Sentry shows.

    ``known`` is None for an issue that was never met; it is new if it ``began`` since the look before, at ``polled``,
    and else one that comes back into sight. The first look (``polled`` is None) takes stock. A difference is held for
    :data:`GRACE`, and forgotten if it is gone by then.
    """
    if known is None:
        is_new = polled is not None and began is not None and began > polled - LATE
        known = Known(None if is_new else seen)
    changes = find_changes(known.told, seen) if polled is not None else []
    if not changes:
        return Verdict(Known(seen))
    since = known.differs_since or now
    if now - since < GRACE:
        return Verdict(Known(known.told, since))
    return Verdict(Known(seen), changes)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a look goes: always to ``needed``, and a few pages further, but not beyond ``wanted``."""

    needed: datetime
    wanted: datetime

    def is_enough(self, oldest: datetime | None, pages: int) -> bool:
        """Whether to stop after so many pages, when the last issue was seen last at ``oldest``."""
        return oldest is not None and (oldest < self.wanted or (pages >= _PAGES and oldest < self.needed))


def find_reach(polled: datetime | None, now: datetime) -> Reach:
    """A look must reach to the one before it, or else it would miss what is new; the first takes stock of all."""
    wanted = now - WINDOW
    if polled is None:
        return Reach(wanted, wanted)
    return Reach(polled - LATE, min(wanted, polled - LATE))


def plan_next(now: datetime, interval: timedelta, held_since: datetime | None) -> datetime:
    """When a connection is looked at next: about once in an interval, and when what is held can be told.

    ``held_since`` is since when the oldest difference has been held.
    """
    planned = now + interval * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
    return planned if held_since is None else max(now, min(planned, held_since + GRACE))


def plan_retry(now: datetime, interval: timedelta, failures: int) -> datetime:
    """When a look that failed is tried again; ``failures`` in a row, counted from 1. Twice as late each time."""
    wait = min(interval * (1 << min(failures - 1, 16)), max(interval, LONGEST_RETRY))
    return now + wait * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


def read_word(text: str | None) -> str | None:
    """A word or id of Sentry's; None for what is none, or that no column holds."""
    return text if text is not None and _WORD.fullmatch(text) else None
