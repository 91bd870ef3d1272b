from datetime import UTC, datetime

import msgspec

from service.directory.user import Email, Group, Organization, Role, UserStatus
from tests.directory.people import ORGANIZATION, invited, person, row, user


def test_a_member_who_joined() -> None:
    ada = person(7)
    assert ada.id == "usr_a_7"
    assert (ada.external_id, ada.sentry_member_id) == ("1007", "7")
    assert (ada.name, ada.username, ada.email) == ("Person 7", "person7@lumen.example", "person7@lumen.example")
    assert ada.status is UserStatus.ACTIVE
    assert ada.emails == [Email("person7@lumen.example", is_primary=True, is_verified=True)]
    assert ada.is_email_verified is True
    assert ada.is_two_factor_enabled is False
    assert ada.avatar_url == "https://pictures.example/7"
    assert ada.roles == [Role("org_a", "member", "Member")]
    assert ada.organizations == [ORGANIZATION] == [Organization("con_a", "2", "lumen", "Lumen")]
    assert ada.created_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert ada.last_login_at == datetime(2026, 3, 1, 10, 0, 0, 1, tzinfo=UTC)
    assert ada.last_active_at is None


def test_an_invitation_has_no_user_behind_it() -> None:
    guest = user(invited(8))
    assert guest.status is UserStatus.INVITED
    assert guest.name is None
    assert guest.email == "person8@lumen.example"
    assert guest.emails == [Email("person8@lumen.example", is_primary=True, is_verified=None)]
    unknown = (
        guest.external_id,
        guest.username,
        guest.is_email_verified,
        guest.is_two_factor_enabled,
        guest.avatar_url,
        guest.last_login_at,
        guest.last_active_at,
    )
    assert unknown == (None,) * 7


def test_the_id_survives_an_invitation_being_accepted() -> None:
    assert user(invited(8)).id == person(8).id


def test_statuses() -> None:
    assert user(invited(1, expired=True)).status is UserStatus.EXPIRED
    assert person(1, flags={"member-limit:restricted": True}).status is UserStatus.RESTRICTED
    assert person(1, flags=None).status is UserStatus.ACTIVE


def test_the_primary_address_comes_first_whatever_its_case() -> None:
    member = row(1, email="Ada@Lumen.example")
    member["user"]["emails"] = [
        {"email": "other@lumen.example", "is_verified": False},
        {"email": "ada@lumen.example", "is_verified": True},
    ]
    assert user(member).emails == [
        Email("ada@lumen.example", is_primary=True, is_verified=True),
        Email("other@lumen.example", is_primary=False, is_verified=False),
    ]


def test_a_user_without_any_address() -> None:
    member = row(1, email=None)
    member["user"]["emails"] = None
    assert user(member).emails == []
    assert user(member).is_email_verified is None


def test_older_servers_name_roles_otherwise_and_give_them_through_teams() -> None:
    given = [
        {"teamSlug": "ops", "role": {"id": "manager", "name": "Manager"}},
        {"teamSlug": "x", "role": {"id": "owner"}},
    ]
    member = row(1, orgRole=None, role="admin", roleName="Administrator", groupOrgRoles=given)
    assert user(member).roles == [
        Role("org_a", "admin", "Administrator"),
        Role("org_a", "manager", "Manager", "ops"),
        Role("org_a", "owner", "Owner", "x"),
    ]
    assert user(row(1, orgRole=None)).roles == []


def test_sentrys_payload_is_kept_untouched() -> None:
    member = row(1, somethingNew={"a": [1, 2.50, "ü"]})
    assert msgspec.json.decode(user(member).remote_data) == member


def test_ids_of_what_is_inside_an_organization_are_global() -> None:
    assert ORGANIZATION.id == "org_a"
    assert Group("con_a", "5", "ops", "Ops").id == "grp_a_5"
    own, given = Role("org_a", "admin", "Admin"), Role("org_a", "admin", "Team Admin", "ops")
    assert (own.id, given.id) == ("rol_a_admin", "rol_a_ops_admin")
    assert own.organization == "org_a"
