"""The walk over issues, by our own client, against every server."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from service.errors import UpstreamUnavailable
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.issues import IssueRow, fetch_issues, walk_issues
from service.sentry.origin import Origin
from tests.contract.server import Server, ids
from tests.sentry.upstream import Tokens, account_of, client_for


@pytest.fixture
async def client(server: Server) -> AsyncIterator[SentryClient]:
    async with client_for(Origin.parse(server.url), deadline=30.0, max_bytes=2**24) as found:
        yield found


@pytest.fixture
async def account(server: Server, client: SentryClient) -> Account:
    found = account_of(Origin.parse(server.url), organization=server.organization, tokens=Tokens(server.token("admin")))
    try:
        await fetch_issues(client, found)
    except UpstreamUnavailable:
        pytest.skip("the server has no store of events")
    return found


async def walk(client: SentryClient, account: Account, projects: list[str] | None = None) -> list[IssueRow]:
    async with aclosing(walk_issues(client, account, projects=projects, most_pages=5)) as pages:
        try:
            return [row async for page in pages for row in page.items]
        except UpstreamUnavailable:
            pytest.skip("the server's store of events does not answer everything")


async def test_issues_of_every_status_come_once_in_the_order_of_their_last_event(
    server: Server, client: SentryClient, account: Account
) -> None:
    rows = await walk(client, account)
    numbers = [row.issue.id for row in rows]
    assert len(numbers) == len(set(numbers))
    moments = [row.issue.ended for row in rows if row.issue.ended is not None]
    assert moments == sorted(moments, reverse=True)
    unresolved = ids(server.rows(server.organization_path("issues/"), project="-1", limit=20))
    assert set(unresolved) <= set(numbers)


async def test_rows_tell_what_they_are_compared_by(client: SentryClient, account: Account) -> None:
    for row in await walk(client, account):
        assert row.issue.status in {"unresolved", "resolved", "ignored"}
        assert row.issue.began is not None
        assert row.issue.project.id.isdecimal()


async def test_the_projects_together_have_what_each_of_them_has(
    server: Server, client: SentryClient, account: Account
) -> None:
    projects = [project["id"] for project in server.rows(server.organization_path("projects/"))][:2]
    together = {row.issue.id for row in await walk(client, account, projects)}
    apart = [{row.issue.id for row in await walk(client, account, [project])} for project in projects]
    assert together == set().union(*apart)
