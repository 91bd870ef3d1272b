"""What the static upstream answers: made-up rows in the shapes of Sentry's API."""

import json

MEMBERS = 100


def member(number: int) -> dict:
    """A row of the members list."""
    email = f"person{number}@bench.example"
    return {
        "id": str(number),
        "email": email,
        "name": f"Person {number}",
        "user": {
            "id": str(9000 + number),
            "name": f"Person {number}",
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
            "emails": [{"id": str(number), "email": email, "is_verified": True}],
            "avatar": {"avatarType": "letter_avatar", "avatarUuid": None},
        },
        "role": "member",
        "roleName": "Member",
        "orgRole": "member",
        "pending": False,
        "expired": False,
        "flags": {
            "idp:provisioned": False,
            "idp:role-restricted": False,
            "sso:linked": False,
            "sso:invalid": False,
            "member-limit:restricted": False,
        },
        "dateCreated": "2026-01-02T03:04:05.678901Z",
        "inviteStatus": "approved",
        "inviterName": None,
        "groupOrgRoles": [],
    }


def role(name: str) -> dict:
    """A role as a member's details list it."""
    scopes = [
        f"{area}:{right}" for area in ("org", "team", "project", "event", "member") for right in ("read", "write")
    ]
    return {
        "id": name,
        "name": name.title(),
        "desc": f"What a {name} may do in the organization, in a sentence of a usual length.",
        "scopes": scopes,
        "allowed": True,
        "isAllowed": True,
        "isRetired": False,
        "isGlobal": False,
        "minimumTeamRole": "contributor",
    }


def detail(number: int) -> dict:
    """A member's own page."""
    return member(number) | {
        "teams": ["team-1", "team-2"],
        "teamRoles": [{"teamSlug": "team-1", "role": None}, {"teamSlug": "team-2", "role": "admin"}],
        "invite_link": None,
        "isOnlyOwner": False,
        "orgRoleList": [role(name) for name in ("billing", "member", "admin", "manager", "owner")],
        "teamRoleList": [role(name) for name in ("contributor", "admin")],
    }


def issue(number: int) -> dict:
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


def issue_hook(number: int) -> dict:
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


def organization(url: str) -> dict:
    """The organization that is linked."""
    return {
        "id": "1",
        "slug": "bench",
        "name": "Bench",
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
