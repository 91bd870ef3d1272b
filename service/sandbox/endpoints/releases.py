"""Releases and deploys."""

import re

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.issue_shapes import show_release
from service.sandbox.pagination import page_by_number
from service.sandbox.responses import Answer, Refused, answer_json, invalid, no_content, not_found
from service.sandbox.search import parse_query
from service.sandbox.shapes import stamp
from service.sandbox.world import Project, Release, find

_BAD_VERSION = re.compile(r"[\r\n\f\t/\\]|\A(?:\.\.?|latest)\Z|\A\s*\Z")


def list_releases(call: Call) -> Answer:
    """The releases, the newest first.

    ``query`` is a part of the version, or ``release:`` the whole of it; newer servers take ``release:[a,b]``.
    """
    found = call.organization.releases
    for key, values in parse_query(call.last("query")).items():
        if key == "":
            found = [release for release in found if values[0].lower() in release.version.lower()]
        elif key == "release":
            wanted = values
            if call.manner == "latest" and values[0].startswith("["):
                wanted = values[0][1:-1].split(",")
            found = [release for release in found if release.version in wanted]
        else:
            found = []
    page = page_by_number(found, call.page_size, call.cursor)
    return call.answer_page(page, [show_release(release) for release in page.items])


def create_release(call: Call) -> Answer:
    """Makes a release: 201; where it exists, 208, and the projects are merged."""
    given = call.json()
    wrong: dict[str, list[str]] = {}
    version = given.get("version")
    if not isinstance(version, str):
        wrong["version"] = ["This field is required."]
    elif not version:
        wrong["version"] = ["This field may not be blank."]
    elif _BAD_VERSION.search(version):
        wrong["version"] = ["Release with name cannot be created: invalid version"]
    if not given.get("projects"):
        wrong["projects"] = ["This field is required."]
    if wrong or not isinstance(version, str):
        raise Refused(answer_json(wrong, 400))
    projects: list[Project] = []
    for name in given["projects"]:
        project = find(call.organization.projects, str(name), call.manner)
        if project is None:
            raise invalid(projects="Invalid project ids or slugs")
        projects.append(project)
    release = next((r for r in call.organization.releases if r.version == version), None)
    status = 208
    if release is None:
        status = 201
        release = Release(call.world.new_id(), version, call.world.now, [], url=given.get("url"), ref=given.get("ref"))
        call.organization.releases.insert(0, release)
    release.projects.extend(project for project in projects if project not in release.projects)
    call.world.changed()
    return answer_json(show_release(release), status)


def _release(call: Call) -> Release:
    found = next((r for r in call.organization.releases if r.version == call.names["version"]), None)
    if found is None:
        raise not_found()
    return found


def get_release(call: Call) -> Answer:
    """One release."""
    return answer_json(show_release(_release(call)))


def put_release(call: Call) -> Answer:
    """Changes url and ref."""
    release, given = _release(call), call.json()
    release.url = given.get("url", release.url)
    release.ref = given.get("ref", release.ref)
    if given.get("dateReleased"):
        release.released = call.world.now
    call.world.changed()
    return answer_json(show_release(release))


def delete_release(call: Call) -> Answer:
    """Removes a release."""
    call.organization.releases.remove(_release(call))
    call.world.changed()
    return no_content()


def list_deploys(call: Call) -> Answer:
    """A release's deploys."""
    page = page_by_number(_release(call).deploys, call.page_size, call.cursor)
    return call.answer_page(page, page.items)


def create_deploy(call: Call) -> Answer:
    """Records a deploy: 201."""
    release, given = _release(call), call.json()
    if not given.get("environment"):
        raise invalid(environment="This field is required.")
    deploy = {
        "id": str(call.world.new_id()),
        "environment": given["environment"],
        "dateStarted": given.get("dateStarted"),
        "dateFinished": given.get("dateFinished") or stamp(call.world.now),
        "name": given.get("name"),
        "url": given.get("url"),
    }
    release.deploys.append(deploy)
    call.world.changed()
    return answer_json(deploy, 201)


_RELEASE = "organizations/{organization}/releases/{version}/"

ENDPOINTS = (
    Endpoint("organizations/{organization}/releases/", {"GET": list_releases, "POST": create_release}, access.RELEASE),
    Endpoint(_RELEASE, {"GET": get_release, "PUT": put_release, "DELETE": delete_release}, access.RELEASE),
    Endpoint(_RELEASE + "deploys/", {"GET": list_deploys, "POST": create_deploy}, access.RELEASE),
)
