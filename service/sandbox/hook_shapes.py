"""What webhooks carry: the ``data`` of each resource, and the bodies of service hooks and of the legacy plugin.

The shapes of a 23.7.1 were recorded; what newer servers add follows their documentation and source.
"""

from datetime import datetime
from typing import Any

from service.sandbox.issue_shapes import event_at, show_event, show_issue
from service.sandbox.shapes import Payload, stamp
from service.sandbox.world import App, Comment, Incident, Issue, Manner, Organization, User

INCIDENT_STATUS = {"critical": 20, "warning": 10, "resolved": 2}


def show_hook_issue(issue: Issue, organization: Organization, base: str, manner: Manner) -> Payload:
    """An issue as nobody in particular sees it: without a permalink, and with addresses on newer servers."""
    shown = show_issue(issue, organization, base, manner) | {"permalink": None}
    if manner == "23.7":
        return shown
    web = f"{base}/organizations/{organization.slug}/issues/"
    return shown | {
        "url": f"{base}/api/0/organizations/{organization.slug}/issues/{issue.id}/",
        "web_url": f"{web}{issue.id}/",
        "project_url": f"{web}?project={issue.project.id}",
    }


def show_new_issue(issue: Issue, organization: Organization, base: str, manner: Manner) -> Payload:
    """The issue of ``issue.created``, whose times newer servers write with an offset."""
    return show_hook_issue(issue, organization, base, manner) | {
        "firstSeen": _show_moment(issue.first_seen, manner),
        "lastSeen": _show_moment(issue.last_seen, manner),
    }


def _show_moment(moment: datetime, manner: Manner) -> str | None:
    return stamp(moment) if manner == "23.7" else moment.isoformat()


def show_assigned(issue: Issue, organization: Organization) -> Payload:
    """The ``assignee``: its id is a number here, and a team is called by its name."""
    kind, number = issue.assignee or ("user", 0)
    if kind == "team":
        team = next(team for team in organization.teams if team.id == number)
        return {"type": "team", "name": team.name, "id": team.id}
    user = next(m.user for m in organization.members if m.user and m.user.id == number)
    return {"type": "user", "name": user.name, "id": user.id, "email": user.email}


def show_hook_comment(comment: Comment, issue: Issue) -> Payload:
    """The data of the resource ``comment``; its ids are numbers."""
    return {
        "comment_id": comment.id,
        "issue_id": issue.id,
        "project_slug": issue.project.slug,
        "timestamp": stamp(comment.created),
        "comment": comment.text,
    }


def show_hook_event(issue: Issue, number: int, organization: Organization, base: str, manner: Manner) -> Payload:
    """The issue's event of that number, 0 being the newest, as ``error`` and ``event_alert`` carry it."""
    event = event_at(issue, number)
    project, api = issue.project, f"{base}/api/0/"
    issues = f"organizations/{organization.slug}/issues/{issue.id}/"
    filename = "app/main.py"
    function = issue.culprit.split()[-1]
    frame = {
        "function": function,
        "module": issue.culprit.split()[0],
        "filename": filename,
        "abs_path": filename,
        "lineno": 42,
        "in_app": True,
    }
    return {
        "event_id": event.id,
        "project": project.id,
        "release": issue.release,
        "dist": None,
        "platform": project.platform,
        "message": issue.value,
        "datetime": _show_moment(event.at, manner),
        "tags": [[key, value] for key, value in {**event.tags, "level": issue.level}.items()],
        "environment": event.tags.get("environment"),
        "exception": {"values": [{"type": issue.kind, "value": issue.value, "stacktrace": {"frames": [frame]}}]},
        "fingerprint": ["{{ default }}"],
        "level": issue.level,
        "logentry": {"formatted": issue.value},
        "logger": "",
        "received": event.at.timestamp(),
        "timestamp": event.at.timestamp(),
        "type": "error",
        "user": {"id": event.customer_id, "email": issue.customer},
        "version": "5",
        "culprit": issue.culprit,
        "title": issue.title,
        "location": filename,
        "url": f"{api}projects/{organization.slug}/{project.slug}/events/{event.id}/",
        "web_url": f"{base}/{issues}events/{event.id}/",
        "issue_url": f"{api}issues/{issue.id}/" if manner == "23.7" else api + issues,
        "issue_id": str(issue.id),
    }


def show_metric_alert(incident: Incident, organization: Organization, base: str) -> Payload:
    """The data of the resource ``metric_alert``: an incident with its rule."""
    started, action = stamp(incident.started), incident.action
    rule = {
        "id": str(incident.rule_id),
        "name": incident.rule,
        "organization_id": str(organization.id),
        "status": 0,
        "query_type": 0,
        "dataset": "events",
        "query": "level:error",
        "aggregate": "count()",
        "threshold_type": 0,
        "resolve_threshold": None,
        "time_window": 10.0,
        "environment": None,
        "resolution": 1.0,
        "threshold_period": 1,
        "triggers": [],
        "projects": [incident.project.slug],
        "include_all_projects": False,
        "owner": None,
        "original_alert_rule_id": None,
        "comparison_delta": None,
        "date_modified": started,
        "date_created": started,
        "created_by": None,
    }
    shown = {
        "id": str(incident.id),
        "identifier": str(incident.identifier),
        "organization_id": str(organization.id),
        "projects": [incident.project.slug],
        "alert_rule": rule,
        "activities": None,
        "seen_by": None,
        "has_seen": None,
        "status": INCIDENT_STATUS[action],
        "status_method": 3,
        "type": 2,
        "title": incident.rule,
        "date_started": started,
        "date_detected": started,
        "date_created": started,
        "date_closed": stamp(incident.closed),
    }
    details = f"organizations/{organization.slug}/alerts/rules/details/{incident.rule_id}/"
    return {
        "metric_alert": shown,
        "description_text": "1000 events in the last 10 minutes\nFilter: level:error",
        "description_title": f"{action.title()}: {incident.rule}",
        "web_url": f"{base}/{details}?alert={incident.identifier}",
    }


def show_actor(by: User | None, app: App | None, receiver: App) -> Payload:
    """Who did it. Of a change that ``app`` made each receiver is told that it was the receiver itself."""
    if app is not None:
        return {"type": "application", "id": receiver.uuid, "name": receiver.name}
    if by is not None:
        return {"type": "user", "id": by.id, "name": by.name}
    return {"type": "application", "id": "sentry", "name": "Sentry"}


def show_service_hook(issue: Issue, number: int, organization: Organization, base: str, manner: Manner) -> Payload:
    """The body of a service hook, which has no envelope."""
    address = f"{base}/organizations/{organization.slug}/issues/{issue.id}/"
    event = show_event(issue, number, full=True)
    return {
        "project": {"slug": issue.project.slug, "name": issue.project.name},
        "group": show_issue(issue, organization, base, manner) | {"permalink": None, "url": address},
        "event": event | {"url": f"{address}events/{event['id']}/"},
    }


def show_plugin_post(
    issue: Issue, number: int, organization: Organization, base: str, manner: Manner, rules: list[str]
) -> Payload:
    """The body that the legacy WebHooks plugin posts; nothing signs it."""
    event: dict[str, Any] = show_hook_event(issue, number, organization, base, manner)
    for absent in ("url", "web_url", "issue_url", "issue_id", "datetime", "message"):
        del event[absent]
    return {
        "id": str(issue.id),
        "project": issue.project.slug,
        "project_name": issue.project.name,
        "project_slug": issue.project.slug,
        "logger": None,
        "level": issue.level,
        "culprit": issue.culprit,
        "message": issue.value,
        "url": f"{base}/organizations/{organization.slug}/issues/{issue.id}/?referrer=webhooks_plugin",
        "triggering_rules": rules,
        "event": event | {"id": event["event_id"]},
    }
