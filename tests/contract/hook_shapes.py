"""What webhooks carry, in our own words: every key that a 23.7 server was seen to send, and the JSON type of each."""

from typing import Any

from tests.contract.shapes import AVATAR, DATE, MAYBE_DATE, NONE, Shape

MAYBE_TEXT = (str, NONE)
ACTOR = (
    Shape({"type": frozenset({"user"}), "id": int, "name": str}),
    Shape({"type": frozenset({"application"}), "id": str, "name": str}),
)
RESOLVER = Shape(
    {
        "id": str,
        "name": str,
        "username": str,
        "email": str,
        "avatarUrl": str,
        "isActive": bool,
        "hasPasswordAuth": bool,
        "isManaged": bool,
        "dateJoined": DATE,
        "lastLogin": MAYBE_DATE,
        "has2fa": bool,
        "lastActive": MAYBE_DATE,
        "isSuperuser": bool,
        "isStaff": bool,
        "experiments": Shape({}),
        "emails": [Shape({"id": str, "email": str, "is_verified": bool})],
        "avatar": AVATAR,
    }
)
STATUS_DETAILS = (
    Shape({}),
    Shape({"inNextRelease": bool, "actor": RESOLVER}),
    Shape({"inRelease": str, "actor": RESOLVER}),
)
ASSIGNED_TO = (
    Shape({"type": frozenset({"team"}), "id": str, "name": str}),
    Shape({"type": frozenset({"user"}), "id": str, "name": str, "email": str}),
    NONE,
)
_ISSUE: dict[str, Any] = {
    "id": str,
    "shareId": NONE,
    "shortId": str,
    "title": str,
    "culprit": MAYBE_TEXT,
    "permalink": NONE,
    "logger": MAYBE_TEXT,
    "level": str,
    "status": frozenset({"resolved", "unresolved", "ignored"}),
    "statusDetails": STATUS_DETAILS,
    "substatus": MAYBE_TEXT,
    "isPublic": bool,
    "platform": MAYBE_TEXT,
    "project": Shape({"id": str, "name": str, "slug": str, "platform": MAYBE_TEXT}),
    "type": str,
    "metadata": Shape({}, others="value type filename function", old="display_title_with_tree_label"),
    "numComments": int,
    "assignedTo": ASSIGNED_TO,
    "isBookmarked": bool,
    "isSubscribed": bool,
    "subscriptionDetails": NONE,
    "hasSeen": bool,
    "annotations": [str],
    "issueType": str,
    "issueCategory": str,
    "isUnhandled": bool,
    "count": str,
    "userCount": int,
    "firstSeen": DATE,
    "lastSeen": DATE,
}
ISSUE = Shape(_ISSUE)
NEW_ISSUE = Shape(_ISSUE | {"url": str, "web_url": str, "project_url": str})
"The issue of newer servers."
ASSIGNEE = (
    Shape({"type": frozenset({"team"}), "id": int, "name": str}),
    Shape({"type": frozenset({"user"}), "id": int, "name": str, "email": str}),
)
COMMENT = Shape({"comment_id": int, "issue_id": int, "project_slug": str, "timestamp": DATE, "comment": str})
FRAME = Shape({"function": str, "module": str, "filename": str, "abs_path": str, "lineno": int, "in_app": bool})
EXCEPTION = Shape({"type": str, "value": str, "stacktrace": Shape({"frames": [FRAME]})})
EVENT = Shape(
    {
        "event_id": str,
        "project": int,
        "release": MAYBE_TEXT,
        "dist": NONE,
        "platform": str,
        "message": str,
        "datetime": DATE,
        "tags": [[str]],
        "environment": MAYBE_TEXT,
        "exception": Shape({"values": [EXCEPTION]}),
        "fingerprint": [str],
        "level": str,
        "logentry": Shape({"formatted": str}),
        "logger": str,
        "received": float,
        "timestamp": float,
        "type": str,
        "user": Shape({"id": str, "email": str}),
        "version": str,
        "culprit": str,
        "title": str,
        "location": MAYBE_TEXT,
        "url": str,
        "web_url": str,
        "issue_url": str,
        "issue_id": str,
    }
)
ALERT_RULE = Shape(
    {
        "id": str,
        "name": str,
        "organization_id": str,
        "status": int,
        "query_type": int,
        "dataset": str,
        "query": str,
        "aggregate": str,
        "threshold_type": int,
        "resolve_threshold": (float, NONE),
        "time_window": float,
        "environment": MAYBE_TEXT,
        "resolution": float,
        "threshold_period": int,
        "triggers": [dict],
        "projects": [str],
        "include_all_projects": bool,
        "owner": MAYBE_TEXT,
        "original_alert_rule_id": (int, NONE),
        "comparison_delta": (float, NONE),
        "date_modified": DATE,
        "date_created": DATE,
        "created_by": (dict, NONE),
    }
)
METRIC_ALERT = Shape(
    {
        "id": str,
        "identifier": str,
        "organization_id": str,
        "projects": [str],
        "alert_rule": ALERT_RULE,
        "activities": NONE,
        "seen_by": NONE,
        "has_seen": NONE,
        "status": int,
        "status_method": int,
        "type": int,
        "title": str,
        "date_started": DATE,
        "date_detected": DATE,
        "date_created": DATE,
        "date_closed": MAYBE_DATE,
    }
)
DATA: dict[str, Shape] = {
    "issue.created": Shape({"issue": ISSUE}),
    "issue.resolved": Shape({"issue": ISSUE, "resolution_type": str}),
    "issue.assigned": Shape({"issue": ISSUE, "assignee": ASSIGNEE}),
    "issue.ignored": Shape({"issue": ISSUE}),
    "issue.archived": Shape({"issue": ISSUE}),
    "issue.unresolved": Shape({"issue": ISSUE}),
    "error.created": Shape({"error": EVENT}),
    "comment.created": COMMENT,
    "comment.updated": COMMENT,
    "comment.deleted": COMMENT,
    "event_alert.triggered": Shape({"event": EVENT, "triggered_rule": str}),
    "metric_alert.critical": Shape(
        {"metric_alert": METRIC_ALERT, "description_text": str, "description_title": str, "web_url": str}
    ),
}
DATA["metric_alert.warning"] = DATA["metric_alert.resolved"] = DATA["metric_alert.critical"]


def shape_of(name: str) -> Shape:
    """A whole webhook, by resource and action."""
    return Shape({"action": str, "installation": Shape({"uuid": str}), "data": DATA[name], "actor": ACTOR})


SERVICE_HOOK = Shape(
    {
        "id": str,
        "url": str,
        "secret": str,
        "status": str,
        "events": [frozenset({"event.alert", "event.created"})],
        "dateCreated": DATE,
    }
)
"What the API answers of a service hook."
SERVICE_HOOK_POST = Shape(
    {
        "project": Shape({"slug": str, "name": str}),
        "group": Shape(_ISSUE | {"url": str}),
        "event": Shape({"id": str, "groupID": MAYBE_TEXT, "eventID": str, "projectID": str, "url": str, "tags": list}),
    }
)
"What a service hook posts."
