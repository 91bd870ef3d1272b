import json
from dataclasses import replace

import httpx
import pytest

from service.errors import (
    BadInput,
    Constrained,
    Forbidden,
    NeedsReauth,
    NotFound,
    PathRefused,
    ProfileRefused,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamNotJson,
    UpstreamUnavailable,
)
from service.proxy.engine import ProxyAnswer, ProxyRequest
from service.sandbox.faults import Fail, Garble, Redirect, Throttle
from service.sandbox.world import DEMO_TOKENS
from service.sentry.profiles import Profile
from service.tenants.caller import Role
from tests.connections.factory import add_connection
from tests.proxy.conftest import UPSTREAM, Linked
from tests.proxy.recording import Recorder, json_response

MISSING = "con_" + "0" * 26
ISSUES = "organizations/{organization}/issues/"


async def call(linked: Linked, path: str, method: str = "GET", **details) -> ProxyAnswer:
    request = ProxyRequest(method, path, **details)
    return await linked.engine.call(linked.caller, linked.connection.id, request)


def decode(answer: ProxyAnswer):
    return json.loads(answer.result or b"null")


async def test_a_read_is_one_call_and_its_body_comes_as_it_was(linked, sandbox):
    answer = await call(linked, "organizations/{organization}/projects/")
    [request] = sandbox.requests
    assert request.target == f"/api/0/organizations/{linked.connection.organization_slug}/projects/"
    assert answer.status_code == 200
    assert answer.result_count == len(decode(answer)) == 20
    assert (answer.next_cursor, answer.has_previous) == (None, False)
    assert answer.headers["content-type"] == "application/json"
    assert "link" not in answer.headers
    assert answer.rate_limit is not None
    assert answer.rate_limit.limit == 10_000


async def test_first_is_sentrys_own_page_size_and_a_walk_meets_everything_once(linked, sandbox):
    seen, cursor, pages = [], None, 0
    while True:
        answer = await call(linked, "organizations/{organization}/members/", first=40, page_cursor=cursor)
        assert answer.result_count == len(decode(answer)) <= 40
        assert answer.has_previous is (pages > 0)
        seen += [member["id"] for member in decode(answer)]
        pages += 1
        if (cursor := answer.next_cursor) is None:
            break
    assert len(seen) == len(set(seen)) >= 250
    assert len(sandbox.requests) == pages == -(-len(seen) // 40)
    assert {dict(request.query)["per_page"] for request in sandbox.requests} == {"40"}


async def test_lists_of_issues_are_paged_by_limit_and_counted(linked, sandbox):
    answer = await call(linked, ISSUES, query=[("project", "-1")], first=3)
    assert sandbox.requests[0].query == (("project", "-1"), ("limit", "3"))
    assert answer.result_count == 3
    assert answer.total_count is not None
    assert answer.total_count > 3
    await call(linked, f"projects/{{organization}}/{sandbox.world.organizations[0].projects[0].slug}/issues/", first=3)
    assert sandbox.requests[1].query == (("limit", "3"),)


@pytest.mark.parametrize("name", ["per_page", "limit", "cursor"])
@pytest.mark.parametrize("page", [{"first": 10}, {"page_cursor": "0:10:0"}])
async def test_page_parameters_are_given_one_way_or_the_other(linked, sandbox, name, page):
    with pytest.raises(BadInput, match=name):
        await call(linked, ISSUES, query=[(name, "5")], **page)
    assert (await call(linked, "organizations/{organization}/members/", query=[("per_page", "5")])).result_count == 5


async def test_a_page_may_be_asked_for_by_its_cursor_alone(linked, sandbox):
    cursor = (await call(linked, "organizations/{organization}/members/")).next_cursor
    assert (await call(linked, "organizations/{organization}/members/", page_cursor=cursor)).has_previous
    assert sandbox.requests[-1].query == (("cursor", cursor),)


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_is_of_1_to_100(linked, first):
    with pytest.raises(BadInput, match="between 1 and 100"):
        await call(linked, ISSUES, first=first)


async def test_scim_has_pages_of_its_own(linked):
    with pytest.raises(BadInput) as caught:
        await call(linked, "organizations/{organization}/scim/v2/Users", first=5)
    assert "startIndex" in (caught.value.cure or "")


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("organizations/{organization}/issues/404404/", 404, "The requested resource does not exist"),
        ("organizations/{organization}/members/", 400, "Invalid per_page value. Cannot exceed 100."),
    ],
)
async def test_sentrys_refusals_are_answers(linked, path, status, detail):
    answer = await call(linked, path, query=[("per_page", "101")])
    assert (answer.status_code, answer.result_count) == (status, None)
    assert decode(answer) == {"detail": detail}


async def test_a_query_does_not_belong_into_the_path(linked, sandbox):
    with pytest.raises(PathRefused) as caught:
        await call(linked, "organizations/{organization}/issues/?project=-1")
    assert "`query`" in (caught.value.cure or "")
    assert sandbox.count() == 0


async def test_a_credential_that_may_not_is_an_answer_too(link, sandbox):
    organization = sandbox.world.organizations[0]
    linked = await link(origin=sandbox.url, token=DEMO_TOKENS.limited, organization_slug=organization.slug)
    answer = await call(linked, "organizations/{organization}/members/")
    assert answer.status_code == 403


async def test_a_429_that_lasts_is_an_answer_with_sentrys_words(linked, sandbox):
    sandbox.faults.add(Throttle(headers={"retry-after": "0"}))
    answer = await call(linked, ISSUES)
    assert answer.status_code == 429
    assert "too frequently" in decode(answer)


async def test_a_redirect_is_handed_back_unfollowed(linked, sandbox):
    sandbox.faults.add(Redirect(location="https://elsewhere.example/", status=307))
    answer = await call(linked, ISSUES)
    assert (answer.status_code, answer.result) == (307, None)
    assert sandbox.count() == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fail(status=503), UpstreamUnavailable),
        (Garble(), UpstreamInvalid),
        (Garble(content_type="a/b", body="\0"), UpstreamNotJson),
    ],
)
async def test_what_is_no_answer_is_an_error(linked, sandbox, fault, error):
    sandbox.faults.add(fault)
    with pytest.raises(error):
        await call(linked, ISSUES)


async def test_a_write_sends_json_and_answers_what_sentry_says(linked, sandbox):
    issue = next(iter(sandbox.world.organizations[0].issues.values()))
    answer = await call(linked, f"issues/{issue.id}/comments/", "POST", body=b'{"text": "Seen"}')
    assert answer.status_code == 201
    request = sandbox.requests[-1]
    assert (request.method, request.body, request.headers["content-type"]) == (
        "POST",
        b'{"text": "Seen"}',
        "application/json",
    )
    assert request.path.endswith(f"/organizations/{linked.connection.organization_slug}/issues/{issue.id}/comments/")


@pytest.mark.parametrize("broken", [b"<html>", b"\xff"])
@pytest.mark.parametrize("content_type", ["application/json", "image/png"])
async def test_the_outcome_of_a_write_is_its_status(link, broken, content_type):
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": content_type}, stream=httpx.ByteStream(broken))

    linked = await link(Recorder(answer))
    found = await call(linked, ISSUES, "PUT", body=b"{}")
    assert found.status_code == 200
    assert found.result in {None, b'"<html>"'}  # never spliced in as it came


async def test_an_answer_without_a_body_is_null(link):
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(204)

    linked = await link(Recorder(answer))
    found = await call(linked, "organizations/{organization}/members/7/", "DELETE")
    assert (found.status_code, found.result, found.result_count) == (204, None, None)


@pytest.mark.parametrize("text", ["12a", "-1", "9" * 20, ""])
async def test_a_total_that_is_no_number_is_none(link, text):
    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(200, b"[]", x_hits=text)

    assert (await call(await link(Recorder(answer)), ISSUES)).total_count is None


async def test_roles(linked, sandbox):
    reader = replace(linked.caller, role=Role.READ)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(Forbidden, match="write"):
            await call(replace(linked, caller=reader), ISSUES, method)
    assert (await call(replace(linked, caller=reader), ISSUES)).status_code == 200
    assert sandbox.count() == 1


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "get", ""])
async def test_other_methods_are_named(linked, method):
    with pytest.raises(BadInput, match="GET, HEAD"):
        await call(linked, ISSUES, method)


async def test_foreign_missing_and_narrowed_away_are_the_same(linked, stranger, sandbox):
    narrowed = replace(linked.caller, external_ids=frozenset({"another"}))
    errors = []
    for caller, connection_id in [
        (stranger, linked.connection.id),
        (narrowed, linked.connection.id),
        (linked.caller, MISSING),
    ]:
        with pytest.raises(NotFound) as caught:
            await linked.engine.call(caller, connection_id, ProxyRequest("GET", ISSUES))
        errors.append((caught.value.message, caught.value.extensions()))
    assert errors[0] == errors[1] == errors[2]
    assert sandbox.count() == 0


async def test_an_unlinked_connection_needs_to_be_linked_again(linked, store, sandbox):
    await store.unlink(linked.caller, linked.connection.id)
    with pytest.raises(NeedsReauth):
        await call(linked, ISSUES)
    assert sandbox.count() == 0


# --- under a project constraint ---


@pytest.fixture
async def limited(linked, sandbox, store):
    project = sandbox.world.organizations[0].projects[0]
    await store.set_projects(linked.caller, linked.connection.id, [{"id": str(project.id), "slug": project.slug}])
    return linked


async def test_lists_hold_only_the_projects_of_the_constraint(limited, sandbox):
    project = sandbox.world.organizations[0].projects[0]
    answer = await call(limited, ISSUES, query=[("project", "-1"), ("query", "")], first=100)
    assert {issue["project"]["slug"] for issue in decode(answer)} == {project.slug}
    assert (await call(limited, "projects/{organization}/{project}/")).status_code == 200
    with pytest.raises(Constrained):
        await call(limited, "organizations/{organization}/members/")


@pytest.mark.parametrize("path", ["issues/{}/", "organizations/{{organization}}/issues/{}/comments/"])
async def test_an_issue_passes_where_its_project_does(limited, sandbox, path):
    organization = sandbox.world.organizations[0]
    inside = next(i for i in organization.issues.values() if i.project is organization.projects[0])
    outside = next(i for i in organization.issues.values() if i.project is not organization.projects[0])
    assert (await call(limited, path.format(inside.id))).status_code == 200
    assert sandbox.count() == 2
    with pytest.raises(Constrained):
        await call(limited, path.format(outside.id), "PUT", body=b"{}")
    assert sandbox.count("PUT") == 0
    with pytest.raises(UpstreamNotFound):
        await call(limited, path.format(404404))


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"project": null}', b'{"project": {"id": 1}}', b'{"project": {"id": "2"}}']
)
async def test_an_issue_whose_project_is_not_told_does_not_pass(link, body):
    async def answer(_: httpx.Request) -> httpx.Response:
        return json_response(200, body)

    recorder = Recorder(answer)
    linked = await link(recorder, projects=[{"id": "1", "slug": "web"}])
    with pytest.raises((Constrained, UpstreamInvalid)):
        await call(linked, "issues/7/", "PUT", body=b"{}")
    assert {request.method for request in recorder.requests} == {"GET"}


# --- under a profile ---

COMMENTS = "issues/7/comments/"
UPDATE = "organizations/{organization}/issues/7/"
TEAMS = "organizations/{organization}/teams/"


@pytest.mark.parametrize(
    ("profile", "method", "path", "passes"),
    [
        (Profile.READ, "GET", TEAMS, True),
        (Profile.READ, "PUT", UPDATE, False),
        (Profile.READ, "POST", COMMENTS, False),
        (Profile.TRIAGE, "GET", TEAMS, True),
        (Profile.TRIAGE, "PUT", UPDATE, True),
        (Profile.TRIAGE, "POST", COMMENTS, True),
        (Profile.TRIAGE, "DELETE", UPDATE, False),
        (Profile.TRIAGE, "POST", TEAMS, False),
        (Profile.FULL, "DELETE", UPDATE, True),
        (Profile.FULL, "POST", TEAMS, True),
    ],
)
async def test_the_profile_decides_whatever_the_credential_could_do(link, profile, method, path, passes):
    recorder = Recorder()
    linked = await link(recorder, profile=profile)
    if passes:
        assert (await call(linked, path, method)).status_code == 200
        assert len(recorder.requests) == 1
        return
    with pytest.raises(ProfileRefused, match=f"`{profile}`") as refused:
        await call(linked, path, method)
    assert refused.value.extensions()["code"] == "PROFILE_REFUSED"
    assert recorder.requests == []


async def test_under_a_profile_a_refused_write_costs_no_look_at_its_issue(link):
    recorder = Recorder()
    linked = await link(recorder, profile=Profile.READ, projects=[{"id": "1", "slug": "web"}])
    with pytest.raises(ProfileRefused):
        await call(linked, "issues/7/", "PUT", body=b"{}")
    assert recorder.requests == []


async def test_an_idempotency_key_from_before_does_not_pass_a_narrower_profile(link, store, vault):
    recorder = Recorder()
    linked = await link(recorder, external_id="cust")
    await call(linked, TEAMS, "POST", body=b"{}", idempotency_key="k")
    await add_connection(
        store, vault, linked.caller, "cust", profile=Profile.READ, control_origin=UPSTREAM, api_origin=UPSTREAM
    )
    with pytest.raises(ProfileRefused):
        await call(linked, TEAMS, "POST", body=b"{}", idempotency_key="k")
    assert len(recorder.requests) == 1
