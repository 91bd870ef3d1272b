"""Sentry's issues: their rows, and the walk over an organization's issues."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from service.errors import UpstreamError
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.paths import ApiPath, Query
from service.sentry.payloads import Instant, Payload, decode
from service.sentry.reads import Page, fetch_page, fetch_projects

_ALL = ("-1",)
_AT_ONCE = 100  # projects named in one URL, which has a length


class IssueProject(Payload, frozen=True):
    """The project that an issue belongs to."""

    id: str
    slug: str
    name: str | None = None
    platform: str | None = None


class IssueAssignee(Payload, frozen=True):
    """Who is responsible: ``type`` is ``user`` or ``team``, ``id`` the user's or team's id."""

    type: str
    id: str
    name: str | None = None
    email: str | None = None


class IssueFigures(Payload, frozen=True):
    """When an issue was seen and how often, over its whole life. ``count`` is a number in a string."""

    first_seen: Instant | None = None
    last_seen: Instant | None = None
    count: str | None = None
    user_count: int | None = None


class Issue(Payload, frozen=True):
    """An issue, as a row of ``organizations/{}/issues/`` and as webhooks carry it.

    ``status`` is ``unresolved``, ``resolved`` or ``ignored`` (archived); ``substatus`` is missing on older servers.
    ``first_seen`` and ``last_seen`` of a row lie within the time that was asked for, if any was; in ``lifetime``, which
    only rows have, they do not.
    """

    id: str
    status: str
    project: IssueProject
    short_id: str | None = None
    title: str | None = None
    culprit: str | None = None
    level: str | None = None
    substatus: str | None = None
    status_details: Mapping[str, msgspec.Raw] | None = None
    assigned_to: IssueAssignee | None = None
    priority: str | None = None
    permalink: str | None = None
    platform: str | None = None
    issue_type: str | None = None
    issue_category: str | None = None
    first_seen: Instant | None = None
    last_seen: Instant | None = None
    count: str | None = None
    user_count: int | None = None
    lifetime: IssueFigures | None = None

    @property
    def began(self) -> datetime | None:
        """When it was first seen in its life."""
        return (self.lifetime and self.lifetime.first_seen) or self.first_seen

    @property
    def ended(self) -> datetime | None:
        """When it was last seen in its life."""
        return (self.lifetime and self.lifetime.last_seen) or self.last_seen


@dataclass(frozen=True, slots=True)
class IssueRow:
    """An issue, and the untouched JSON that it was read from."""

    issue: Issue
    body: bytes


async def fetch_issues(
    client: SentryClient,
    account: Account,
    *,
    projects: Sequence[str] = _ALL,
    query: str = "",
    sort: str = "date",
    cursor: str | None = None,
) -> Page[IssueRow]:
    """A page of the organization's issues, at most a hundred, by default those seen last first.

    ``projects`` are ids, or ``-1`` for all that the credential has access to; without any Sentry would only list those
    of its user's teams, which may be none. ``query`` is in Sentry's search syntax: an empty one finds issues of every
    status, where a missing one would find unresolved ones. Raises what :func:`fetch_page` does; 400 where the
    organization's plan does not let it read several projects at once.
    (https://docs.sentry.io/api/events/list-an-organizations-issues/)
    """
    path = ApiPath.of("organizations", account.organization, "issues")
    parameters: Query = [
        *(("project", project) for project in projects),
        ("query", query),
        ("sort", sort),
        ("groupStatsPeriod", ""),  # no counts over time, which nobody reads and Sentry has to work out
    ]
    page = await fetch_page(client, account, msgspec.Raw, path, parameters, cursor=cursor, size="limit")
    items = [_read_row(bytes(raw)) for raw in page.items]
    return Page(items, page.body, page.page_cursor, page.next_cursor, page.previous_cursor)


async def walk_issues(
    client: SentryClient,
    account: Account,
    *,
    projects: Sequence[str] | None = None,
    query: str = "",
    sort: str = "date",
    most_pages: int,
    is_enough: Callable[[Page[IssueRow]], bool] = lambda _: False,
) -> AsyncGenerator[Page[IssueRow]]:
    """The issues of ``projects`` (ids; None is all that the credential has access to), page by page.

    It is one list, in the order of ``sort``; where Sentry refuses to list several projects together, it is one list a
    project, one after the other. ``is_enough`` is asked after every page whether the rest of that list is wanted. Ends
    after ``most_pages`` in all. Close it if it is not read to its end. Raises what :func:`fetch_issues` does.
    """
    lists = [_ALL] if projects is None else [projects[at : at + _AT_ONCE] for at in range(0, len(projects), _AT_ONCE)]
    pages = 0
    while lists and pages < most_pages:
        wanted, *lists = lists
        cursor: str | None = None
        while pages < most_pages:
            try:
                page = await fetch_issues(client, account, projects=wanted, query=query, sort=sort, cursor=cursor)
            except UpstreamError as error:
                if error.upstream_status != 400 or cursor is not None or (len(wanted) == 1 and wanted is not _ALL):
                    raise
                each = await _find_projects(client, account) if projects is None else projects
                lists = [(project,) for project in each]
                break
            pages += 1
            yield page
            cursor = page.next_cursor
            if cursor is None or is_enough(page):
                break


async def _find_projects(client: SentryClient, account: Account) -> list[str]:
    return [project.id for project in await fetch_projects(client, account) if project.has_access]


def _read_row(body: bytes) -> IssueRow:
    return IssueRow(decode(body, Issue), body)
