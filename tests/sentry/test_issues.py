"""The walk over issues: what is asked, page by page, and what an old plan's refusal leads to."""

import json
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MissingScope, UpstreamError, UpstreamInvalid
from service.sandbox.app import Sandbox
from service.sandbox.faults import Fail
from service.sandbox.world import DEMO_TOKENS
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.issues import Issue, fetch_issues, walk_issues
from service.sentry.origin import Origin
from service.sentry.payloads import decode
from tests.sentry.upstream import Tokens, account_of, client_for, json_answer, serve

ORGANIZATION = "lumen-labs"


@pytest.fixture
async def client(sandbox: Sandbox):
    async with client_for(Origin.parse(sandbox.url)) as found:
        yield found


@pytest.fixture
def account(sandbox: Sandbox) -> Account:
    return account_of(Origin.parse(sandbox.url), organization=ORGANIZATION, tokens=Tokens(DEMO_TOKENS.admin))


def limit_to_one_project(sandbox: Sandbox) -> None:
    sandbox.world.organizations[0].has_global_views = False
    sandbox.world.changed()


async def walk(client: SentryClient, account: Account, **options: Any) -> list[list[str]]:
    """The ids of each page."""
    async with aclosing(walk_issues(client, account, **({"most_pages": 50} | options))) as pages:
        return [[row.issue.id for row in page.items] async for page in pages]


def asked(sandbox: Sandbox) -> list[dict[str, list[str]]]:
    found = []
    for request in sandbox.requests:
        if request.path.endswith("/issues/"):
            named: dict[str, list[str]] = {}
            for name, value in request.query:
                named.setdefault(name, []).append(value)
            found.append(named)
    return found


async def test_every_issue_of_every_status_comes_once_those_seen_last_first(client, account, sandbox):
    pages = await walk(client, account)
    issues = sandbox.world.organizations[0].issues.values()
    in_order = sorted(issues, key=lambda issue: (-int(issue.last_seen.timestamp() * 1000), -issue.id))
    assert [len(page) for page in pages] == [100, 100, 40]
    assert [number for page in pages for number in page] == [str(issue.id) for issue in in_order]


async def test_all_projects_are_asked_for_and_the_page_size_stays(client, account, sandbox):
    await walk(client, account)
    first, second, third = asked(sandbox)
    assert first == {"project": ["-1"], "query": [""], "sort": ["date"], "groupStatsPeriod": [""], "limit": ["100"]}
    assert second == {**first, "cursor": second["cursor"]}
    assert third == {**first, "cursor": third["cursor"]}


async def test_a_row_is_typed_and_its_json_is_untouched(client, account, sandbox):
    page = await fetch_issues(client, account)
    row = page.items[0]
    issue = sandbox.world.organizations[0].issues[int(row.issue.id)]
    assert row.body in page.body
    assert json.loads(row.body)["shortId"] == row.issue.short_id == issue.short_id
    assert (row.issue.status, row.issue.substatus) == (issue.status, issue.substatus)
    assert row.issue.project.slug == issue.project.slug
    assert row.issue.began == issue.first_seen
    assert row.issue.ended == issue.last_seen


async def test_the_whole_life_counts_where_a_row_tells_of_a_part_of_it():
    text = json.dumps(
        {
            "id": "1",
            "status": "unresolved",
            "project": {"id": "2", "slug": "shop"},
            "firstSeen": "2026-11-02T00:00:00Z",
            "lastSeen": "2026-11-03T00:00:00Z",
            "lifetime": {"firstSeen": "2026-01-02T00:00:00.5Z", "lastSeen": "2026-11-03T00:00:01Z"},
        }
    )
    issue = decode(text.encode(), Issue)
    assert str(issue.began) == "2026-01-02 00:00:00.500000+00:00"
    assert str(issue.ended) == "2026-11-03 00:00:01+00:00"


async def test_named_projects_alone_are_walked(client, account, sandbox):
    [first, second, *_] = sandbox.world.organizations[0].projects
    pages = await walk(client, account, projects=[str(first.id), str(second.id)])
    found = {number for page in pages for number in page}
    issues = sandbox.world.organizations[0].issues.values()
    assert found == {str(issue.id) for issue in issues if issue.project in (first, second)}
    assert len(asked(sandbox)) == 1


async def test_no_project_is_no_issue_and_not_every_one(client, account, sandbox):
    assert await walk(client, account, projects=[]) == []
    assert not asked(sandbox)


async def test_where_projects_cannot_be_listed_together_each_is_walked(client, account, sandbox):
    organization = sandbox.world.organizations[0]
    limit_to_one_project(sandbox)
    pages = await walk(client, account)
    numbers = [number for page in pages for number in page]
    assert sorted(numbers) == sorted(str(issue.id) for issue in organization.issues.values())
    assert [each["project"] for each in asked(sandbox)][:2] == [["-1"], [str(organization.projects[0].id)]]
    assert len(pages) == len(organization.projects)


async def test_named_projects_are_walked_one_by_one_too(client, account, sandbox):
    organization = sandbox.world.organizations[0]
    limit_to_one_project(sandbox)
    wanted = [str(project.id) for project in organization.projects[:3]]
    pages = await walk(client, account, projects=wanted)
    assert len(pages) == 3
    assert not sandbox.count("GET", "projects/")


async def test_one_project_that_is_refused_is_an_error(client, account, sandbox):
    sandbox.faults.add(Fail(path="/issues/", status=400))
    with pytest.raises(UpstreamError) as caught:
        await walk(client, account, projects=["1"])
    assert caught.value.upstream_status == 400
    assert len(asked(sandbox)) == 1


@pytest.mark.parametrize("has_global_views", [True, False])
async def test_it_ends_with_its_budget(client, account, sandbox, has_global_views):
    if not has_global_views:
        limit_to_one_project(sandbox)
    assert len(await walk(client, account, most_pages=2)) == 2
    assert len(asked(sandbox)) == 2 + (not has_global_views)


async def test_each_list_ends_when_it_is_enough(client, account, sandbox):
    assert len(await walk(client, account, is_enough=lambda page: page.page_cursor is not None)) == 2
    limit_to_one_project(sandbox)
    every = [str(project.id) for project in sandbox.world.organizations[0].projects]
    assert len(await walk(client, account, projects=every[:4], is_enough=lambda _: True)) == 4


async def test_a_missing_scope_is_no_refusal_of_many_projects(client, account, sandbox):
    limited = account_of(account.api, organization=ORGANIZATION, tokens=Tokens(DEMO_TOKENS.limited))
    with pytest.raises(MissingScope):
        await walk(client, limited)
    assert len(asked(sandbox)) == 1


async def test_projects_without_access_are_left_out():
    def project(number: int, *, has_access: bool) -> dict[str, Any]:
        return {"id": str(number), "slug": f"p{number}", "hasAccess": has_access}

    async def behave(request, writer):
        if "/projects/" in request.line:
            writer.write(json_answer([project(1, has_access=True), project(2, has_access=False)]))
        elif "project=-1" in request.line:
            writer.write(json_answer({"detail": "refused, in other words"}, status="400 Bad Request"))
        else:
            writer.write(json_answer([]))

    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        assert await walk(client, account_of(upstream.origin)) == [[]]
    assert [line for request in upstream.requests if "project=" in (line := request.line)][1:] == [
        line for request in upstream.requests if "project=1&" in (line := request.line)
    ]


async def test_a_list_without_an_end_is_refused():
    row = {"id": "1", "status": "unresolved", "project": {"id": "2", "slug": "shop"}}
    link = '<http://x/>; rel="next"; results="true"; cursor="0:0:0"'

    async def behave(_request, writer):
        writer.write(json_answer([row], headers={"Link": link}))

    async with serve(behave) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamInvalid):
            await walk(client, account_of(upstream.origin))
    assert len(upstream.requests) == 2


ROWS = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[1-9][0-9]{0,9}", fullmatch=True),
        "status": st.sampled_from(["resolved", "unresolved", "ignored", "muted"]),
        "project": st.fixed_dictionaries({"id": st.just("7"), "slug": st.just("shop")}),
    },
    optional={
        "substatus": st.none() | st.text(),
        "statusDetails": st.dictionaries(st.text(), st.none() | st.integers() | st.text()),
        "assignedTo": st.none() | st.fixed_dictionaries({"type": st.sampled_from(["user", "team"]), "id": st.text()}),
        "culprit": st.none() | st.text(),
        "firstSeen": st.none() | st.just("2026-11-02T00:00:00Z"),
        "lifetime": st.none() | st.just({"firstSeen": None, "stats": None}),
        "annotations": st.lists(st.text()),
    },
)


@given(ROWS)
def test_rows_are_read_whatever_is_missing_or_new(row):
    issue = decode(json.dumps(row).encode(), Issue)
    assert (issue.id, issue.status, issue.substatus) == (row["id"], row["status"], row.get("substatus"))
    assert (issue.assigned_to is None) == (row.get("assignedTo") is None)
    assert (issue.began is None) == (row.get("firstSeen") is None)
