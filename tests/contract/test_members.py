"""Members: the search that loaders batch with, the two kinds of id, and what only a single member tells."""

from typing import Any

import pytest

from tests.contract.server import Server, ids
from tests.contract.shapes import MEMBER, MEMBER_DETAIL, describe_mismatch


@pytest.fixture
def members(server: Server) -> list[dict[str, Any]]:
    return server.walk(server.organization_path("members/"))


def _find(server: Server, query: str) -> list[dict[str, Any]]:
    return server.rows(server.organization_path("members/"), query=query)


def _joined(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [member for member in members if member["user"]]


def test_rows_have_the_described_shape_and_no_teams(server: Server, members: list[dict[str, Any]]) -> None:
    for member in members:
        assert not describe_mismatch(member, MEMBER, server.manner)
        assert "teams" not in member


def test_an_invite_is_pending_and_has_no_user(members: list[dict[str, Any]]) -> None:
    invites = [member for member in members if member["user"] is None]
    assert invites, "the organization needs an invited member for this"
    assert all(invite["pending"] and "@" in invite["email"] for invite in invites)
    assert not any(member["pending"] for member in _joined(members))


def test_only_approved_seats_are_listed(members: list[dict[str, Any]]) -> None:
    assert {member["inviteStatus"] for member in members} == {"approved"}
    assert all(member["user"]["isActive"] for member in _joined(members))


def test_ids_find_members_by_member_id(server: Server, members: list[dict[str, Any]]) -> None:
    wanted = ids(members)[1:4]
    assert ids(_find(server, " ".join(f"id:{number}" for number in wanted))) == wanted


def test_user_ids_are_another_kind_of_id(server: Server, members: list[dict[str, Any]]) -> None:
    joined = _joined(members)[1:4]
    found = _find(server, " ".join(f"user.id:{member['user']['id']}" for member in joined))
    assert ids(found) == ids(joined)


def test_a_hundred_ids_fit_one_call(server: Server, members: list[dict[str, Any]]) -> None:
    wanted = ids(members)[:100]
    assert ids(_find(server, " ".join(f"id:{number}" for number in wanted))) == wanted


def test_ids_that_are_nobodys_are_left_out(server: Server, members: list[dict[str, Any]]) -> None:
    known = members[0]["id"]
    assert ids(_find(server, f"id:{known} id:2000000000")) == [known]
    assert _find(server, "user.id:2000000000") == []


def test_addresses_match_whole_and_in_any_case(server: Server, members: list[dict[str, Any]]) -> None:
    joined = _joined(members)[0]
    assert joined["id"] in ids(_find(server, f"email:{joined['email'].upper()}"))
    assert _find(server, f"email:{joined['email'][:-2]}") == []


def test_several_addresses_are_joined_by_or(server: Server, members: list[dict[str, Any]]) -> None:
    first, second = _joined(members)[1:3]
    assert {first["id"], second["id"]} <= set(ids(_find(server, f"email:{first['email']} email:{second['email']}")))


def test_quotes_keep_an_address_apart_from_the_next(server: Server, members: list[dict[str, Any]]) -> None:
    member = _joined(members)[1]
    for odd in ("o'brien@nobody.example", ":@nobody.example", "nobody:", "(nobody)", "no body"):
        assert member["id"] in ids(_find(server, f'email:"{odd}" email:"{member["email"]}"'))


def test_an_apostrophe_without_quotes_swallows_what_follows(server: Server, members: list[dict[str, Any]]) -> None:
    member = _joined(members)[1]
    assert _find(server, f"email:o'brien@nobody.example email:{member['email']}") == []


def test_an_id_beyond_64_bits_is_an_error(server: Server) -> None:
    assert server.ask(server.organization_path("members/"), params={"query": f"id:{2**63}"}).status_code == 500


def test_an_invites_address_is_found_too(server: Server, members: list[dict[str, Any]]) -> None:
    invite = next(member for member in members if member["user"] is None)
    assert ids(_find(server, f"email:{invite['email']}")) == [invite["id"]]


def test_different_keys_are_joined_by_and(server: Server, members: list[dict[str, Any]]) -> None:
    member = members[0]
    other = "billing" if member["orgRole"] != "billing" else "owner"
    assert ids(_find(server, f"id:{member['id']} role:{member['orgRole']}")) == [member["id"]]
    assert _find(server, f"id:{member['id']} role:{other}") == []


def test_roles_filter(server: Server, members: list[dict[str, Any]]) -> None:
    owners = [member["id"] for member in members if member["orgRole"] == "owner"]
    assert owners
    assert ids(_find(server, "role:owner")) == owners[:100]


def test_invited_and_joined_part_the_list(server: Server, members: list[dict[str, Any]]) -> None:
    path = server.organization_path("members/")
    invited, joined = server.walk(path, query="isInvited:true"), server.walk(path, query="isInvited:false")
    assert all(member["user"] is None for member in invited)
    assert all(member["user"] for member in joined)
    assert sorted(ids(invited) + ids(joined)) == sorted(ids(members))


def test_free_text_finds_parts_of_addresses(server: Server, members: list[dict[str, Any]]) -> None:
    member = _joined(members)[1]
    assert member["id"] in ids(_find(server, member["email"].partition("@")[0]))


def test_an_unknown_key_finds_nobody(server: Server) -> None:
    assert _find(server, "no.such.key:1") == []


def test_an_empty_query_filters_nothing(server: Server) -> None:
    path = server.organization_path("members/")
    assert server.rows(path, query="") == server.rows(path)


def test_one_member_adds_teams_and_roles(server: Server, members: list[dict[str, Any]]) -> None:
    member = _joined(members)[1]
    found = server.ask(server.organization_path(f"members/{member['id']}/")).json()
    assert not describe_mismatch(found, MEMBER_DETAIL, server.manner)
    assert found["id"] == member["id"]
    assert found["user"]["id"] == member["user"]["id"]
    assert found["teams"] == [team["teamSlug"] for team in found["teamRoles"]]


def test_one_invite_has_an_empty_user_instead_of_null_and_an_acceptance_link(
    server: Server, members: list[dict[str, Any]]
) -> None:
    invite = next(member for member in members if member["user"] is None)
    found = server.ask(server.organization_path(f"members/{invite['id']}/")).json()
    assert found["user"] in ({}, None)
    assert "/accept/" in found["invite_link"]


def test_me_is_the_tokens_own_seat(server: Server) -> None:
    user = server.ask("").json()["user"]
    assert server.ask(server.organization_path("members/me/")).json()["user"]["id"] == user["id"]


@pytest.mark.parametrize("name", ["2000000000", "nobody"])
def test_an_unknown_member_is_a_404(server: Server, name: str) -> None:
    assert server.ask(server.organization_path(f"members/{name}/")).status_code == 404
