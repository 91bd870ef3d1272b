"""Typed reads of Sentry, each a small function of a client and an account."""

from typing import Generic, TypeVar

import msgspec

from service.errors import UpstreamInvalid
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.paths import ApiPath, Query
from service.sentry.payloads import (
    ApiRoot,
    Installation,
    Member,
    Organization,
    Project,
    Region,
    Regions,
    Team,
    TeamMember,
    decode,
)

T = TypeVar("T")

PAGE_SIZE = 100
"""Sentry's largest page. It stays the same during a walk: changing it skips rows."""

_MOST_PAGES = 100


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A slice of one of Sentry's lists: its ``items``, and the untouched ``body`` that they were read from.

    ``page_cursor`` is the cursor that fetched it; None is the first page.
    """

    items: list[T]
    body: bytes
    page_cursor: str | None
    next_cursor: str | None
    previous_cursor: str | None


async def fetch_page(
    client: SentryClient,
    account: Account,
    kind: type[T],
    path: ApiPath,
    query: Query = (),
    *,
    cursor: str | None = None,
    size: str = "per_page",
) -> Page[T]:
    """One page of any list that Sentry pages with a ``cursor`` and a page size, whose parameter ``size`` names.

    Raises :class:`UpstreamInvalid` where the answer is not a list of ``kind``, and what :meth:`SentryClient.get` does.
    """
    parameters = [*query, (size, str(PAGE_SIZE))]
    if cursor is not None:
        parameters.append(("cursor", cursor))
    response = await client.get(account, path, parameters)
    after, before = response.links.next, response.links.previous
    items = decode(response.body, list[kind])  # type: ignore[valid-type]  # a type made at run time
    if after and after.results and (after.cursor == cursor or not items):
        raise UpstreamInvalid("Sentry's list has no end.")  # or else whoever walks it would get nowhere for ever
    return Page(
        items=items,
        body=response.body,
        page_cursor=cursor,
        next_cursor=after.cursor if after and after.results else None,
        previous_cursor=before.cursor if before and before.results else None,
    )


async def fetch_all(client: SentryClient, account: Account, kind: type[T], path: ApiPath, query: Query = ()) -> list[T]:
    """Every item of a list, page by page.

    Raises :class:`UpstreamInvalid` where the list has no end: more than 10 000 items, or a cursor that comes again.
    """
    items: list[T] = []
    walked: set[str | None] = set()
    cursor: str | None = None
    while cursor not in walked and len(walked) < _MOST_PAGES:
        walked.add(cursor)
        page = await fetch_page(client, account, kind, path, query, cursor=cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items
    raise UpstreamInvalid("Sentry's list has no end.")


async def fetch_members(
    client: SentryClient,
    account: Account,
    *,
    query: str | None = None,
    cursor: str | None = None,
    team: str | None = None,
) -> Page[Member]:
    """A page of the organization's members, or of one team's (by slug), in the order of member ids.

    ``query`` is in Sentry's search syntax (``email:a email:b``, ``id:1``, ``role:owner``, free text).
    """
    path = (
        ApiPath.of("organizations", account.organization, "members") if team is None else _team_members(account, team)
    )
    search = [("query", query)] if query is not None else []
    return await fetch_page(client, account, Member, path, search, cursor=cursor)


async def fetch_team_members(
    client: SentryClient, account: Account, team: str, *, cursor: str | None = None
) -> Page[TeamMember]:
    """A page of one team's members (by slug): only who they are, and their roles in it."""
    return await fetch_page(client, account, TeamMember, _team_members(account, team), cursor=cursor)


def _team_members(account: Account, team: str) -> ApiPath:
    return ApiPath.of("teams", account.organization, team, "members")


async def fetch_member_detail(client: SentryClient, account: Account, member_id: str) -> bytes:
    """The untouched JSON of one member, which holds a :class:`MemberDetail`."""
    return (await client.get(account, ApiPath.of("organizations", account.organization, "members", member_id))).body


async def fetch_me(client: SentryClient, account: Account) -> Member:
    """The row of the user whom the credential acts for: the role is theirs.

    An integration acts for no member: :class:`UpstreamNotFound` or :class:`MissingScope`.
    """
    path = ApiPath.of("organizations", account.organization, "members", "me")
    return decode((await client.get(account, path)).body, Member)


async def fetch_teams(client: SentryClient, account: Account) -> list[Team]:
    """All teams of the organization, without their projects."""
    path = ApiPath.of("organizations", account.organization, "teams")
    return await fetch_all(client, account, Team, path, [("detailed", "0")])


async def fetch_projects(client: SentryClient, account: Account) -> list[Project]:
    """All projects of the organization."""
    return await fetch_all(client, account, Project, ApiPath.of("organizations", account.organization, "projects"))


async def fetch_root(client: SentryClient, account: Account) -> ApiRoot:
    """What the credential is: its scopes and its user. ``auth`` is None where Sentry does not know it."""
    return decode((await client.get(account, ApiPath.of(), control=True)).body, ApiRoot)


async def fetch_organizations(client: SentryClient, account: Account) -> list[Organization]:
    """The organizations that the credential sees on ``account.api``; empty for an integration's token."""
    return await fetch_all(client, account, Organization, ApiPath.of("organizations"))


async def fetch_organization(client: SentryClient, account: Account) -> Organization:
    """The account's organization, without its teams and projects."""
    path = ApiPath.of("organizations", account.organization)
    return decode((await client.get(account, path, [("detailed", "0")])).body, Organization)


async def fetch_regions(client: SentryClient, account: Account) -> list[Region]:
    """The regions of sentry.io in which the user has organizations.

    Self-hosted and older Sentrys answer 403 or 404: :class:`MissingScope` or :class:`UpstreamNotFound`.
    """
    response = await client.get(account, ApiPath.of("users", "me", "regions"), control=True)
    return decode(response.body, Regions).regions


async def fetch_installation(client: SentryClient, account: Account, installation_id: str) -> Installation:
    """An integration's installation: its organization, app and status."""
    path = ApiPath.of("sentry-app-installations", installation_id)
    return decode((await client.get(account, path, control=True)).body, Installation)
