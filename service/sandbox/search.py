"""Sentry's search syntax, as far as the sandbox goes: ``key:value`` tokens and free text, quotes around spaces."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from service.sandbox.access import ROLES
from service.sandbox.responses import detail, internal_error
from service.sandbox.world import Issue, Manner, Member, Organization, Project, Team

# Both quotes hold spaces; one that is never closed swallows the rest.
_TOKEN = re.compile(r"""(?:[^\s"']|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))+""")
_LARGEST_ID = 2**63 - 1
_AGO = re.compile(r"([+-])(\d+)([mhdw])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Tokens = Mapping[str, list[str]]


def parse_query(text: str | None) -> Tokens:
    """The values of each key; free text is under ``""``, joined by spaces. A repeated key has several values."""
    found: dict[str, list[str]] = {}
    words = []
    for token in _TOKEN.findall(text or ""):
        key, colon, value = token.partition(":")
        if colon and key and not key.startswith('"'):
            found.setdefault(key, []).append(value.strip('"'))
        else:
            words.append(token.strip('"'))
    if words:
        found[""] = [" ".join(words)]
    return found


def match_members(members: Sequence[Member], tokens: Tokens, manner: Manner) -> list[Member]:
    """The members list under ``query``: keys join by AND, values of one key by OR; an unknown key matches nobody."""
    found = [member for member in members if member.is_listed]
    for key, values in tokens.items():
        test = _member_test(key, values, manner)
        found = [member for member in found if test(member)] if test else []
    return found


def _member_test(key: str, values: list[str], manner: Manner) -> Callable[[Member], bool] | None:
    yes = "true" in values
    if key == "email":
        wanted = {value.lower() for value in values}
        return lambda m: not wanted.isdisjoint(_addresses(m))
    if key in {"id", "user.id"}:
        ids = _numbers(values, manner)
        if key == "id":
            return lambda m: m.id in ids
        return lambda m: m.user is not None and m.user.id in ids
    if key == "scope":
        values = [role.id for role in ROLES.values() if not role.scopes.isdisjoint(values)]
        return lambda m: m.role in values
    if key == "":
        text = values[0].lower()
        return lambda m: text in m.name.lower() or any(text in address for address in _addresses(m))
    simple: dict[str, Callable[[Member], bool]] = {
        "role": lambda m: m.role in values,
        "isInvited": lambda m: (m.user is None) is yes,
        "ssoLinked": lambda m: ("sso:linked" in m.flags) is yes,
        "has2fa": lambda m: m.user is not None and m.user.has_2fa is yes,
        "hasExternalUsers": lambda _: not yes,
    }
    return simple.get(key)


def _addresses(member: Member) -> list[str]:
    others = member.user.other_emails if member.user else []
    return [member.email.lower(), *(address.lower() for address, _ in others)]


def _numbers(values: list[str], manner: Manner) -> set[int]:
    """Ids; what is no number breaks an old server and is dropped by a new one."""
    if manner == "23.7" and not all(value.isdecimal() for value in values):
        raise internal_error()
    numbers = {int(value) for value in values if value.isdecimal()}
    if max(numbers, default=0) > _LARGEST_ID:
        raise internal_error()
    return numbers


def match_teams(teams: Sequence[Team], tokens: Tokens) -> list[Team]:
    """The teams list under ``query``."""
    found = list(teams)
    for key, values in tokens.items():
        if key == "id":
            if not all(value.isdecimal() for value in values):
                raise detail(400, "Invalid id value")
            found = [team for team in found if str(team.id) in values]
        elif key == "slug":
            found = [team for team in found if team.slug in values]
        elif key == "hasExternalTeams":
            found = [] if "true" in values else found
        elif key == "":
            found = [team for team in found if values[0].lower() in f"{team.slug}\n{team.name}".lower()]
        else:
            found = []
    return found


def match_projects(projects: Sequence[Project], tokens: Tokens, teams: Sequence[Team], manner: Manner) -> list[Project]:
    """The projects list under ``query``."""
    found = list(projects)
    for key, values in tokens.items():
        if key == "id":
            ids = _numbers(values, manner)
            found = [project for project in found if project.id in ids]
        elif key == "slug":
            found = [project for project in found if project.slug in values]
        elif key == "team":
            wanted = {team.id for team in teams if team.slug in values}
            found = [project for project in found if wanted & set(project.team_ids)]
        elif key == "":
            found = [project for project in found if values[0].lower() in f"{project.slug}\n{project.name}".lower()]
        else:
            found = []
    return found


def match_organizations(organizations: Sequence[Organization], tokens: Tokens) -> list[Organization]:
    """The organizations list under ``query``."""
    found = list(organizations)
    for key, values in tokens.items():
        if key == "id":
            found = [organization for organization in found if str(organization.id) in values]
        elif key == "slug":
            found = [organization for organization in found if organization.slug in values]
        elif key == "":
            text = values[0].lower()
            found = [
                organization for organization in found if text in f"{organization.slug}\n{organization.name}".lower()
            ]
        else:
            found = []
    return found


def match_issues(issues: Sequence[Issue], tokens: Tokens, organization: Organization, now: datetime) -> list[Issue]:
    """The issues list under ``query``; a key that is nothing else is the name of a tag."""
    found = list(issues)
    for key, values in tokens.items():
        for value in values:
            wanted = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
            found = [issue for issue in found if _issue_has(issue, key, [w.strip() for w in wanted], organization, now)]
    return found


def _issue_has(issue: Issue, key: str, wanted: list[str], organization: Organization, now: datetime) -> bool:
    if key == "":
        return wanted[0].lower() in f"{issue.title}\n{issue.culprit}".lower()
    if key == "is":
        return _issue_is(issue, wanted[0])
    if key in {"assigned", "assigned_or_suggested"}:
        return _assignee_is(issue, wanted[0], organization)
    if key in {"firstSeen", "lastSeen"}:
        return _is_within(issue.first_seen if key == "firstSeen" else issue.last_seen, wanted[0], now)
    own = {
        "issue.id": str(issue.id),
        "issue": issue.short_id,
        "level": issue.level,
        "release": issue.release,
        "first-release": issue.release,
        "project": issue.project.slug,
        "project.id": str(issue.project.id),
        "message": issue.title,
        "user.email": issue.customer,
        "error.type": issue.kind,
    }
    return own.get(key, issue.tags.get(key)) in wanted


def _issue_is(issue: Issue, state: str) -> bool:
    states = {issue.status, "assigned" if issue.assignee else "unassigned"}
    if issue.status == "ignored":
        states.add("archived")
    return state in states


def _assignee_is(issue: Issue, wanted: str, organization: Organization) -> bool:
    if wanted == "none" or issue.assignee is None:
        return (wanted == "none") is (issue.assignee is None)
    kind, number = issue.assignee
    if wanted.startswith("#"):
        return kind == "team" and any(team.id == number and team.slug == wanted[1:] for team in organization.teams)
    seats = (member.user for member in organization.members if member.user)
    return kind == "user" and any(user.id == number and user.email.lower() == wanted.lower() for user in seats)


def _is_within(moment: datetime, wanted: str, now: datetime) -> bool:
    """``-24h`` is the last day, ``+24h`` before it; else a comparison with an ISO date."""
    if ago := _AGO.match(wanted):
        edge = now - timedelta(**{_UNITS[ago[3]]: int(ago[2])})
        return moment >= edge if ago[1] == "-" else moment <= edge
    operator = re.match(r"[<>]?=?", wanted)
    sign = operator[0] if operator else ""
    try:
        edge = datetime.fromisoformat(wanted[len(sign) :])
    except ValueError:
        raise detail(400, f"Error parsing search query: {wanted!r} is not a date.") from None
    edge = edge if edge.tzinfo else edge.replace(tzinfo=now.tzinfo)
    return moment <= edge if sign.startswith("<") else moment >= edge
