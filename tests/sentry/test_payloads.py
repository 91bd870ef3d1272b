import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UpstreamInvalid
from service.sentry.payloads import (
    ApiRoot,
    GroupRole,
    Installation,
    Member,
    MemberDetail,
    MemberEmail,
    MemberFlags,
    MemberUser,
    Organization,
    Regions,
    Role,
    TeamRole,
    decode,
)

JOINED = {
    "id": "7",
    "email": "ada@acme.example",
    "name": "Ada",
    "user": {
        "id": "3",
        "name": "Ada",
        "username": "ada",
        "email": "ada@acme.example",
        "avatarUrl": "https://avatars.example/3",
        "isActive": True,
        "hasPasswordAuth": True,
        "dateJoined": "2026-11-01T10:00:00.123456Z",
        "lastLogin": "2026-11-01T10:00:00.123456Z",
        "has2fa": True,
        "lastActive": "2026-11-02T12:00:00+02:00",
        "emails": [{"id": "4", "email": "ada@acme.example", "is_verified": True}],
        "avatar": {"avatarType": "gravatar", "avatarUuid": None},
        "experiments": {},
    },
    "pending": False,
    "expired": False,
    "flags": {"sso:linked": True, "member-limit:restricted": False},
    "dateCreated": "2026-11-01T09:00:00Z",
    "inviteStatus": "approved",
    "inviterName": "Bob",
}
OLD = {"role": "owner", "roleName": "Owner", "orgRole": "owner"}
GROUP_ROLES = [{"teamSlug": "core", "role": {"id": "manager", "name": "Manager"}}]
INVITED = {"id": "8", "email": "new@acme.example", "name": "new@acme.example", "user": None, "pending": True}


def dump(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def test_a_member_of_the_latest_version() -> None:
    member = decode(dump(JOINED | {"orgRole": "owner"}), Member)
    assert (member.id, member.org_role, member.role, member.group_org_roles) == ("7", "owner", None, None)
    assert member.flags == MemberFlags(restricted=False)
    assert member.user == MemberUser(
        id="3",
        username="ada",
        avatar_url="https://avatars.example/3",
        has2fa=True,
        emails=[MemberEmail(email="ada@acme.example", is_verified=True)],
        last_login=datetime(2026, 11, 1, 10, 0, 0, 123456, tzinfo=UTC),
        last_active=datetime(2026, 11, 2, 10, 0, tzinfo=UTC),
    )


def test_a_member_of_23_7() -> None:
    member = decode(dump(JOINED | OLD | {"groupOrgRoles": GROUP_ROLES}), Member)
    assert (member.role, member.role_name) == ("owner", "Owner")
    assert member.group_org_roles == [GroupRole("core", Role("manager", "Manager"))]


def test_an_invite_has_no_user() -> None:
    member = decode(dump(INVITED), Member)
    assert (member.user, member.pending, member.flags) == (None, True, None)


@pytest.mark.parametrize("user", [JOINED["user"], None, {}])
def test_details_add_teams_whatever_the_user_is(user: Any) -> None:
    more = {"user": user, "teams": ["core"], "teamRoles": [{"teamSlug": "core", "role": None}]}
    detail = decode(dump(JOINED | more), MemberDetail)
    assert (detail.id, detail.teams, detail.team_roles) == ("7", ["core"], [TeamRole("core", None)])


def test_the_root_tells_whether_the_credential_is_known() -> None:
    assert decode(b'{"version":"0","auth":null,"user":null}', ApiRoot).auth is None
    root = decode(b'{"version":"0","auth":{"scopes":["org:read"]},"user":{"id":"1"}}', ApiRoot)
    assert root.auth is not None
    assert root.auth.scopes == ["org:read"]


def test_organizations_regions_and_installations() -> None:
    (organization,) = decode(
        dump([{"id": "2", "slug": "acme", "links": {"regionUrl": "https://de.sentry.io"}}]), list[Organization]
    )
    assert organization.links is not None
    assert organization.links.region_url == "https://de.sentry.io"
    regions = decode(b'{"regions":[{"name":"de","url":"https://de.sentry.io"}]}', Regions)
    assert regions.regions[0].url == "https://de.sentry.io"
    installation = decode(b'{"uuid":"u","app":{"slug":"a"},"organization":{"slug":"acme"}}', Installation)
    assert installation.organization.slug == "acme"
    assert (installation.uuid, installation.status) == ("u", None)
    assert installation.app is not None
    assert (installation.app.slug, installation.app.uuid) == ("a", None)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{}", "`$`"),
        (b"[1]", "`$[0]`"),
        (b'[{"id":1}]', "`$[0].id`"),
        (b'[{"id":"1","user":{"id":"secret@example.com","username":5}}]', "`$[0].user.username`"),
        (b'[{"id":"1","dateCreated":"2026-11-01T09:00:00"}]', "`$[0].dateCreated`"),
    ],
)
def test_another_shape_names_the_place_and_no_value(body: bytes, place: str) -> None:
    with pytest.raises(UpstreamInvalid) as caught:
        decode(body, list[Member])
    assert caught.value.message == f"Sentry's answer has another shape than expected, at {place}."
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=100))
def test_any_bytes_decode_or_are_invalid(body: bytes) -> None:
    with suppress(UpstreamInvalid):
        assert isinstance(decode(body, list[Member]), list)
