"""Which groups (Sentry teams) users are in.

Member rows carry no teams. Two ways to find them, whichever costs fewer calls: walk every team's members once and
remember the result for seconds, or ask for the details of just these members. Both need the list of teams.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from cachetools import TTLCache

from service.connections.credentials import refuse_empty
from service.directory.members import NAMING, Source, walk_pages
from service.directory.user import Group, Membership, find_role
from service.sentry.client import SentryClient
from service.sentry.payloads import MemberDetail, Team, TeamMember, decode
from service.sentry.reads import PAGE_SIZE, Page, fetch_member_detail, fetch_team_members, fetch_teams
from service.tasks import Coalescer, together

_MOST_REMEMBERED = 1000  # connections
Memberships = dict[str, list[Membership]]
"""By member id, in the order of the list of teams."""

# Sentry gives null for a team's least role.
_LEAST_ROLE = "contributor"


class GroupReader:
    """Groups of members, per connection. One instance a process; what it remembers is keyed by tenant."""

    def __init__(self, client: SentryClient, *, remember_seconds: float) -> None:
        self._client = client
        self._teams: TTLCache[tuple[str, str], list[Team]] = TTLCache(_MOST_REMEMBERED, remember_seconds)
        self._walked: TTLCache[tuple[str, str], Memberships] = TTLCache(_MOST_REMEMBERED, remember_seconds)
        self._fetching: Coalescer[tuple[str, str], list[Team]] = Coalescer()
        self._walking: Coalescer[tuple[str, str], Memberships] = Coalescer()

    async def teams(self, source: Source) -> list[Team]:
        """The organization's teams (``GET organizations/{o}/teams/``), remembered. Raises UpstreamError."""
        key = _key(source)
        if (known := self._teams.get(key)) is not None:
            return known
        return await self._fetching.run(key, lambda: self._fetch_teams(source))

    async def memberships(
        self, source: Source, member_ids: Sequence[str], *, teams: Sequence[Team] | None = None
    ) -> Memberships:
        """The groups of these members, and their roles there. ``teams`` are the organization's, if at hand.

        Raises UpstreamError.
        """
        key = _key(source)
        if (known := self._walked.get(key)) is not None:
            return known
        if teams is None:
            teams = await self.teams(source)
        walks = sum(math.ceil((team.member_count or 0) / PAGE_SIZE) for team in teams)
        if len(member_ids) < walks:
            bodies = await together(self.detail(source, member_id) for member_id in member_ids)
            details = [decode(body, MemberDetail) for body in bodies]
            return {detail.id: _memberships_of(source, detail, teams) for detail in details}
        return await self._walking.run(key, lambda: self._walk(source, teams))

    async def detail(self, source: Source, member_id: str) -> bytes:
        """The untouched JSON of a member's details (``GET organizations/{o}/members/{id}/``). Raises UpstreamError."""
        with NAMING["users"]:
            return await fetch_member_detail(self._client, source.account, member_id)

    async def _fetch_teams(self, source: Source) -> list[Team]:
        with NAMING["groups"]:
            teams = await fetch_teams(self._client, source.account)
        if not teams:
            refuse_empty("groups", source.scopes)
        self._teams[_key(source)] = teams
        return teams

    async def _walk(self, source: Source, teams: Sequence[Team]) -> Memberships:
        # Teams that say they are empty are not asked.
        populated = [team for team in teams if team.member_count != 0]
        walked: Memberships = {}
        for rows in await together(self._walk_team(source, team) for team in populated):
            for member_id, membership in rows:
                walked.setdefault(member_id, []).append(membership)
        self._walked[_key(source)] = walked
        return walked

    async def _walk_team(self, source: Source, team: Team) -> list[tuple[str, Membership]]:
        find = _membership_finder(source, team)
        found: list[tuple[str, Membership]] = []

        def fetch(cursor: str | None) -> Awaitable[Page[TeamMember]]:
            return fetch_team_members(self._client, source.account, team.slug, cursor=cursor)

        async for page in walk_pages(source, fetch, "groups"):
            found += [(row.id, find(row.team_role)) for row in page.items]
        return found


def _key(source: Source) -> tuple[str, str]:
    return source.account.tenant_id, source.account.connection_id


def _membership_finder(source: Source, team: Team) -> Callable[[str | None], Membership]:
    """Gives the membership in a team by the role there: the same object for all who have that role."""
    connection_id = source.account.connection_id
    group = Group(connection_id, team.id, team.slug, team.name or team.slug)

    @cache
    def find(role: str | None) -> Membership:
        name = role or _LEAST_ROLE
        return Membership(group, find_role(connection_id, name, f"Team {name.title()}", team.slug))

    return find


def _memberships_of(source: Source, detail: MemberDetail, teams: Sequence[Team]) -> list[Membership]:
    roles = {row.team_slug: row.role for row in detail.team_roles or ()}
    mine = {*(detail.teams or ()), *roles}
    return [_membership_finder(source, team)(roles.get(team.slug)) for team in teams if team.slug in mine]
