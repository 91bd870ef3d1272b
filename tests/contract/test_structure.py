"""Organizations, regions, teams and projects."""

import pytest

from tests.contract.server import Server, ids, links
from tests.contract.shapes import (
    MEMBER,
    ORGANIZATION,
    ORGANIZATION_DETAIL,
    PROJECT,
    PROJECT_DETAIL,
    PROJECT_USER,
    TEAM,
    TEAM_MEMBER,
    TEAM_WITH_PROJECTS,
    describe_mismatch,
)


def test_organizations_say_where_they_live(server: Server) -> None:
    rows = server.rows("organizations/")
    assert server.organization in [row["slug"] for row in rows]
    for row in rows:
        assert not describe_mismatch(row, ORGANIZATION, server.manner)
        assert row["links"]["regionUrl"].startswith("http")


def test_an_organization_is_reached_by_its_slug_and_by_its_id_on_newer_servers(server: Server) -> None:
    found = server.ask(server.organization_path("?detailed=0")).json()
    assert not describe_mismatch(found, ORGANIZATION_DETAIL, "latest")
    by_id = server.ask(f"organizations/{found['id']}/?detailed=0")
    assert by_id.status_code == (404 if server.manner == "23.7" else 200)


def test_slugs_are_compared_exactly(server: Server) -> None:
    assert server.ask(f"organizations/{server.organization.upper()}/members/").status_code == 404


def test_organizations_are_found_by_slug(server: Server) -> None:
    assert [row["slug"] for row in server.rows("organizations/", query=f"slug:{server.organization}")] == [
        server.organization
    ]


def test_only_newer_servers_list_regions(server: Server) -> None:
    response = server.ask("users/me/regions/")
    if server.manner == "23.7":
        assert response.status_code in {403, 404}
    else:
        assert all(region["url"].startswith("http") for region in response.json()["regions"])


def test_teams_have_the_described_shape_with_and_without_projects(server: Server) -> None:
    path = server.organization_path("teams/")
    for team in server.rows(path):
        assert not describe_mismatch(team, TEAM_WITH_PROJECTS, server.manner)
    for team in server.rows(path, detailed="0"):
        assert not describe_mismatch(team, TEAM, server.manner)
        assert "projects" not in team


def test_teams_are_found_by_id_and_slug(server: Server) -> None:
    path = server.organization_path("teams/")
    first, second, *_ = server.rows(path, detailed="0")
    assert ids(server.rows(path, query=f"id:{first['id']} id:{second['id']}")) == ids([first, second])
    assert ids(server.rows(path, query=f"slug:{second['slug']}")) == [second["id"]]
    assert server.rows(path, query="no.such.key:1") == []


def test_a_teams_members_are_member_rows_with_the_team(server: Server) -> None:
    team = max(server.rows(server.organization_path("teams/"), detailed="0"), key=lambda team: team["memberCount"])
    path = f"teams/{server.organization}/{team['slug']}/members/"
    rows = server.walk(path)
    assert len(rows) >= team["memberCount"] > 0
    for row in rows:
        assert not describe_mismatch(row, TEAM_MEMBER, server.manner)
        assert row["teamSlug"] == team["slug"]
    assert ids(server.walk(path, size=max(1, len(rows) // 3))) == ids(rows)
    single = server.ask(server.organization_path(f"members/{rows[0]['id']}/")).json()
    assert {"teamSlug": team["slug"], "role": rows[0]["teamRole"]} in single["teamRoles"]


def test_a_teams_members_take_no_query_and_no_member_scope_suffices(server: Server) -> None:
    team = server.rows(server.organization_path("teams/"), detailed="0")[0]
    path = f"teams/{server.organization}/{team['slug']}/members/"
    assert server.rows(path, query="id:2000000000") == server.rows(path)
    assert server.ask(path, "limited").status_code == 403


def test_teams_are_reached_by_slug_and_by_id_on_newer_servers(server: Server) -> None:
    team = server.rows(server.organization_path("teams/"), detailed="0")[0]
    assert server.ask(f"teams/{server.organization}/{team['slug']}/").status_code == 200
    by_id = server.ask(f"teams/{server.organization}/{team['id']}/")
    assert by_id.status_code == (404 if server.manner == "23.7" else 200)


def test_projects_have_the_described_shape(server: Server) -> None:
    for project in server.rows(server.organization_path("projects/")):
        assert not describe_mismatch(project, PROJECT, server.manner)


def test_all_projects_come_whole_where_asked_for(server: Server) -> None:
    path = server.organization_path("projects/")
    assert ids(server.rows(path, all_projects="1")) == ids(server.walk(path, size=7))


def test_projects_are_found_by_id_and_slug(server: Server) -> None:
    path = server.organization_path("projects/")
    first, second, *_ = server.rows(path)
    assert ids(server.rows(path, query=f"id:{first['id']} id:{second['id']}")) == ids([first, second])
    assert ids(server.rows(path, query=f"slug:{first['slug']}")) == [first["id"]]


def test_a_project_is_reached_by_its_slug_and_by_its_id_on_newer_servers(server: Server) -> None:
    project = server.rows(server.organization_path("projects/"))[0]
    found = server.ask(f"projects/{server.organization}/{project['slug']}/").json()
    assert not describe_mismatch(found, PROJECT_DETAIL, "latest")
    by_id = server.ask(f"projects/{server.organization}/{project['id']}/")
    assert by_id.status_code == (404 if server.manner == "23.7" else 200)


def test_a_projects_members_come_whole(server: Server) -> None:
    project = server.rows(server.organization_path("projects/"))[0]
    response = server.ask(f"projects/{server.organization}/{project['slug']}/members/")
    assert not links(response)
    assert response.json()
    for row in response.json():
        assert not describe_mismatch(row, MEMBER, server.manner)


def test_users_of_projects_name_their_projects(server: Server) -> None:
    project = server.rows(server.organization_path("projects/"))[0]
    rows = server.rows(server.organization_path("users/"), project=project["id"])
    assert rows
    for row in rows:
        assert not describe_mismatch(row, PROJECT_USER, server.manner)
        assert row["projects"] == [project["slug"]]


@pytest.mark.parametrize("kind", ["teams", "projects"])
def test_an_unknown_team_or_project_is_a_404(server: Server, kind: str) -> None:
    assert server.ask(f"{kind}/{server.organization}/no-such-thing/").status_code == 404


def test_a_project_that_is_not_there_is_refused_as_a_parameter(server: Server) -> None:
    assert server.ask(server.organization_path("users/?project=2000000000")).status_code == 403
