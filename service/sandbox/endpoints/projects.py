"""Projects."""

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_key, page_by_number
from service.sandbox.responses import Answer, answer_json
from service.sandbox.search import match_projects, parse_query
from service.sandbox.shapes import show_organization, show_project, show_project_detail, show_team
from service.sandbox.world import Project


def list_projects(call: Call) -> Answer:
    """The projects by slug; ``all_projects=1`` gives them whole."""
    tokens = parse_query(call.last("query"))
    found = match_projects(call.organization.projects, tokens, call.organization.teams, call.manner)
    if call.last("all_projects") == "1":
        return answer_json([project_row(call, project) for project in found])
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [project_row(call, project) for project in page.items])


def project_row(call: Call, project: Project) -> object:
    """A project's row as this token sees it, encoded once."""
    return call.world.row(
        ("project", project.id, call.bearer.id),
        lambda: show_project(project, call.organization, call.token, call.access),
    )


def get_project(call: Call) -> Answer:
    """One project."""
    organization = show_organization(call.organization, call.base, call.region, call.manner)
    return answer_json(show_project_detail(call.project, call.organization, call.token, call.access, organization))


def put_project(call: Call) -> Answer:
    """Renames a project."""
    project, given = call.project, call.json()
    project.name = str(given.get("name", project.name))
    project.slug = str(given.get("slug", project.slug))
    call.organization.projects.sort(key=lambda other: other.slug)
    call.world.changed()
    organization = show_organization(call.organization, call.base, call.region, call.manner)
    return answer_json(show_project_detail(project, call.organization, call.token, call.access, organization))


def list_environments(call: Call) -> Answer:
    """A project's environments, whole."""
    return answer_json(
        [
            {"id": str(index + 1), "name": name, "isHidden": False}
            for index, name in enumerate(call.project.environments)
        ]
    )


def list_project_teams(call: Call) -> Answer:
    """A project's teams."""
    found = [team for team in call.organization.teams if team.id in call.project.team_ids]
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [show_team(t, call.organization, call.token, call.access) for t in page.items])


def list_keys(call: Call) -> Answer:
    """A project's DSN, with its secret."""
    project = call.project
    host = call.base.partition("://")[2]
    key = {
        "id": project.key,
        "name": "Default",
        "label": "Default",
        "public": project.key,
        "secret": project.key[::-1],
        "projectId": project.id,
        "isActive": True,
        "dsn": {"public": f"http://{project.key}@{host}/{project.id}"},
    }
    page = page_by_key([key], call.page_size, call.cursor, lambda _: project.id, descending=True)
    return call.answer_page(page, page.items)


ENDPOINTS = (
    Endpoint("organizations/{organization}/projects/", {"GET": list_projects}, access.ORGANIZATION),
    Endpoint("projects/{organization}/{project}/", {"GET": get_project, "PUT": put_project}, access.PROJECT),
    Endpoint("projects/{organization}/{project}/environments/", {"GET": list_environments}, access.PROJECT),
    Endpoint("projects/{organization}/{project}/teams/", {"GET": list_project_teams}, access.PROJECT),
    Endpoint("projects/{organization}/{project}/keys/", {"GET": list_keys}, access.PROJECT),
)
