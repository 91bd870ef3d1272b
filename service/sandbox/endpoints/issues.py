"""Issues, their events and tables."""

import re
from collections.abc import Callable

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.endpoints.members import project_ids
from service.sandbox.endpoints.triage import change_issues
from service.sandbox.issue_shapes import (
    event_ids,
    show_event,
    show_issue,
    show_issue_detail,
    show_issue_row,
)
from service.sandbox.pagination import page_by_offset, page_by_score, parse_limit
from service.sandbox.responses import Answer, answer_json, detail, forbidden, invalid, no_content, not_found
from service.sandbox.search import match_issues, parse_query
from service.sandbox.world import Issue, Organization

_SORTS: dict[str, Callable[[Issue], int]] = {
    "date": lambda issue: int(issue.last_seen.timestamp() * 1000),
    "new": lambda issue: int(issue.first_seen.timestamp() * 1000),
    "freq": lambda issue: issue.count,
    "user": lambda issue: issue.user_count,
}


def list_issues(call: Call) -> Answer:
    """The issues list; unresolved ones where no ``query`` is given.

    ``group=`` picks by id instead: whole, and regardless of status.
    """
    projects = set(project_ids(call))
    if len(projects) > 1 and not call.organization.has_global_views:
        raise detail(400, "You do not have the multi project stream feature enabled")
    if call.all("group"):
        return answer_json([_row(call, issue) for issue in _picked(call, "group", "Group ids must be integers")])
    sort = call.last("sort") or "date"
    if sort not in _SORTS:
        raise detail(400, f"Sort key '{sort}' not supported.")
    score = _SORTS[sort]
    size = parse_limit(call.last("limit") or call.last("per_page"))
    query = call.last("query")
    tokens = parse_query("is:unresolved" if query is None else query)
    found = [issue for issue in call.organization.issues.values() if issue.project.id in projects]
    environments = call.all("environment")
    found = [issue for issue in found if not environments or issue.tags["environment"] in environments]
    found = match_issues(found, tokens, call.organization, call.world.now)
    found.sort(key=lambda issue: (-score(issue), -issue.id))
    page = page_by_score(found, size, call.cursor, score)
    return call.answer_page(page, [_row(call, issue) for issue in page.items])


def _row(call: Call, issue: Issue) -> object:
    return call.world.row(
        ("issue", issue.id, call.base, call.manner),
        lambda: show_issue_row(issue, call.organization, call.base, call.manner),
    )


def _picked(call: Call, parameter: str, complaint: str) -> list[Issue]:
    """The issues that a parameter lists; missing ones are left out, those of other organizations refused."""
    ids = call.all(parameter)
    if not all(text.isdecimal() for text in ids):
        raise detail(400, complaint)
    elsewhere = {i for o in call.world.organizations if o is not call.organization for i in o.issues}
    if elsewhere & {int(text) for text in ids}:
        raise forbidden()
    return [issue for issue in call.organization.issues.values() if str(issue.id) in ids]


def list_stats(call: Call) -> Answer:
    """Counters of picked issues, of as many as the server allows."""
    if not call.all("groups"):
        raise detail(400, "You should include `groups` with your request. (i.e. groups=1,2,3)")
    if len(call.all("groups")) > (25 if call.manner == "23.7" else 100):
        raise detail(400, "Too many groups requested.")
    found = _picked(call, "groups", "Group ids must be integers")
    if not found:
        raise detail(400, "No matching groups found")
    keys = ("id", "count", "userCount", "firstSeen", "lastSeen", "stats", "lifetime", "filtered")
    rows = [show_issue_row(issue, call.organization, call.base, call.manner) for issue in found]
    return answer_json([{key: row[key] for key in keys} for row in rows])


def find_issue(call: Call) -> tuple[Issue, Organization]:
    """The issue that the path names, with its organization; the legacy path names none. 404 where there is none."""
    name = call.names["issue"]
    visible = [call.organization] if call.found else call.world.organizations
    for organization in visible:
        issue = organization.issues.get(int(name)) if name.isdecimal() else None
        if issue is None and call.found:
            issue = next((i for i in organization.issues.values() if i.short_id == name.upper()), None)
        if issue is not None:
            if call.found is None:
                _check_legacy(call, organization)
            return issue, organization
    raise not_found()


def _check_legacy(call: Call, organization: Organization) -> None:
    needed = access.EVENT[call.method]
    if (call.bearer.scopes_in(organization) or frozenset()).isdisjoint(needed):
        raise forbidden(needed, challenge=call.manner == "latest")


def get_issue(call: Call) -> Answer:
    """One issue."""
    issue, organization = find_issue(call)
    return answer_json(show_issue_detail(issue, organization, call.base, call.manner))


def put_issue(call: Call) -> Answer:
    """Changes one issue; answers it."""
    issue, organization = find_issue(call)
    change_issues(call, [issue], organization, call.json())
    call.world.changed()
    return answer_json(show_issue(issue, organization, call.base, call.manner))


def put_issues(call: Call) -> Answer:
    """Changes many: those with ``id=``, or ALL that ``query`` finds. Answers what was changed, not the issues."""
    found = _picked(call, "id", "Group ids must be integers")
    if not call.all("id"):
        tokens = parse_query(call.last("query") or "is:unresolved")
        found = match_issues(list(call.organization.issues.values()), tokens, call.organization, call.world.now)
    if not found:
        return no_content()
    changes = call.json()
    change_issues(call, found, call.organization, changes)
    call.world.changed()
    return answer_json(changes)


def delete_issue(call: Call) -> Answer:
    """Deletes one: 202, since the real one does it later."""
    issue, organization = find_issue(call)
    del organization.issues[issue.id]
    call.world.changed()
    return no_content(202)


def list_external_issues(call: Call) -> Answer:
    """What apps linked to the issue."""
    return answer_json(find_issue(call)[0].external)


def list_events(call: Call) -> Answer:
    """An issue's events, the newest first."""
    issue, _ = find_issue(call)
    full = call.last("full") in {"true", "1"}
    page = page_by_offset(range(len(event_ids(issue))), call.page_size, call.cursor)
    return call.answer_page(page, [show_event(issue, number, full=full) for number in page.items])


def get_event(call: Call) -> Answer:
    """One event: by id, or latest, oldest, recommended."""
    issue, _ = find_issue(call)
    ids = event_ids(issue)
    name = call.names["event"]
    known = {"latest": 0, "recommended": 0, "oldest": len(ids) - 1}
    if name not in known and name not in ids:
        raise not_found()
    number = known[name] if name in known else ids.index(name)
    neighbours = {
        "nextEventID": ids[number - 1] if number else None,
        "previousEventID": ids[number + 1] if number + 1 < len(ids) else None,
    }
    return answer_json(show_event(issue, number, full=True) | neighbours)


def list_project_issues(call: Call) -> Answer:
    """A project's issues."""
    found = [issue for issue in call.organization.issues.values() if issue.project is call.project]
    query = call.last("query")
    tokens = parse_query("is:unresolved" if query is None else query)
    found = match_issues(found, tokens, call.organization, call.world.now)
    found.sort(key=lambda issue: (-_SORTS["date"](issue), -issue.id))
    page = page_by_score(found, parse_limit(call.last("limit")), call.cursor, _SORTS["date"])
    return call.answer_page(page, [_row(call, issue) for issue in page.items])


def list_project_events(call: Call) -> Answer:
    """A project's newest events: the latest of each issue."""
    found = [issue for issue in call.organization.issues.values() if issue.project is call.project]
    page = page_by_offset(found, call.page_size, call.cursor)
    return call.answer_page(page, [show_event(issue, 0, full=False) for issue in page.items])


def get_short_id(call: Call) -> Answer:
    """An issue by its short id."""
    issue, organization = find_issue(call)
    return answer_json(
        {
            "organizationSlug": organization.slug,
            "projectSlug": issue.project.slug,
            "groupId": str(issue.id),
            "group": show_issue(issue, organization, call.base, call.manner),
            "shortId": issue.short_id,
        }
    )


def get_event_id(call: Call) -> Answer:
    """An event by its id alone, with its issue."""
    name = call.names["event"]
    for issue in call.organization.issues.values():
        ids = event_ids(issue)
        if name in ids:
            return answer_json(
                {
                    "organizationSlug": call.organization.slug,
                    "projectSlug": issue.project.slug,
                    "groupId": str(issue.id),
                    "eventId": name,
                    "event": show_event(issue, ids.index(name), full=True),
                }
            )
    raise not_found()


def list_table(call: Call) -> Answer:
    """The events table: one row an issue, with the fields asked for. The datasets depend on the server's age."""
    fields = call.all("field")
    if not fields:
        raise detail(400, "No columns selected")
    dataset = call.last("dataset")
    known = (
        ["discover", "metricsEnhanced", "metrics"] if call.manner == "23.7" else ["errors", "logs", "spans", "discover"]
    )
    if dataset is None and call.manner == "latest":
        raise invalid(dataset="This field is required.")
    if dataset is not None and dataset not in known:
        raise detail(400, f"dataset must be one of: {', '.join(known)}")
    projects = set(project_ids(call))
    found = [issue for issue in call.organization.issues.values() if issue.project.id in projects]
    found = match_issues(found, parse_query(call.last("query")), call.organization, call.world.now)
    page = page_by_offset(found, call.page_size, call.cursor)
    meta = {name: "integer" if re.search(r"\(\)|\.id\Z", name) else "string" for name in fields}
    data = [{name: _column(issue, name) for name in fields} for issue in page.items]
    body = {"data": data, "meta": {"fields": meta, "isMetricsData": False, "dataset": dataset or "discover"}}
    return answer_json(body, headers=page.headers(call.base + call.path, call.query))


def _column(issue: Issue, name: str) -> object:
    columns: dict[str, object] = {
        "id": event_ids(issue)[0],
        "title": issue.title,
        "issue": issue.short_id,
        "issue.id": issue.id,
        "project": issue.project.slug,
        "level": issue.level,
        "release": issue.release,
        "user.email": issue.customer,
        "count()": issue.count,
        "count_unique(user)": issue.user_count,
        "last_seen()": issue.last_seen,
    }
    return columns.get(name, issue.tags.get(name, ""))


_ORGANIZATION_ISSUE = "organizations/{organization}/issues/{issue}/"
_ONE = {"GET": get_issue, "PUT": put_issue, "DELETE": delete_issue}
_ONE_LIMIT = {"GET": 5, "PUT": 5, "DELETE": 5}

ENDPOINTS = (
    Endpoint(
        "organizations/{organization}/issues/",
        {"GET": list_issues, "PUT": put_issues},
        access.EVENT,
        {"GET": 10, "PUT": 5},
    ),
    Endpoint("organizations/{organization}/issues-stats/", {"GET": list_stats}, access.EVENT, {"GET": 10}),
    Endpoint(_ORGANIZATION_ISSUE, _ONE, access.EVENT, _ONE_LIMIT),
    Endpoint("issues/{issue}/", _ONE, access.EVENT, _ONE_LIMIT),
    Endpoint(_ORGANIZATION_ISSUE + "external-issues/", {"GET": list_external_issues}, access.EVENT),
    Endpoint(_ORGANIZATION_ISSUE + "events/", {"GET": list_events}, access.EVENT),
    Endpoint("issues/{issue}/events/", {"GET": list_events}, access.EVENT),
    Endpoint(_ORGANIZATION_ISSUE + "events/{event}/", {"GET": get_event}, access.EVENT, {"GET": 15}),
    Endpoint("projects/{organization}/{project}/issues/", {"GET": list_project_issues}, access.EVENT),
    Endpoint("projects/{organization}/{project}/events/", {"GET": list_project_events}, access.PROJECT),
    Endpoint("organizations/{organization}/shortids/{issue}/", {"GET": get_short_id}, access.ORGANIZATION),
    Endpoint("organizations/{organization}/eventids/{event}/", {"GET": get_event_id}, access.ORGANIZATION, {"GET": 1}),
    Endpoint("organizations/{organization}/events/", {"GET": list_table}, access.EVENTS_TABLE, {"GET": 50}),
)
