"""Webhooks' bodies in the shapes that Sentry sends, with what a test wants to be different."""

import json
from typing import Any

from hypothesis import strategies as st

USER = {"type": "user", "id": 7, "name": ""}
SENTRY = {"type": "application", "id": "sentry", "name": "Sentry"}


def issue(**changes: Any) -> dict[str, Any]:
    """An issue as a server of 23.7 puts it into webhooks."""
    return {
        "id": "121",
        "shareId": None,
        "shortId": "WEB-3",
        "title": "RuntimeError: out of cheese",
        "culprit": "shop.till in pay",
        "permalink": None,
        "logger": None,
        "level": "error",
        "status": "unresolved",
        "statusDetails": {},
        "substatus": "new",
        "isPublic": False,
        "platform": "python",
        "project": {"id": "5", "name": "Web", "slug": "web", "platform": "python"},
        "type": "error",
        "metadata": {"type": "RuntimeError", "value": "out of cheese"},
        "numComments": 0,
        "assignedTo": None,
        "annotations": [],
        "issueType": "error",
        "issueCategory": "error",
        "count": "3",
        "userCount": 2,
        "firstSeen": "2026-11-20T10:00:00.250000Z",
        "lastSeen": "2026-11-23T04:27:35+00:00",
    } | changes


def error(**changes: Any) -> dict[str, Any]:
    """A single error as ``error`` and ``event_alert`` carry it."""
    return {
        "event_id": "881c843374544da2a89b264b442b9f7b",
        "project": 5,
        "release": "web@1.2",
        "platform": "python",
        "message": "out of cheese",
        "datetime": "2026-11-23T04:27:35.472686Z",
        "tags": [["level", "fatal"], ["feature", "till-2"], ["odd"]],
        "environment": "production",
        "exception": {"values": [{"type": "RuntimeError", "value": "out of cheese"}]},
        "level": "fatal",
        "timestamp": 1795408055.472686,
        "type": "error",
        "culprit": "shop.till in pay",
        "title": "RuntimeError",
        "url": "https://sentry.example/api/0/projects/acme/web/events/881c843374544da2a89b264b442b9f7b/",
        "web_url": "https://sentry.example/organizations/acme/issues/121/events/881c843374544da2a89b264b442b9f7b/",
        "issue_url": "https://sentry.example/api/0/issues/121/",
        "issue_id": "121",
    } | changes


def hook(action: str, actor: dict[str, Any] | None = SENTRY, **data: Any) -> bytes:
    """The body of an integration's webhook."""
    envelope = {"action": action, "installation": {"uuid": "9835f3cb-d609-48bc-835b-3aedafccff28"}, "data": data}
    return json.dumps(envelope | ({"actor": actor} if actor else {}), separators=(",", ":")).encode()


_NAMES = [
    *("action", "actor", "assignedTo", "assignee", "data", "datetime", "email", "error", "event", "firstSeen", "group"),
    *(
        "id",
        "issue",
        "key",
        "level",
        "name",
        "permalink",
        "project",
        "tags",
        "title",
        "type",
        "url",
        "value",
        "web_url",
    ),
]
any_body = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["team", "user", "https://x/"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=3), inner, max_size=8)
    ),
    max_leaves=30,
).map(lambda content: json.dumps(content).encode())
"""JSON of any kind, with the names that matter."""
