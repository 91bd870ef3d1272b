"""Teams."""

import re

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, answer_json, invalid, no_content
from service.sandbox.search import match_teams, parse_query
from service.sandbox.shapes import show_organization, show_project, show_team, show_team_with_projects
from service.sandbox.world import Team


def list_teams(call: Call) -> Answer:
    """The teams by slug; ``detailed=0`` leaves their projects out."""
    found = match_teams(call.organization.teams, parse_query(call.last("query")))
    page = page_by_number(found, call.page_size, call.cursor)
    show = show_team if call.last("detailed") == "0" else show_team_with_projects
    rows = [
        call.world.row(
            (show.__name__, team.id, call.bearer.id),
            lambda team=team: show(team, call.organization, call.token, call.access),  # type: ignore[misc]  # binds the loop's team
        )
        for team in page.items
    ]
    return call.answer_page(page, rows)


def create_team(call: Call) -> Answer:
    """Makes a team: 201."""
    given = call.json()
    name = str(given.get("name") or given.get("slug") or "")
    if not name:
        raise invalid(slug="Name or slug is required")
    slug = str(given.get("slug") or re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-"))
    if any(team.slug == slug for team in call.organization.teams):
        return answer_json({"detail": "A team with this slug already exists."}, 409)
    team = Team(call.world.new_id(), slug, name, call.world.now)
    call.organization.teams.append(team)
    call.organization.teams.sort(key=lambda other: other.slug)
    call.world.changed()
    return answer_json(show_team(team, call.organization, call.token, call.access), 201)


def get_team(call: Call) -> Answer:
    """One team with its organization."""
    organization = show_organization(call.organization, call.base, call.region, call.manner)
    return answer_json(
        show_team(call.team, call.organization, call.token, call.access) | {"organization": organization}
    )


def put_team(call: Call) -> Answer:
    """Renames a team."""
    team, given = call.team, call.json()
    team.name = str(given.get("name", team.name))
    team.slug = str(given.get("slug", team.slug))
    call.organization.teams.sort(key=lambda other: other.slug)
    call.world.changed()
    return answer_json(show_team(team, call.organization, call.token, call.access))


def delete_team(call: Call) -> Answer:
    """Removes a team; its members and projects stay."""
    team = call.team
    call.organization.teams.remove(team)
    for member in call.organization.members:
        member.teams.pop(team.id, None)
    for project in call.organization.projects:
        project.team_ids = [number for number in project.team_ids if number != team.id]
    call.world.changed()
    return no_content()


def list_team_projects(call: Call) -> Answer:
    """A team's projects."""
    team = call.team
    found = [project for project in call.organization.projects if team.id in project.team_ids]
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [show_project(p, call.organization, call.token, call.access) for p in page.items])


ENDPOINTS = (
    Endpoint("organizations/{organization}/teams/", {"GET": list_teams, "POST": create_team}, access.TEAMS),
    Endpoint("teams/{organization}/{team}/", {"GET": get_team, "PUT": put_team, "DELETE": delete_team}, access.TEAM),
    Endpoint("teams/{organization}/{team}/projects/", {"GET": list_team_projects}, access.TEAM),
)
