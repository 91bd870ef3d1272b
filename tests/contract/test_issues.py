"""Issues, as far as the proxy's conveniences know them."""

from typing import Any

import pytest

from tests.contract.server import Server, ids, links
from tests.contract.shapes import ISSUE, describe_mismatch


@pytest.fixture
def issues(server: Server) -> list[dict[str, Any]]:
    found = server.rows(server.organization_path("issues/"), project="-1", limit=3)
    if len(found) < 3:
        pytest.skip("the server has no three unresolved issues")
    return found


def test_rows_have_the_described_shape(server: Server, issues: list[dict[str, Any]]) -> None:
    for issue in issues:
        assert not describe_mismatch(issue, ISSUE, server.manner)


def test_unresolved_ones_are_listed_unless_a_query_says_otherwise(server: Server, issues: list[dict[str, Any]]) -> None:
    assert {issue["status"] for issue in issues} == {"unresolved"}


def test_the_page_size_is_called_limit_and_is_clamped(server: Server, issues: list[dict[str, Any]]) -> None:
    assert len(issues) == 3
    assert len(server.rows(server.organization_path("issues/"), project="-1", limit=1000)) <= 100


def test_issues_are_counted(server: Server, issues: list[dict[str, Any]]) -> None:
    response = server.ask(server.organization_path("issues/"), params={"project": "-1", "limit": 1})
    assert int(response.headers["X-Hits"]) >= len(issues)
    assert response.headers["X-Max-Hits"] == "1000"
    assert links(response)["next"].results is True


def test_a_walk_sees_each_issue_once(server: Server, issues: list[dict[str, Any]]) -> None:
    path = server.organization_path("issues/")
    pages = server.pages(path, most=3, limit="2", project="-1")
    walked = [number for page in pages for number in ids(page.json())]
    assert walked[:3] == ids(issues)
    assert len(walked) == len(set(walked))


def test_issues_are_picked_by_id_whole_whatever_their_status(server: Server, issues: list[dict[str, Any]]) -> None:
    wanted = ids(issues)
    response = server.ask(server.organization_path("issues/"), params={"group": wanted, "project": "-1"})
    assert sorted(ids(response.json())) == sorted(wanted)
    assert not links(response)


def test_the_legacy_path_answers_the_same_issue(server: Server, issues: list[dict[str, Any]]) -> None:
    number = issues[0]["id"]
    assert server.ask(f"issues/{number}/").json()["id"] == number
    assert server.ask(server.organization_path(f"issues/{number}/")).json()["id"] == number


def test_a_group_that_is_no_number_is_refused(server: Server) -> None:
    response = server.ask(server.organization_path("issues/"), params={"group": "x", "project": "-1"})
    assert response.status_code == 400
    assert response.json() == {"detail": "Group ids must be integers"}


@pytest.mark.parametrize("path", ["issues/2000000000/", "organizations/{o}/issues/2000000000/"])
def test_an_unknown_issue_is_a_404(server: Server, path: str) -> None:
    assert server.ask(path.format(o=server.organization)).status_code == 404


def test_projects_are_named_by_id_and_on_newer_servers_by_slug_too(server: Server) -> None:
    project = server.rows(server.organization_path("projects/"))[0]
    path = server.organization_path("issues/")
    assert server.ask(path, params={"project": project["id"]}).status_code == 200
    by_slug = server.ask(path, params={"project": project["slug"]})
    assert by_slug.status_code == (400 if server.manner == "23.7" else 200)


def test_a_table_without_columns_is_refused(server: Server) -> None:
    response = server.ask(server.organization_path("events/?project=-1"))
    assert response.status_code == 400


def test_old_servers_know_no_dataset_of_errors(server: Server) -> None:
    response = server.ask(server.organization_path("events/?field=title&project=-1&dataset=errors"))
    if server.manner == "23.7":
        assert response.status_code == 400
        assert response.json()["detail"].startswith("dataset must be one of: ")
    else:
        assert response.status_code == 200
