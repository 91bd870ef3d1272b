"""What a connection is for: the scopes that are asked for, and the calls that are let through. Pure.

The profile is ours to enforce: a credential may well be able to do more than its connection is meant for.
"""

import enum
from collections.abc import Collection, Mapping

from service.sentry.methods import SAFE_METHODS
from service.sentry.paths import ApiPath


class Profile(enum.StrEnum):
    """How much of a Sentry account a connection may use."""

    READ = "read"
    TRIAGE = "triage"
    FULL = "full"

    def goes_beyond(self, other: "Profile") -> bool:
        """Whether it allows more than another; each includes the ones before it."""
        order = list(Profile)
        return order.index(self) > order.index(other)


_READ = ("org:read", "member:read", "team:read", "project:read", "event:read")

SCOPES: Mapping[Profile, tuple[str, ...]] = {
    Profile.READ: _READ,
    Profile.TRIAGE: (*_READ, "event:write"),
    # What the proxy's rules (access.py) let through, and no more. Without org:admin, which deletes the organization,
    # and org:integrations, which would only uninstall integrations. Older servers refuse a request that names a scope
    # they do not know: so none that came after 23.7, such as member:invite or project:distribution.
    Profile.FULL: (
        *("org:read", "org:write"),
        *("member:read", "member:write", "member:admin"),
        *("team:read", "team:write", "team:admin"),
        *("project:read", "project:write", "project:admin", "project:releases"),
        *("event:read", "event:write", "event:admin"),
        *("alerts:read", "alerts:write"),
    ),
}
"""The scopes that each profile asks for, in Sentry's order."""

_LEVELS = ("read", "write", "admin")
_ISSUES = frozenset({"issues", "groups"})  # two names of one thing in Sentry's URLs
_COMMENTS = frozenset({"comments", "notes"})


def allows(profile: Profile, method: str, path: ApiPath) -> bool:
    """Whether a call may be sent for a connection of this profile, where the proxy's rules let it through at all.

    ``path`` is the caller's, or the one that :func:`authorize` made of it: either answers the same.
    """
    if profile is Profile.FULL or method in SAFE_METHODS:
        return True
    return profile is Profile.TRIAGE and _is_triage(method, path.segments)


def missing_scopes(profile: Profile, held: Collection[str]) -> tuple[str, ...]:
    """Which of the profile's scopes a credential lacks. A higher one of the same kind includes the lower."""
    return tuple(scope for scope in SCOPES[profile] if not _is_covered(scope, held))


def _is_covered(scope: str, held: Collection[str]) -> bool:
    kind, _, level = scope.partition(":")
    if level not in _LEVELS:
        return scope in held
    return any(f"{kind}:{higher}" in held for higher in _LEVELS[_LEVELS.index(level) :])


def _is_triage(method: str, segments: tuple[str, ...]) -> bool:
    """Whether a write changes an issue, its comments or its links to issues elsewhere; deleting an issue does not."""
    match segments:
        case ("sentry-app-installations", _, "external-issues"):
            return method == "POST"
        case ("sentry-app-installations", _, "external-issues", _):
            return method in {"PUT", "DELETE"}
        case ("projects", _, _, issues) if issues in _ISSUES:
            return method == "PUT"
        case ("organizations", _, issues, *rest) | (issues, *rest) if issues in _ISSUES:
            return _is_triage_of_issue(method, rest)
        case _:
            return False


def _is_triage_of_issue(method: str, below: list[str]) -> bool:
    match below:
        case [] | [_]:
            return method == "PUT"
        case [_, comments] if comments in _COMMENTS:
            return method == "POST"
        case [_, comments, _] if comments in _COMMENTS:
            return method in {"PUT", "DELETE"}
        case [_, "integrations", _]:  # how Sentry links an issue to one of Jira, GitHub, …
            return method in {"POST", "PUT", "DELETE"}
        case [_, "external-issues", _]:
            return method == "DELETE"
        case _:
            return False
