"""The root, regions, and organizations."""

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.pagination import page_by_key
from service.sandbox.responses import Answer, answer_json, forbidden
from service.sandbox.search import match_organizations, parse_query
from service.sandbox.shapes import show_organization, show_organization_detail, show_self, stamp


def root(call: Call) -> Answer:
    """Who the token is: 200 for anybody, with ``auth: null`` where nobody is signed in."""
    auth = {"scopes": sorted(call.token.scopes)} if call.token else None
    return answer_json({"version": "0", "auth": auth, "user": show_self(call.user, call.manner) if call.user else None})


def list_regions(call: Call) -> Answer:
    """The regions where a person has organizations; apps have none."""
    if call.bearer.kind != "user":
        raise forbidden()
    return answer_json({"regions": [{"name": "us", "url": call.region}]})


def list_organizations(call: Call) -> Answer:
    """A person's organizations, the newest first; an app's list is empty."""
    user = call.user if call.bearer.kind == "user" else None
    mine = [organization for organization in call.world.organizations if organization.role_of(user)]
    found = match_organizations(mine, parse_query(call.last("query")))
    found.sort(key=lambda organization: organization.created, reverse=True)
    page = page_by_key(
        found,
        call.page_size,
        call.cursor,
        lambda organization: organization.created.timestamp() * 1000,
        descending=True,
    )
    return call.answer_page(page, [_row(call, organization.slug) for organization in page.items])


def _row(call: Call, slug: str) -> object:
    organization = next(o for o in call.world.organizations if o.slug == slug)
    return call.world.row(
        ("organization", organization.id, call.base, call.region, call.manner),
        lambda: show_organization(organization, call.base, call.region, call.manner),
    )


def get_organization(call: Call) -> Answer:
    """One organization."""
    return answer_json(
        show_organization_detail(
            call.organization,
            call.base,
            call.region,
            call.manner,
            access=call.access,
            role=call.organization.role_of(call.user),
            detailed=call.last("detailed") != "0",
        )
    )


def put_organization(call: Call) -> Answer:
    """Renames it; with a new slug the old one is a 404 from then on."""
    changes = call.json()
    organization = call.organization
    organization.name = str(changes.get("name", organization.name))
    organization.slug = str(changes.get("slug", organization.slug))
    call.world.changed()
    return get_organization(call)


def list_environments(call: Call) -> Answer:
    """Every environment, without pages."""
    names = sorted({name for project in call.organization.projects for name in project.environments})
    return answer_json([{"id": str(index + 1), "name": name} for index, name in enumerate(names)])


def list_tags(call: Call) -> Answer:
    """Every tag's key, without pages."""
    totals: dict[str, int] = {}
    for issue in call.organization.issues.values():
        for key in issue.tags:
            totals[key] = totals.get(key, 0) + issue.count
    return answer_json([{"key": key, "name": key.title(), "totalValues": total} for key, total in totals.items()])


def list_audit_logs(call: Call) -> Answer:
    """Who joined when: an object, not a list."""
    rows = [
        {"id": str(member.id), "event": "member.add", "dateCreated": stamp(member.created)}
        for member in call.organization.members[:50]
    ]
    return answer_json({"rows": rows, "options": ["member.add"]})


ENDPOINTS = (
    Endpoint("", {"GET": root}, None),
    Endpoint("users/me/regions/", {"GET": list_regions}, {"GET": access.ORGANIZATION["GET"]}, since="latest"),
    Endpoint("organizations/", {"GET": list_organizations}, access.ORGANIZATIONS),
    Endpoint("organizations/{organization}/", {"GET": get_organization, "PUT": put_organization}, access.ORGANIZATION),
    Endpoint("organizations/{organization}/environments/", {"GET": list_environments}, access.ORGANIZATION),
    Endpoint("organizations/{organization}/tags/", {"GET": list_tags}, access.ORGANIZATION),
    Endpoint("organizations/{organization}/audit-logs/", {"GET": list_audit_logs}, {"GET": access.scopes("org:write")}),
)
