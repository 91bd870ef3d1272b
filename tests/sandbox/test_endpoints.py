"""What the contract does not state: writes, searches, and where the two manners part."""

from typing import Any

import httpx
import pytest

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from tests.sandbox.conftest import client_of

O = "organizations/lumen-labs/"  # noqa: E741  # a prefix on every line
RAIL = "organizations/northwind-rail/"


async def _rows(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    response = await client.get(path, params=params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


# --- members ---


async def test_an_invited_member_gets_a_role_and_a_team_and_is_removed(client: httpx.AsyncClient) -> None:
    made = (await client.post(f"{O}members/", json={"email": "new@x.example", "orgRole": "member"})).json()
    path = f"{O}members/{made['id']}/"
    assert (made["pending"], made["user"], made["inviterName"]) == (True, None, "mara.quill@lumen-labs.example")
    assert (await client.put(path, json={"orgRole": "manager"})).json()["orgRole"] == "manager"
    assert (await client.post(f"{path}teams/search-crew/")).status_code == 201
    assert (await client.post(f"{path}teams/search-crew/")).status_code == 204
    assert (await client.put(f"{path}teams/search-crew/", json={"teamRole": "admin"})).status_code == 200
    assert (await client.get(path)).json()["teamRoles"] == [{"teamSlug": "search-crew", "role": "admin"}]
    assert (await client.put(f"{path}teams/search-crew/", json={"teamRole": "boss"})).status_code == 400
    assert (await client.delete(f"{path}teams/search-crew/")).status_code == 200
    assert (await client.delete(f"{path}teams/search-crew/")).status_code == 404
    assert (await client.put(f"{path}teams/search-crew/", json={"teamRole": "admin"})).status_code == 404
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"email": "x@x.example", "orgRole": "king"}, 400),
        ({"email": "MARA.quill@lumen-labs.example"}, 400),
        ([], 400),
    ],
)
async def test_a_wrong_invitation_says_why(client: httpx.AsyncClient, body: object, status: int) -> None:
    response = await client.post(f"{O}members/", json=body)
    assert response.status_code == status
    assert response.json()


async def test_broken_json_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{O}members/", content=b'{"email')
    assert response.status_code == 400
    assert response.json()["detail"].startswith("JSON parse error")


async def test_the_last_owner_stays_and_roles_must_exist(client: httpx.AsyncClient) -> None:
    me = (await client.get(f"{O}members/me/")).json()
    assert me["isOnlyOwner"] is True
    assert (await client.delete(f"{O}members/{me['id']}/")).status_code == 403
    assert (await client.put(f"{O}members/{me['id']}/", json={"orgRole": "king"})).status_code == 400


async def test_a_shared_address_finds_two(client: httpx.AsyncClient) -> None:
    twins = [row for row in await _rows(client, f"{O}members/") if row["user"] and len(row["user"]["emails"]) > 1]
    shared = [
        e["email"] for row in twins for e in row["user"]["emails"][1:] if e["email"].endswith("lumen-labs.example")
    ]
    assert len(await _rows(client, f"{O}members/", query=f"email:{shared[0]}")) == 2


@pytest.mark.parametrize(
    ("query", "some"),
    [
        ("has2fa:true", True),
        ("has2fa:false", True),
        ("ssoLinked:true", True),
        ("ssoLinked:false", True),
        ("scope:org:admin", True),
        ("hasExternalUsers:true", False),
        ("hasExternalUsers:false", True),
        ('"Mara Quill"', True),
        ("mara quill", True),
        ("user.id:[7,8]", False),
    ],
)
async def test_members_are_searched(client: httpx.AsyncClient, query: str, some: bool) -> None:
    assert bool(await _rows(client, f"{O}members/", query=query)) is some


async def test_ids_that_are_no_numbers_break_an_old_server(app: Sandbox, client: httpx.AsyncClient) -> None:
    app.manner = "23.7"
    response = await client.get(f"{O}members/", params={"query": "user.id:[7,8]"})
    assert (response.status_code, response.json()["detail"]) == (500, "Internal Error")


async def test_users_of_ones_own_teams_where_no_project_is_named(app: Sandbox) -> None:
    async with client_of(app, DEMO_TOKENS.member) as client:
        mine = await _rows(client, f"{O}users/")
    async with client_of(app, DEMO_TOKENS.internal) as client:
        assert await _rows(client, f"{O}users/") == []
        every = await _rows(client, f"{O}users/", project="-1")
        assert len(await _rows(client, f"{O}users/", project="search")) < len(every)
        assert (await client.get(f"{O}users/", params={"project": "no-such"})).status_code == 400
    assert len(mine) < len(every)


# --- organizations, teams, projects ---


async def test_a_renamed_organization_is_gone_under_its_old_slug(app: Sandbox, client: httpx.AsyncClient) -> None:
    assert (await client.put("organizations/paper-boat/", json={"slug": "paper-ship"})).json()["slug"] == "paper-ship"
    assert (await client.get("organizations/paper-boat/")).status_code == 404
    assert (await client.get("organizations/4503/")).status_code == 200
    app.manner = "23.7"
    assert (await client.get("organizations/4503/")).status_code == 404


async def test_organizations_are_searched(client: httpx.AsyncClient) -> None:
    for query, slugs in (
        ("rail", ["northwind-rail"]),
        ("id:4501", ["lumen-labs"]),
        ("no.such:1", []),
        ("slug:paper-boat", ["paper-boat"]),
    ):
        assert [row["slug"] for row in await _rows(client, "organizations/", query=query)] == slugs


async def test_an_organization_is_shown_with_or_without_teams_and_projects(client: httpx.AsyncClient) -> None:
    assert len((await client.get(O)).json()["projects"]) == 20
    assert "projects" not in (await client.get(O, params={"detailed": "0"})).json()


async def test_organization_lists(client: httpx.AsyncClient) -> None:
    assert {row["name"] for row in await _rows(client, f"{O}environments/")} == {"production", "staging"}
    assert {row["key"] for row in await _rows(client, f"{O}tags/")} == {"environment", "customer", "browser"}
    assert (await client.get(f"{O}audit-logs/")).json()["rows"]


async def test_a_team_is_made_renamed_and_removed(client: httpx.AsyncClient) -> None:
    made = (await client.post(f"{RAIL}teams/", json={"name": "Night Shift"})).json()
    assert (made["slug"], made["memberCount"]) == ("night-shift", 0)
    assert (await client.post(f"{RAIL}teams/", json={"slug": "night-shift"})).status_code == 409
    assert (await client.post(f"{RAIL}teams/", json={})).status_code == 400
    path = "teams/northwind-rail/"
    assert (await client.put(f"{path}night-shift/", json={"slug": "day-shift"})).json()["slug"] == "day-shift"
    assert (await client.delete(f"{path}day-shift/")).status_code == 204
    assert (await client.delete(f"{path}cart-crew/")).status_code == 204
    assert all("cart-crew" not in [t["slug"] for t in row["teams"]] for row in await _rows(client, f"{RAIL}projects/"))


async def test_teams_are_searched_by_text_and_wrong_ids_refused(client: httpx.AsyncClient) -> None:
    assert [t["slug"] for t in await _rows(client, f"{O}teams/", query="CART")] == ["cart-crew"]
    assert await _rows(client, f"{O}teams/", query="hasExternalTeams:true") == []
    assert len(await _rows(client, f"{O}teams/", query="hasExternalTeams:false")) == 8
    assert (await client.get(f"{O}teams/", params={"query": "id:x"})).json() == {"detail": "Invalid id value"}


async def test_projects_of_a_team_and_teams_of_a_project_agree(client: httpx.AsyncClient) -> None:
    team = (await _rows(client, f"{O}teams/"))[0]
    projects = await _rows(client, f"teams/lumen-labs/{team['slug']}/projects/")
    assert [p["slug"] for p in projects] == [
        p["slug"] for p in await _rows(client, f"{O}projects/", query=f"team:{team['slug']}")
    ]
    for project in projects:
        teams = await _rows(client, f"projects/lumen-labs/{project['slug']}/teams/")
        assert team["slug"] in [t["slug"] for t in teams]


async def test_a_project_is_renamed_and_searched(client: httpx.AsyncClient) -> None:
    path = "projects/northwind-rail/cart/"
    assert (await client.put(path, json={"slug": "basket", "name": "Basket"})).json()["name"] == "Basket"
    assert [p["slug"] for p in await _rows(client, f"{RAIL}projects/", query="BASK")] == ["basket"]
    assert await _rows(client, f"{RAIL}projects/", query="no.such:1") == []
    assert (await _rows(client, "projects/northwind-rail/basket/environments/"))[0]["name"] == "production"


async def test_a_projects_key_holds_a_secret(client: httpx.AsyncClient) -> None:
    assert (await _rows(client, "projects/lumen-labs/cart/keys/"))[0]["secret"]


# --- issues ---


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("is:resolved", lambda issue: issue["status"] == "resolved"),
        ("is:archived", lambda issue: issue["status"] == "ignored"),
        ("is:assigned", lambda issue: issue["assignedTo"]),
        ("is:unassigned", lambda issue: not issue["assignedTo"]),
        ("assigned:none", lambda issue: not issue["assignedTo"]),
        ("level:fatal", lambda issue: issue["level"] == "fatal"),
        ("issue.id:[1,2,3]", lambda issue: issue["id"] in {"1", "2", "3"}),
        ("issue:CART-1", lambda issue: issue["shortId"] == "CART-1"),
        ("project:cart", lambda issue: issue["project"]["slug"] == "cart"),
        ("browser:Chrome", lambda issue: issue["title"]),
        ("timeouterror", lambda issue: issue["title"].startswith("TimeoutError")),
        ("lastSeen:-48h", lambda issue: issue["lastSeen"] > "2026-05-30"),
        ("lastSeen:+48h", lambda issue: issue["lastSeen"] < "2026-05-31"),
        ("firstSeen:>2026-05-01", lambda issue: issue["firstSeen"] > "2026-05-01"),
        ("firstSeen:<2026-05-01", lambda issue: issue["firstSeen"] < "2026-05-01"),
    ],
)
async def test_issues_are_searched(client: httpx.AsyncClient, query: str, fits: Any) -> None:
    found = await _rows(client, f"{O}issues/", query=query, project="-1")
    every = await _rows(client, f"{O}issues/", query="", project="-1")
    assert 0 < len(found) <= len(every)
    assert all(fits(issue) for issue in found)


async def test_issues_are_searched_by_assignee(client: httpx.AsyncClient) -> None:
    assigned = [i["assignedTo"] for i in await _rows(client, f"{O}issues/", query="is:assigned", project="-1")]
    team = next(a for a in assigned if a["type"] == "team")
    person = next(a for a in assigned if a["type"] == "user")
    for query, wanted in ((f"assigned:#{team['name']}", team), (f"assigned:{person['email']}", person)):
        found = await _rows(client, f"{O}issues/", query=query, project="-1")
        assert {issue["assignedTo"]["id"] for issue in found} == {wanted["id"]}


async def test_a_date_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{O}issues/", params={"query": "firstSeen:>soon", "project": "-1"})).status_code == 400


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("date", lambda i: i["lastSeen"]),
        ("new", lambda i: i["firstSeen"]),
        ("freq", lambda i: int(i["count"])),
        ("user", lambda i: i["userCount"]),
    ],
)
async def test_issues_are_sorted(client: httpx.AsyncClient, sort: str, key: Any) -> None:
    found = [key(issue) for issue in await _rows(client, f"{O}issues/", sort=sort, project="-1")]
    assert found == sorted(found, reverse=True)


async def test_an_unknown_sort_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{O}issues/", params={"sort": "luck", "project": "-1"})).status_code == 400


async def test_issues_of_an_environment(client: httpx.AsyncClient) -> None:
    assert await _rows(client, f"{O}issues/", environment="production", project="-1")
    assert await _rows(client, f"{O}issues/", environment="moon", project="-1") == []


async def test_an_issue_is_changed_for_good(client: httpx.AsyncClient) -> None:
    path = f"{O}issues/1/"
    assert (await client.put(path, json={"status": "resolved"})).json()["status"] == "resolved"
    assert (await client.get("issues/1/")).json()["status"] == "resolved"
    later = (await client.put(path, json={"status": "resolvedInNextRelease", "priority": "high"})).json()
    assert (later["statusDetails"]["inNextRelease"], later["priority"]) == (True, "high")
    assert later["statusDetails"]["actor"]["name"] == "Mara Quill"
    assert (await client.put(path, json={"status": "gone"})).status_code == 400
    assert (await client.delete(path)).status_code == 202
    assert (await client.get(path)).status_code == 404


async def test_an_issue_is_assigned_to_who_may_have_it(client: httpx.AsyncClient) -> None:
    issue = (await client.get(f"{O}issues/2/")).json()
    path, project = f"{O}issues/2/", issue["project"]["slug"]
    team = (await _rows(client, f"projects/lumen-labs/{project}/teams/"))[0]
    person = next(row for row in await _rows(client, f"projects/lumen-labs/{project}/members/") if row["user"])

    async def assign(actor: str) -> Any:
        response = await client.put(path, json={"assignedTo": actor})
        return response.json()["assignedTo"] if response.status_code == 200 else response.json()

    assert (await assign(f"team:{team['id']}"))["name"] == team["slug"]
    assert (await assign(f"user:{person['user']['id']}"))["email"] == person["email"]
    assert (await assign(person["email"]))["id"] == person["user"]["id"]
    assert await assign("") is None
    assert "assignedTo" in await assign("team:999999")
    assert await assign("mara.quill@lumen-labs.example") == {"assignedTo": ["Cannot assign to non-team member"]}
    assert await assign("nobody@x.example") == {"assignedTo": ["Unknown actor input"]}


async def test_many_issues_are_changed_by_id_or_by_query(client: httpx.AsyncClient) -> None:
    body = {"status": "ignored"}
    assert (await client.put(f"{O}issues/", params={"id": ["1", "2"]}, json=body)).json() == body
    assert (await client.get("issues/2/")).json()["status"] == "ignored"
    assert (await client.put(f"{O}issues/", params={"query": "level:none"}, json=body)).status_code == 204
    assert (await client.put(f"{O}issues/", params={"query": "level:fatal"}, json=body)).status_code == 200
    assert await _rows(client, f"{O}issues/", query="is:unresolved level:fatal", project="-1") == []


async def test_an_issue_of_another_organization_is_refused(app: Sandbox, client: httpx.AsyncClient) -> None:
    other = (await _rows(client, f"{RAIL}issues/", project="-1"))[0]["id"]
    assert (await client.get(f"{O}issues/", params={"group": other})).status_code == 403
    assert (await client.get(f"{O}issues/{other}/")).status_code == 404
    async with client_of(app, DEMO_TOKENS.member) as member:
        assert (await member.get(f"issues/{other}/")).status_code == 403


async def test_counters_of_issues_are_limited_in_number(app: Sandbox, client: httpx.AsyncClient) -> None:
    path, many = f"{O}issues-stats/", [str(number) for number in range(1, 27)]
    assert len((await client.get(path, params={"groups": many})).json()) == 26
    app.manner = "23.7"
    assert (await client.get(path, params={"groups": many})).status_code == 400
    assert (await client.get(path)).status_code == 400
    assert (await client.get(path, params={"groups": "2000000000"})).status_code == 400


async def test_a_comment_is_kept(client: httpx.AsyncClient) -> None:
    path = f"{O}issues/3/comments/"
    for text in ("first", "second"):
        assert (await client.post(path, json={"text": text})).status_code == 201
    assert [c["data"]["text"] for c in await _rows(client, "issues/3/comments/")] == ["second", "first"]
    assert (await client.post(path, json={"text": " "})).status_code == 400
    assert (await client.get("issues/3/")).json()["numComments"] == 2
    assert [a["type"] for a in (await client.get("issues/3/")).json()["activity"]] == ["note", "note", "first_seen"]


async def test_events_of_an_issue(client: httpx.AsyncClient) -> None:
    rows = await _rows(client, f"{O}issues/1/events/", per_page="2")
    assert "entries" not in rows[0]
    assert "entries" in (await _rows(client, "issues/1/events/", full="true"))[0]
    latest = (await client.get(f"{O}issues/1/events/latest/")).json()
    assert (latest["id"], latest["previousEventID"], latest["nextEventID"]) == (rows[0]["id"], rows[1]["id"], None)
    assert (await client.get(f"{O}issues/1/events/{rows[1]['id']}/")).json()["nextEventID"] == rows[0]["id"]
    assert (await client.get(f"{O}issues/1/events/oldest/")).json()["previousEventID"] is None
    assert (await client.get(f"{O}issues/1/events/nope/")).status_code == 404
    assert (await client.get(f"{O}eventids/{rows[0]['id']}/")).json()["groupId"] == "1"
    assert (await client.get(f"{O}eventids/nope/")).status_code == 404


async def test_issues_and_events_of_a_project(client: httpx.AsyncClient) -> None:
    assert {i["project"]["slug"] for i in await _rows(client, "projects/lumen-labs/cart/issues/")} == {"cart"}
    assert len(await _rows(client, "projects/lumen-labs/cart/issues/", query="")) == 12
    assert await _rows(client, "projects/lumen-labs/cart/events/", per_page="3")


async def test_an_issue_by_its_short_id(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{O}shortids/CART-1/")).json()["group"]["shortId"] == "CART-1"
    assert (await client.get(f"{O}shortids/CART-99999/")).status_code == 404


async def test_the_table_has_the_columns_asked_for(app: Sandbox, client: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {"field": ["issue.id", "count()", "browser"], "project": "-1", "per_page": "2"}
    assert (await client.get(f"{O}events/", params=params)).status_code == 400
    found = (await client.get(f"{O}events/", params=params | {"dataset": "errors"})).json()
    assert list(found["data"][0]) == params["field"]
    assert found["meta"]["fields"] == {"issue.id": "integer", "count()": "integer", "browser": "string"}
    app.manner = "23.7"
    assert (await client.get(f"{O}events/", params=params)).json()["meta"]["dataset"] == "discover"


# --- releases ---


async def test_a_release_is_made_once_then_merged(client: httpx.AsyncClient) -> None:
    path, body = f"{O}releases/", {"version": "web@9.9.9", "projects": ["cart"]}
    assert [(await client.post(path, json=body)).status_code for _ in range(2)] == [201, 208]
    merged = (await client.post(path, json=body | {"projects": ["search"]})).json()
    assert [project["slug"] for project in merged["projects"]] == ["cart", "search"]
    one = f"{path}web%409.9.9/"
    assert (await client.put(one, json={"url": "http://x.example", "dateReleased": "2026-06-01"})).json()[
        "dateReleased"
    ]
    assert (await client.get(one)).json()["url"] == "http://x.example"
    assert (await client.post(f"{one}deploys/", json={"environment": "production"})).status_code == 201
    assert (await client.post(f"{one}deploys/", json={})).status_code == 400
    assert len(await _rows(client, f"{one}deploys/")) == 1
    assert (await client.delete(one)).status_code == 204
    assert (await client.get(one)).status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"version": ""}, {"version": "a/b", "projects": ["cart"]}, {"version": "x", "projects": ["no"]}]
)
async def test_a_wrong_release_says_which_field(client: httpx.AsyncClient, body: object) -> None:
    response = await client.post(f"{O}releases/", json=body)
    assert response.status_code == 400
    assert set(response.json()) <= {"version", "projects"}


async def test_releases_are_searched_in_lists_on_newer_servers_only(app: Sandbox, client: httpx.AsyncClient) -> None:
    path = f"{O}releases/"
    assert len(await _rows(client, path, query="cart@")) == 3
    assert len(await _rows(client, path, query="release:[cart@1.0.0,cart@1.1.0]")) == 2
    app.manner = "23.7"
    assert await _rows(client, path, query="release:[cart@1.0.0,cart@1.1.0]") == []
    assert len(await _rows(client, path, query="release:cart@1.0.0")) == 1
    assert await _rows(client, path, query="no.such:1") == []


# --- credentials: what a proxy must never reach ---


async def test_tokens_are_shown_in_the_clear(client: httpx.AsyncClient) -> None:
    assert DEMO_TOKENS.admin in [row["token"] for row in await _rows(client, "api-tokens/")]
    assert (await client.post("api-tokens/", json={})).status_code == 403


async def test_an_organization_token_is_minted_and_works_until_deleted(app: Sandbox, client: httpx.AsyncClient) -> None:
    path = f"{O}org-auth-tokens/"
    made = (await client.post(path, json={"name": "ci"})).json()
    async with client_of(app, made["token"]) as minted:
        assert (await minted.get("")).json()["auth"] == {"scopes": ["org:ci"]}
        assert [row["name"] for row in await _rows(client, path)] == ["release uploads", "ci"]
        assert (await client.delete(f"{path}{made['id']}/")).status_code == 204
        assert (await minted.get("")).status_code == 401
    assert (await client.delete(f"{path}{made['id']}/")).status_code == 404
    assert (await client.post(path, json={})).status_code == 400


async def test_an_integrations_token_is_minted(app: Sandbox, client: httpx.AsyncClient) -> None:
    made = (await client.post("sentry-apps/internal-sync/api-tokens/")).json()
    assert len(await _rows(client, "sentry-apps/internal-sync/api-tokens/")) == 2
    async with client_of(app, made["token"]) as minted:
        assert (await minted.get(f"{O}members/")).status_code == 200
    assert (await client.post("sentry-apps/account-linker/api-tokens/")).status_code == 403
    assert (await client.get("sentry-apps/no-such/")).status_code == 404


async def test_apps_show_their_secrets_and_installations_their_codes(app: Sandbox, client: httpx.AsyncClient) -> None:
    assert (await _rows(client, f"{RAIL}sentry-apps/"))[0]["clientSecret"]
    assert (await client.get("sentry-apps/account-linker/")).json()["clientSecret"]
    (published,) = await _rows(client, "sentry-apps/")
    assert published["slug"] == "graph-linker"
    assert "clientSecret" not in published
    assert (await _rows(client, f"{RAIL}sentry-app-installations/"))[0]["code"]
    async with client_of(app, DEMO_TOKENS.app) as own:
        assert (await own.get(f"{RAIL}sentry-app-installations/")).status_code == 404


async def test_an_app_learns_its_organization_and_links_an_issue(app: Sandbox) -> None:
    installation = app.world.apps[1].installations[0]
    path = f"sentry-app-installations/{installation.uuid}/"
    async with client_of(app, DEMO_TOKENS.app) as client:
        found = (await client.get(path)).json()
        assert (found["organization"], found["code"]) == ({"slug": "northwind-rail"}, installation.code)
        assert (await client.put(path, json={"status": "installed"})).json()["status"] == "installed"
        assert (await client.put(path, json={"status": "broken"})).status_code == 400
        issue = (await _rows(client, f"{RAIL}issues/", project="-1"))[0]["id"]
        body = {"issueId": int(issue), "webUrl": "http://x.example", "project": "team", "identifier": "T-1"}
        assert (await client.post(f"{path}external-issues/", json=body)).json()["displayName"] == "team#T-1"
        assert len(await _rows(client, f"{RAIL}issues/{issue}/external-issues/")) == 1
        assert (await client.post(f"{path}external-issues/", json={})).status_code == 400
        assert (await client.post(f"{path}external-issues/", json=body | {"issueId": "x"})).status_code == 404
    async with client_of(app, DEMO_TOKENS.internal) as stranger:
        assert (await stranger.get(path)).status_code == 403
        assert (await stranger.get("sentry-app-installations/no-such/")).status_code == 404


async def test_a_code_is_exchanged_once_and_a_refresh_token_too(app: Sandbox) -> None:
    linker = app.world.apps[1]
    path = f"sentry-app-installations/{linker.installations[0].uuid}/authorizations/"
    secret = {"client_id": linker.client_id, "client_secret": linker.client_secret}
    async with client_of(app, "") as client:
        code = secret | {"grant_type": "authorization_code", "code": linker.installations[0].code}
        made = (await client.post(path, json=code)).json()
        app.manner = "23.7"
        assert (await client.post(path, json=code)).status_code == 403
        refresh = secret | {"grant_type": "refresh_token", "refresh_token": made["refreshToken"]}
        assert (await client.post(path, json=refresh)).status_code == 201
        again = await client.post(path, json=refresh)
        assert (again.status_code, again.json()) == (403, {"error": "Unauthorized"})
        assert (await client.post(path, json=code | {"client_secret": "x"})).status_code == 401
    async with client_of(app, made["token"]) as old:
        assert (await old.get("")).status_code == 401
