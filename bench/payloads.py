"""What the static upstream answers: made-up rows in the shapes of Sentry's API."""

import json
from typing import Any

MEMBERS = 100
TEAMS = 20
TEAMS_OF_A_MEMBER = 3
_ROLES = ("member", "member", "member", "admin", "member", "manager", "member", "billing")


def member(number: int) -> dict[str, Any]:
    """A row of the members list, without teams. Every tenth is an invitation, every seventh has no name of its own."""
    email, role, is_invited = f"person{number}@bench.example", _ROLES[number % len(_ROLES)], number % 10 == 0
    name = email if is_invited or number % 7 == 0 else f"Person {number}"
    return {
        "id": str(number),
        "email": email,
        "name": name,
        "user": None if is_invited else _account(number, email, name),
        "role": role,
        "roleName": role.title(),
        "orgRole": role,
        "pending": is_invited,
        "expired": number % 20 == 0,
        "flags": {
            "idp:provisioned": False,
            "idp:role-restricted": False,
            "sso:linked": False,
            "sso:invalid": False,
            "member-limit:restricted": number % 33 == 0,
        },
        "dateCreated": "2026-01-02T03:04:05.678901Z",
        "inviteStatus": "approved",
        "inviterName": None,
        "groupOrgRoles": [],
    }


def _account(number: int, email: str, name: str) -> dict[str, Any]:
    return {
        "id": str(9000 + number),
        "name": name,
        "username": email,
        "email": email,
        "avatarUrl": f"https://pictures.bench.example/{number:064x}?s=32&d=mm",
        "isActive": True,
        "hasPasswordAuth": True,
        "isManaged": False,
        "dateJoined": "2026-01-02T03:04:05.678901Z",
        "lastLogin": "2026-02-03T04:05:06.789012Z",
        "has2fa": number % 3 == 0,
        "lastActive": "2026-03-04T05:06:07.890123Z",
        "isSuperuser": False,
        "isStaff": False,
        "experiments": {},
        "emails": [{"id": str(number), "email": email, "is_verified": number % 5 != 0}],
        "avatar": {"avatarType": "letter_avatar", "avatarUuid": None},
    }


def teams_of(number: int) -> list[int]:
    """The numbers of a member's teams."""
    return sorted((number + 7 * step) % TEAMS + 1 for step in range(TEAMS_OF_A_MEMBER))


def members_of(team: int) -> list[int]:
    """The numbers of a team's members."""
    return [number for number in range(1, MEMBERS + 1) if team in teams_of(number)]


def team(number: int) -> dict[str, Any]:
    """A row of the list of teams, without projects."""
    return {
        "id": str(500 + number),
        "slug": f"team-{number}",
        "name": f"Team {number}",
        "dateCreated": "2026-01-02T03:04:05.678901Z",
        "isMember": False,
        "teamRole": None,
        "flags": {"idp:provisioned": False},
        "access": _scopes(),
        "hasAccess": True,
        "isPending": False,
        "memberCount": len(members_of(number)),
        "avatar": {"avatarType": "letter_avatar", "avatarUuid": None},
        "orgRole": None,
    }


def team_member(team: int, number: int) -> dict[str, Any]:
    """A row of a team's members."""
    return member(number) | {"teamRole": "admin" if number % 9 == 0 else None, "teamSlug": f"team-{team}"}


def _scopes() -> list[str]:
    return [f"{area}:{right}" for area in ("org", "team", "project", "event", "member") for right in ("read", "write")]


def role(name: str) -> dict[str, Any]:
    """A role as a member's details list it."""
    return {
        "id": name,
        "name": name.title(),
        "desc": f"What a {name} may do in the organization, in a sentence of a usual length.",
        "scopes": _scopes(),
        "allowed": True,
        "isAllowed": True,
        "isRetired": False,
        "is_global": False,
        "isGlobal": False,
        "minimumTeamRole": "contributor",
    }


def detail(number: int) -> dict[str, Any]:
    """A member's own page. Of an invitation, ``user`` is empty here."""
    row = member(number)
    slugs = [f"team-{each}" for each in teams_of(number)]
    roles = [role(name) for name in ("billing", "member", "admin", "manager", "owner")]
    return row | {
        "user": {**row["user"], "authenticators": [], "canReset2fa": True} if row["user"] else {},
        "teams": slugs,
        "teamRoles": [{"teamSlug": slug, "role": "admin" if number % 9 == 0 else None} for slug in slugs],
        "invite_link": None,
        "isOnlyOwner": False,
        "orgRoleList": roles,
        "roles": roles,
        "teamRoleList": [role(name) for name in ("contributor", "admin")],
    }


def issue(number: int) -> dict[str, Any]:
    """A row of the issues list, with its day of counts."""
    return {
        "id": str(number),
        "shareId": None,
        "shortId": f"SERVICE-{number}",
        "title": f"ValueError: something went wrong in place {number}",
        "culprit": f"app.main in handler_{number}",
        "permalink": f"https://sentry.bench.example/organizations/bench/issues/{number}/",
        "level": "error",
        "status": "unresolved",
        "statusDetails": {},
        "substatus": "ongoing",
        "isPublic": False,
        "platform": "python",
        "project": {"id": "2", "name": "Service", "slug": "service", "platform": "python"},
        "type": "error",
        "metadata": {
            "value": f"something went wrong in place {number}",
            "type": "ValueError",
            "filename": "app/main.py",
        },
        "numComments": 0,
        "assignedTo": None,
        "annotations": [],
        "count": str(number * 3),
        "userCount": number,
        "firstSeen": "2026-01-02T03:04:05.678901Z",
        "lastSeen": "2026-03-04T05:06:07Z",
        "stats": {"24h": [[1767312000 + 3600 * hour, (number + hour) % 50] for hour in range(72)]},
        "seenBy": [],
        "subscriptionDetails": None,
    }


def issue_hook(number: int) -> dict[str, Any]:
    """The webhook of an issue that was resolved; another one for each number."""
    shown = issue(number)
    for name in ("permalink", "stats", "seenBy"):
        shown.pop(name)
    return {
        "action": "resolved",
        "installation": {"uuid": "9f3c1a52-7d0b-4a55-8f0e-0c7f6f1c2b10"},
        "data": {"resolution_type": "now", "issue": shown | {"permalink": None, "status": "resolved"}},
        "actor": {"type": "user", "id": 1, "name": "Bench"},
    }


def organization(slug: str, url: str) -> dict[str, Any]:
    """An organization that is linked."""
    return {
        "id": str(1 + int.from_bytes(slug.encode()[-6:])),
        "slug": slug,
        "name": slug.title(),
        "links": {"organizationUrl": url, "regionUrl": url},
        "status": {"id": "active", "name": "active"},
    }


ROOT = {
    "version": "0",
    "auth": {"scopes": ["org:read", "member:read", "team:read", "project:read", "event:read"]},
    "user": {"id": "1", "name": "Bench", "email": "bench@bench.example", "username": "bench"},
}


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
