"""How lists are cut into pages. Our own cursors, forwards and backwards, stand on this."""

from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.server import Server, ids, links


def test_a_page_has_both_links_even_where_they_lead_nowhere(server: Server) -> None:
    found = links(server.ask(server.organization_path("members/"), params={"per_page": 1}))
    assert set(found) == {"previous", "next"}
    assert found["previous"].results is False
    assert found["next"].results is True


def test_a_links_cursor_is_the_one_in_its_url_which_keeps_the_other_parameters(server: Server) -> None:
    response = server.ask(
        server.organization_path("members/"), params={"query": "role:owner role:member", "per_page": 1}
    )
    for link in links(response).values():
        query = parse_qs(urlsplit(link.url).query)
        assert query == {"query": ["role:owner role:member"], "per_page": ["1"], "cursor": [link.cursor]}


def test_a_cursor_is_three_parts(server: Server) -> None:
    for path in ("organizations/", server.organization_path("members/"), server.organization_path("teams/")):
        for link in links(server.ask(path)).values():
            assert len(link.cursor.split(":")) == 3


def test_a_walk_at_one_page_size_sees_every_member_once_in_the_order_of_ids(server: Server) -> None:
    found = [int(number) for number in ids(server.walk(server.organization_path("members/")))]
    assert found == sorted(set(found))


def test_the_page_size_does_not_change_what_a_walk_sees(server: Server) -> None:
    path = server.organization_path("members/")
    whole = ids(server.walk(path))
    size = max(1, len(whole) // 6)
    assert ids(server.walk(path, size=size)) == whole


def test_the_last_page_has_a_next_link_without_results_and_an_empty_page_behind_it(server: Server) -> None:
    path = server.organization_path("members/")
    *_, last = server.pages(path)
    following = links(last)["next"]
    assert following.results is False
    beyond = server.ask(path, params={"cursor": following.cursor})
    assert beyond.json() == []
    assert links(beyond)["next"].results is False


@pytest.mark.parametrize("path", ["members/", "teams/", "projects/"])
def test_a_previous_link_leads_to_the_very_page_before_in_the_same_order(server: Server, path: str) -> None:
    path, size = server.organization_path(path), 2
    pages = list(server.pages(path, size=size, most=4))
    assert len(pages) > 1
    for before, page in pairwise(pages):
        previous = links(page)["previous"]
        assert previous.results is True
        again = server.ask(path, params={"per_page": size, "cursor": previous.cursor})
        assert again.json() == before.json()


def test_a_page_reached_backwards_has_the_same_neighbours(server: Server) -> None:
    path, size = server.organization_path("members/"), 2
    first, second, third = server.pages(path, size=size, most=3)
    back = server.ask(path, params={"per_page": size, "cursor": links(third)["previous"].cursor})
    assert back.json() == second.json()
    assert links(back)["previous"].cursor == links(second)["previous"].cursor
    assert links(back)["next"].cursor == links(second)["next"].cursor
    start = server.ask(path, params={"per_page": size, "cursor": links(back)["previous"].cursor})
    assert start.json() == first.json()
    assert links(start)["previous"].results is False


def test_what_is_before_the_first_page_is_refused(server: Server) -> None:
    path = server.organization_path("members/")
    first = server.ask(path)
    assert server.ask(path, params={"cursor": links(first)["previous"].cursor}).status_code == 400


def test_a_page_holds_at_most_a_hundred(server: Server) -> None:
    path = server.organization_path("members/")
    assert server.ask(path, params={"per_page": 100}).status_code == 200
    response = server.ask(path, params={"per_page": 101})
    assert response.status_code == 400
    assert response.json() == {"detail": "Invalid per_page value. Cannot exceed 100."}


@pytest.mark.parametrize("cursor", ["nonsense", "1:2", "a:0:0", "1:b:0", "1:2:3:4"])
def test_a_broken_cursor_is_refused(server: Server, cursor: str) -> None:
    response = server.ask(server.organization_path("members/"), params={"cursor": cursor})
    assert response.status_code == 400
    assert response.json() == {"detail": "Invalid cursor parameter."}


def test_unknown_parameters_are_ignored(server: Server) -> None:
    path = server.organization_path("members/")
    assert server.rows(path, per_page=3, nonsense="1") == server.rows(path, per_page=3)


def test_organizations_are_walked_by_another_kind_of_cursor(server: Server) -> None:
    whole = ids(server.rows("organizations/"))
    assert ids(server.walk("organizations/", size=1)) == whole
    assert len(set(whole)) == len(whole)


@pytest.mark.parametrize("path", ["users/?project=-1", "environments/", "projects/?all_projects=1"])
def test_some_lists_come_whole_and_without_links(server: Server, path: str) -> None:
    response = server.ask(server.organization_path(path))
    assert response.status_code == 200
    assert isinstance(response.json(), list)
    assert "Link" not in response.headers


def test_members_are_not_counted(server: Server) -> None:
    assert "X-Hits" not in server.ask(server.organization_path("members/")).headers
