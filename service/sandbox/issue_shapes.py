"""What issues, events and releases look like on the wire."""

import hashlib
from datetime import timedelta
from typing import Any

from service.sandbox.shapes import Payload, show_self, stamp
from service.sandbox.world import Comment, Event, Issue, Manner, Organization, Release

EVENTS_SHOWN = 120


def show_issue(issue: Issue, organization: Organization, base: str, manner: Manner) -> Payload:
    """An issue without its counters over time. ``count`` is a string."""
    shown: Payload = {
        "id": str(issue.id),
        "shareId": None,
        "shortId": issue.short_id,
        "title": issue.title,
        "culprit": issue.culprit,
        "permalink": f"{base}/organizations/{organization.slug}/issues/{issue.id}/",
        "logger": None,
        "level": issue.level,
        "status": issue.status,
        "statusDetails": issue.status_details,
        "substatus": issue.substatus,
        "isPublic": False,
        "platform": issue.project.platform,
        "project": {
            "id": str(issue.project.id),
            "name": issue.project.name,
            "slug": issue.project.slug,
            "platform": issue.project.platform,
        },
        "type": "error",
        "metadata": {
            "value": issue.value,
            "type": issue.kind,
            "filename": "app/main.py",
            "function": issue.culprit.split()[-1],
        },
        "numComments": len(issue.comments),
        "assignedTo": show_assignee(issue, organization),
        "isBookmarked": False,
        "isSubscribed": False,
        "subscriptionDetails": None,
        "hasSeen": False,
        "annotations": [],
        "issueType": "error",
        "issueCategory": "error",
        "isUnhandled": issue.level == "fatal",
        "count": str(issue.count),
        "userCount": issue.user_count,
        "firstSeen": stamp(issue.first_seen),
        "lastSeen": stamp(issue.last_seen),
    }
    if manner == "latest":
        shown |= {"priority": issue.priority, "priorityLockedAt": None}
    else:
        shown["metadata"] |= {"display_title_with_tree_label": False}
    return shown


def show_assignee(issue: Issue, organization: Organization) -> Payload | None:
    """``assignedTo``: a user by USER id, or a team."""
    if issue.assignee is None:
        return None
    kind, number = issue.assignee
    if kind == "team":
        team = next(team for team in organization.teams if team.id == number)
        return {"type": "team", "id": str(number), "name": team.slug}
    user = next(m.user for m in organization.members if m.user and m.user.id == number)
    return {"type": "user", "id": str(number), "name": user.name or user.email, "email": user.email}


def show_issue_row(issue: Issue, organization: Organization, base: str, manner: Manner) -> Payload:
    """A row of the issues list: adds a day of counts and the life-time figures."""
    hour = int(issue.last_seen.timestamp()) // 3600 * 3600
    figures = {
        "count": str(issue.count),
        "userCount": issue.user_count,
        "firstSeen": stamp(issue.first_seen),
        "lastSeen": stamp(issue.last_seen),
    }
    return show_issue(issue, organization, base, manner) | {
        "stats": {"24h": [[hour - 3600 * step, issue.count % (step + 7)] for step in reversed(range(24))]},
        "lifetime": figures | {"stats": None},
        "filtered": None,
    }


def show_issue_detail(issue: Issue, organization: Organization, base: str, manner: Manner) -> Payload:
    """One issue: adds activity, tags, people and releases."""
    release = next((r for r in organization.releases if r.version == issue.release), None)
    shown_release = show_release(release) if release else None
    return show_issue(issue, organization, base, manner) | {
        "firstRelease": shown_release,
        "lastRelease": shown_release,
        "tags": [{"key": key, "name": key.title(), "totalValues": issue.count} for key in issue.tags],
        "activity": [
            *(show_comment(comment, manner) for comment in issue.comments),
            {"id": "0", "user": None, "type": "first_seen", "data": {}, "dateCreated": stamp(issue.first_seen)},
        ],
        "seenBy": [],
        "participants": [],
        "pluginActions": [],
        "pluginIssues": [],
        "pluginContexts": [],
        "userReportCount": 0,
        "stats": show_issue_row(issue, organization, base, manner)["stats"],
    }


def show_comment(comment: Comment, manner: Manner) -> Payload:
    """A note; its author is shown whole."""
    return {
        "id": str(comment.id),
        "user": show_self(comment.user, manner) if comment.user else None,
        "type": "note",
        "data": {"text": comment.text},
        "dateCreated": stamp(comment.created),
    }


def event_ids(issue: Issue) -> list[str]:
    """The ids of an issue's events, newest first: as many as it counts, up to a cap."""
    return [event_at(issue, number).id for number in range(min(issue.count, EVENTS_SHOWN))]


def event_at(issue: Issue, number: int) -> Event:
    """The issue's event of that number, 0 being the newest; those before the run are made up as they are asked for."""
    if number < len(issue.recorded):
        return issue.recorded[-1 - number]
    step = number - len(issue.recorded)
    newest = issue.recorded[0].at if issue.recorded else issue.last_seen
    identity = hashlib.md5(f"{issue.id}/{step}".encode(), usedforsecurity=False).hexdigest()
    at = newest - timedelta(seconds=90 * (step + bool(issue.recorded)))
    return Event(identity, at, issue.tags, str(1000 + step))


def show_event(issue: Issue, number: int, *, full: bool) -> Payload:
    """The issue's event of that number, 0 being the newest; ``full`` adds entries and contexts."""
    event = event_at(issue, number)
    shown: dict[str, Any] = {
        "id": event.id,
        "groupID": str(issue.id),
        "eventID": event.id,
        "projectID": str(issue.project.id),
        "message": issue.value,
        "title": issue.title,
        "location": "app/main.py",
        "culprit": issue.culprit,
        "user": {
            "id": event.customer_id,
            "email": issue.customer,
            "username": issue.customer.partition("@")[0],
            "ip_address": "192.0.2.7",
            "name": None,
            "data": None,
        },
        "tags": [{"key": key, "value": value} for key, value in {**event.tags, "level": issue.level}.items()],
        "platform": issue.project.platform,
        "dateCreated": stamp(event.at),
        "crashFile": None,
    }
    if not full:
        return shown | {"event.type": "error"}
    frame = {"filename": "app/main.py", "function": issue.culprit.split()[-1], "lineNo": 42, "inApp": True}
    exception = {"type": issue.kind, "value": issue.value, "stacktrace": {"frames": [frame]}}
    return shown | {
        "size": 1449,
        "entries": [{"type": "exception", "data": {"values": [exception]}}],
        "dist": None,
        "contexts": {},
        "sdk": None,
        "context": {},
        "packages": {},
        "type": "error",
        "metadata": {"type": issue.kind, "value": issue.value},
        "dateReceived": stamp(event.at),
        "errors": [],
        "occurrence": None,
        "fingerprints": [event.id],
    }


def show_release(release: Release) -> Payload:
    """A release; ids in it are numbers."""
    package, _, raw = release.version.rpartition("@")
    return {
        "id": release.id,
        "version": release.version,
        "status": "open",
        "shortVersion": release.version,
        "versionInfo": {"package": package or None, "version": {"raw": raw}, "description": raw, "buildHash": None},
        "ref": release.ref,
        "url": release.url,
        "dateReleased": stamp(release.released),
        "dateCreated": stamp(release.created),
        "data": {},
        "newGroups": 0,
        "owner": None,
        "commitCount": 0,
        "lastCommit": None,
        "deployCount": len(release.deploys),
        "lastDeploy": release.deploys[-1] if release.deploys else None,
        "authors": [],
        "projects": [
            {
                "id": project.id,
                "slug": project.slug,
                "name": project.name,
                "newGroups": 0,
                "platform": project.platform,
                "platforms": [project.platform],
                "hasHealthData": False,
            }
            for project in release.projects
        ],
        "firstEvent": None,
        "lastEvent": None,
        "currentProjectMeta": {},
        "userAgent": None,
    }
