"""What we rely on in Sentry's payloads, in our own words: the keys that must be there, and the JSON type of each.

For a 23.7 server a ``Shape`` is closed: it names every key, so that the sandbox can neither make one up nor forget it.
Newer servers may add keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Manner = Literal["23.7", "latest"]
NONE = type(None)
ANY = object


@dataclass(frozen=True)
class Shape:
    """``always`` is what we rely on; ``others`` and ``old`` are further keys of a 23.7 server (``old``: since gone)."""

    always: Mapping[str, Any]
    others: str = ""
    old: str = ""


def describe_mismatch(value: Any, shape: Any, manner: Manner, at: str = "") -> list[str]:
    """What is wrong with a value, as lines; empty where it fits.

    A shape is a type, a tuple of alternatives, a list of one shape, a ``Shape``, or a set of allowed values.
    """
    if isinstance(shape, Shape):
        return _mismatch_of_object(value, shape, manner, at)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at}: not a list"]
        return [
            line for i, item in enumerate(value) for line in describe_mismatch(item, shape[0], manner, f"{at}[{i}]")
        ]
    if isinstance(shape, tuple):
        tries = [describe_mismatch(value, one, manner, at) for one in shape]
        return [] if not all(tries) else max(tries, key=len)
    if isinstance(shape, frozenset):
        return [] if value in shape else [f"{at}: {value!r} is none of {sorted(shape)}"]
    # bool is an int to Python, not to JSON.
    fits = isinstance(value, shape) and (shape is not int or not isinstance(value, bool))
    return [] if fits else [f"{at}: {value!r} is no {shape.__name__}"]


def _mismatch_of_object(value: Any, shape: Shape, manner: Manner, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: not an object"]
    lines = []
    for key, inner in shape.always.items():
        if key not in value:
            lines.append(f"{at}.{key}: missing")
        else:
            lines += describe_mismatch(value[key], inner, manner, f"{at}.{key}")
    if manner == "23.7":
        known = {*shape.always, *shape.others.split(), *shape.old.split()}
        lines += [f"{at}.{key}: not described" for key in value if key not in known]
        lines += [f"{at}.{key}: missing" for key in known if key not in value]
    return lines


DATE = str
MAYBE_DATE = (str, NONE)
AVATAR = Shape({"avatarType": str, "avatarUuid": (str, NONE)})

USER = Shape(
    {
        "id": str,
        "name": str,
        "username": str,
        "email": str,
        "avatarUrl": str,
        "isActive": bool,
        "has2fa": bool,
        "dateJoined": DATE,
        "lastLogin": MAYBE_DATE,
        "lastActive": MAYBE_DATE,
        "emails": [Shape({"id": str, "email": str, "is_verified": bool})],
        "avatar": AVATAR,
    },
    others="hasPasswordAuth isManaged isSuperuser isStaff experiments",
)
_MEMBER: dict[str, Any] = {
    "id": str,
    "email": str,
    "name": str,
    "user": (USER, NONE),
    "orgRole": str,
    "pending": bool,
    "expired": bool,
    "flags": Shape(
        {
            "idp:provisioned": bool,
            "idp:role-restricted": bool,
            "sso:linked": bool,
            "sso:invalid": bool,
            "member-limit:restricted": bool,
        }
    ),
    "dateCreated": DATE,
    "inviteStatus": frozenset({"approved", "requested_to_be_invited", "requested_to_join"}),
    "inviterName": (str, NONE),
}
_MEMBER_OLD = "role roleName groupOrgRoles"
MEMBER = Shape(_MEMBER, old=_MEMBER_OLD)
TEAM_MEMBER = Shape(_MEMBER | {"teamSlug": str, "teamRole": (str, NONE)}, old=_MEMBER_OLD)
PROJECT_USER = Shape(_MEMBER | {"projects": [str]}, old=_MEMBER_OLD)
ROLE = Shape(
    {"id": str, "name": str, "scopes": [str]},
    others="desc allowed isAllowed isRetired is_global isGlobal minimumTeamRole",
)
TEAM_ROLE = Shape({"id": str, "name": str, "scopes": [str]}, others="desc allowed isAllowed isRetired isMinimumRoleFor")
_DETAILED_USER = Shape(USER.always, others=f"{USER.others} authenticators canReset2fa")
MEMBER_DETAIL = Shape(
    _MEMBER
    | {
        "user": (_DETAILED_USER, Shape({})),
        "teams": [str],
        "teamRoles": [Shape({"teamSlug": str, "role": (str, NONE)})],
        "isOnlyOwner": bool,
        "orgRoleList": [ROLE],
        "teamRoleList": [TEAM_ROLE],
    },
    others="invite_link",
    old=f"{_MEMBER_OLD} roles",
)
_ORGANIZATION: dict[str, Any] = {
    "id": str,
    "slug": str,
    "name": str,
    "dateCreated": DATE,
    "status": Shape({"id": str, "name": str}),
    "avatar": AVATAR,
    "links": Shape({"organizationUrl": str, "regionUrl": str}),
    "features": [str],
}
ORGANIZATION = Shape(_ORGANIZATION, others="isEarlyAdopter require2FA requireEmailVerification hasAuthProvider")
ORGANIZATION_DETAIL = Shape(_ORGANIZATION | {"access": [str], "orgRoleList": [ROLE]})
_TEAM: dict[str, Any] = {
    "id": str,
    "slug": str,
    "name": str,
    "dateCreated": DATE,
    "isMember": bool,
    "teamRole": (str, NONE),
    "memberCount": int,
    "hasAccess": bool,
    "access": [str],
    "avatar": AVATAR,
}
_TEAM_OTHERS = "flags isPending"
TEAM = Shape(_TEAM, others=_TEAM_OTHERS, old="orgRole")
_PROJECT_SUMMARY: dict[str, Any] = {
    "id": str,
    "slug": str,
    "name": str,
    "platform": (str, NONE),
    "dateCreated": DATE,
    "isMember": bool,
    "hasAccess": bool,
    "access": [str],
    "features": [str],
}
_PROJECT_OTHERS = (
    "isBookmarked firstEvent firstTransactionEvent hasMinifiedStackTrace hasMonitors hasProfiles hasReplays hasSessions"
)
TEAM_WITH_PROJECTS = Shape(
    _TEAM
    | {
        "projects": [
            Shape(_PROJECT_SUMMARY, others=f"{_PROJECT_OTHERS} isInternal isPublic avatar color status"),
        ]
    },
    others=f"{_TEAM_OTHERS} externalTeams",
    old="orgRole",
)
PROJECT = Shape(
    _PROJECT_SUMMARY | {"teams": [Shape({"id": str, "slug": str, "name": str})]},
    others=f"{_PROJECT_OTHERS} team environments eventProcessing platforms latestRelease hasUserReports latestDeploys",
)
PROJECT_DETAIL = Shape({**PROJECT.always, "organization": ORGANIZATION})
ASSIGNEE = Shape({"type": frozenset({"user", "team"}), "id": str, "name": str})
ISSUE = Shape(
    {
        "id": str,
        "shortId": str,
        "title": str,
        "culprit": (str, NONE),
        "permalink": (str, NONE),
        "level": str,
        "status": str,
        "statusDetails": dict,
        "substatus": (str, NONE),
        "platform": (str, NONE),
        "project": Shape({"id": str, "slug": str, "name": str, "platform": (str, NONE)}),
        "metadata": dict,
        "assignedTo": (ASSIGNEE, NONE),
        "count": str,
        "userCount": int,
        "firstSeen": MAYBE_DATE,
        "lastSeen": MAYBE_DATE,
        "numComments": int,
    },
    others=(
        "shareId logger isPublic type isBookmarked isSubscribed subscriptionDetails hasSeen annotations issueType "
        "issueCategory isUnhandled stats lifetime filtered"
    ),
)
ROOT = Shape({"version": str, "auth": (Shape({"scopes": [str]}), NONE), "user": (dict, NONE)})
OAUTH_TOKEN = Shape(
    {
        "access_token": str,
        "refresh_token": str,
        "expires_in": int,
        "expires_at": DATE,
        "token_type": frozenset({"bearer", "Bearer"}),
        "scope": str,
        "user": Shape({"id": str, "name": str, "email": str}),
    }
)
INSTALLATION = Shape(
    {
        "app": Shape({"uuid": str, "slug": str}),
        "organization": Shape({"slug": str}),
        "uuid": str,
        "status": frozenset({"pending", "installed"}),
    }
)
NEW_INSTALLATION = Shape({**INSTALLATION.always, "code": str})
APP_TOKEN = Shape(
    {
        "id": str,
        "token": str,
        "refreshToken": str,
        "dateCreated": DATE,
        "expiresAt": DATE,
        "scopes": [str],
        "state": (str, NONE),
        "application": NONE,
    }
)
RATE_LIMIT_HEADERS = (
    "X-Sentry-Rate-Limit-Limit",
    "X-Sentry-Rate-Limit-Remaining",
    "X-Sentry-Rate-Limit-Reset",
    "X-Sentry-Rate-Limit-ConcurrentLimit",
    "X-Sentry-Rate-Limit-ConcurrentRemaining",
)
