"""Users for tests, in the shape of Sentry's member rows."""

from typing import Any

import msgspec

from service.directory.user import Organization, RawRows, User
from service.ids import build_user_id
from service.sentry.payloads import Member, decode

ORGANIZATION = Organization("con_a", "2", "lumen", "Lumen")


def row(member_id: int, **changes: Any) -> dict[str, Any]:
    """A member row as Sentry gives it; ``changes`` win."""
    email = f"person{member_id}@lumen.example"
    user = {
        "id": str(member_id + 1000),
        "name": f"Person {member_id}",
        "username": email,
        "email": email,
        "avatarUrl": f"https://pictures.example/{member_id}",
        "isActive": True,
        "has2fa": member_id % 2 == 0,
        "lastLogin": "2026-03-01T10:00:00.000001Z",
        "lastActive": None,
        "dateJoined": "2026-01-01T00:00:00Z",
        "emails": [{"id": "1", "email": email, "is_verified": True}],
    }
    return {
        "id": str(member_id),
        "email": email,
        "name": f"Person {member_id}",
        "user": user,
        "orgRole": "member",
        "pending": False,
        "expired": False,
        "flags": {"member-limit:restricted": False},
        "dateCreated": "2026-02-01T00:00:00Z",
        "inviteStatus": "approved",
        **changes,
    }


def invited(member_id: int, **changes: Any) -> dict[str, Any]:
    """The row of an invitation."""
    email = f"person{member_id}@lumen.example"
    return row(member_id, user=None, pending=True, name=email, email=email, **changes)


def user(member_row: dict[str, Any], connection_id: str = "con_a") -> User:
    """The user of a row."""
    body = msgspec.json.encode([member_row])
    (member,) = decode(body, list[Member])
    return User(build_user_id(connection_id, member.id), connection_id, ORGANIZATION, member, RawRows(body), 0)


def person(member_id: int, connection_id: str = "con_a", **changes: Any) -> User:
    """A user who joined."""
    return user(row(member_id, **changes), connection_id)
