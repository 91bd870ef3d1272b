"""Which groups (Sentry teams) users are in.

Member rows carry no teams. Two ways to find them, whichever costs fewer calls: walk every team's members once and
remember the result for seconds, or ask for the details of just these members. Both need the list of teams.
"""

import math
from collections.abc import Sequence

from cachetools import TTLCache

from service.connections.credentials import refuse_empty
from service.directory.members import MemberReader, Source, naming_scope
from service.directory.user import Group, Membership, Role
from service.sentry.client import SentryClient
from service.sentry.payloads import MemberDetail, Team
from service.sentry.reads import PAGE_SIZE, fetch_member_detail, fetch_teams
from service.tasks import Coalescer, together

_MOST_REMEMBERED = 1000  # connections
Memberships = dict[str, list[Membership]]
"""By member id, in the order of the list of teams."""

# Sentry gives null for a team's least role.
_LEAST_ROLE = "contributor"


class GroupReader:
    """Groups of members, per connection. One instance a process; what it remembers is keyed by tenant."""

    def __init__(self, client: SentryClient, members: MemberReader, *, remember_seconds: float) -> None:
        self._client = client
        self._members = members
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

    async def memberships(self, source: Source, member_ids: Sequence[str]) -> Memberships:
        """The groups of these members, and their roles there. Raises UpstreamError."""
        key = _key(source)
        if (known := self._walked.get(key)) is not None:
            return known
        teams = await self.teams(source)
        walks = sum(math.ceil((team.member_count or 0) / PAGE_SIZE) for team in teams)
        if len(member_ids) < walks:
            details = await together(self.detail(source, member_id) for member_id in member_ids)
            return {detail.id: _memberships_of(source, detail, teams) for detail, _ in details}
        return await self._walking.run(key, lambda: self._walk(source, teams))

    async def detail(self, source: Source, member_id: str) -> tuple[MemberDetail, bytes]:
        """A member's details and their untouched JSON (``GET organizations/{o}/members/{id}/``)."""
        with naming_scope("member:read"):
            return await fetch_member_detail(self._client, source.account, member_id)

    async def _fetch_teams(self, source: Source) -> list[Team]:
        with naming_scope("team:read"):
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
        return [
            (user.member.id, _build_membership(source, team, user.member.team_role))
            async for page in self._members.pages(source, team=team.slug)
            for user in page.users
        ]


def _key(source: Source) -> tuple[str, str]:
    return source.account.tenant_id, source.account.connection_id


def _build_membership(source: Source, team: Team, role: str | None) -> Membership:
    name = role or _LEAST_ROLE
    return Membership(
        Group(source.account.connection_id, team.id, team.slug, team.name or team.slug),
        Role(source.organization.id, name, f"Team {name.title()}", team.slug),
    )


def _memberships_of(source: Source, detail: MemberDetail, teams: Sequence[Team]) -> list[Membership]:
    roles = {row.team_slug: row.role for row in detail.team_roles or ()}
    mine = {*(detail.teams or ()), *roles}
    return [_build_membership(source, team, roles.get(team.slug)) for team in teams if team.slug in mine]
