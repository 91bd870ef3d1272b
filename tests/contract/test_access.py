"""Who may do what, and how Sentry says no."""

import pytest

from tests.contract.server import Server
from tests.contract.shapes import ROOT, describe_mismatch


def test_the_root_answers_anybody_and_says_that_nobody_is_signed_in(server: Server) -> None:
    response = server.ask("", None)
    assert response.status_code == 200
    assert response.json()["auth"] is None
    assert response.json()["user"] is None


def test_the_root_names_the_tokens_scopes_and_its_user(server: Server) -> None:
    found = server.ask("").json()
    assert not describe_mismatch(found, ROOT, "latest")
    assert {"org:read", "member:read"} <= set(found["auth"]["scopes"])
    assert found["user"]["email"]


def test_the_root_names_fewer_scopes_of_a_limited_token(server: Server) -> None:
    assert "member:read" not in server.ask("", "limited").json()["auth"]["scopes"]


def test_an_unknown_token_is_refused_even_at_the_root(server: Server) -> None:
    response = server.ask("", None, headers={"Authorization": "Bearer no-such-token"})
    assert response.status_code == 401
    assert response.json() == {"detail": "Invalid token"}
    assert "Basic" in response.headers["WWW-Authenticate"]


def test_no_credentials_are_told_from_wrong_ones(server: Server) -> None:
    response = server.ask(server.organization_path("members/"), None)
    assert response.status_code == 401
    assert response.json() == {"detail": "Authentication credentials were not provided."}


def test_an_expired_token_is_told_from_an_unknown_one(server: Server) -> None:
    response = server.ask(server.organization_path("members/"), "expired")
    assert response.status_code == 401
    assert response.json() == {"detail": "Token expired"}


@pytest.mark.parametrize("path", ["members/", "members/me/", "members/1/"])
def test_a_missing_scope_is_a_403(server: Server, path: str) -> None:
    response = server.ask(server.organization_path(path), "limited")
    assert response.status_code == 403
    assert response.json() == {"detail": "You do not have permission to perform this action."}


def test_newer_servers_name_the_missing_scope(server: Server) -> None:
    challenge = server.ask(server.organization_path("members/"), "limited").headers.get("WWW-Authenticate", "")
    assert ('error="insufficient_scope"' in challenge and "member:read" in challenge) is (server.manner == "latest")


def test_a_scope_that_is_missing_is_said_before_an_organization_that_is(server: Server) -> None:
    assert server.ask("organizations/no-such-organization/members/", "limited").status_code == 403


@pytest.mark.parametrize("path", ["organizations/no-such-organization/", "organizations/no-such-organization/members/"])
def test_an_unknown_organization_is_a_404(server: Server, path: str) -> None:
    response = server.ask(path)
    assert response.status_code == 404
    assert response.json() == {"detail": "The requested resource does not exist"}


def test_an_integration_lists_no_organizations_and_reaches_its_own(server: Server) -> None:
    assert server.rows("organizations/", "internal") == []
    assert server.ask(server.organization_path(), "internal").json()["slug"] == server.organization
    assert server.rows(server.organization_path("members/"), "internal", per_page=1)


def test_an_integration_has_a_user_but_no_seat(server: Server) -> None:
    assert server.ask("", "internal").json()["user"]["email"] == ""
    assert server.ask(server.organization_path("members/me/"), "internal").status_code == 404


def test_a_method_that_an_endpoint_lacks_is_a_403_or_405(server: Server) -> None:
    for method in ("PATCH", "DELETE"):
        assert server.ask(server.organization_path("members/"), method=method).status_code in {403, 405}


def test_options_says_what_is_allowed_to_anybody(server: Server) -> None:
    response = server.ask(server.organization_path("members/"), None, method="OPTIONS")
    assert response.status_code == 200
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_head_is_refused_where_get_is_allowed(server: Server) -> None:
    response = server.ask(server.organization_path("members/"), method="HEAD")
    assert response.status_code == 403
    assert response.content == b""


def test_the_final_slash_belongs_to_the_path(server: Server) -> None:
    assert server.ask(server.organization_path("members")).status_code in {301, 404}


def test_an_unknown_path_is_a_404_that_need_not_be_json(server: Server) -> None:
    assert server.ask(server.organization_path("no-such-thing/")).status_code == 404
