"""Events that no webhook told of, in the shape that it would have had. Pure."""

from typing import Any

import msgspec

from service.events.append import NewEvent
from service.repair.rules import ASSIGNED, RESOLVED
from service.sentry.hooks import read_app_hook
from service.sentry.issues import IssueRow

ACTOR = {"type": "application", "id": "sentry-graph", "name": "Sentry Graph"}
"""Who tells: who did it, Sentry's list of issues does not say."""

_ONLY_IN_LISTS = ("stats", "lifetime", "filtered")
_RESOLUTIONS = {"inNextRelease": "in_next_release", "inRelease": "in_release", "inCommit": "in_commit"}

_Fields = dict[str, msgspec.Raw]


def build_event(
    type_: str, row: IssueRow, *, tenant_id: str, connection_id: str, installation_id: str | None
) -> NewEvent:
    """The event of that type (``issue.resolved``, …) that a row of Sentry's list of issues gives rise to."""
    action = type_.partition(".")[2]
    body = msgspec.json.encode(
        {
            "action": action,
            "installation": {"uuid": installation_id},
            "data": {**_describe(type_, row), "issue": _build_issue(row)},
            "actor": ACTOR,
        }
    )
    hook = read_app_hook({}, body)
    return NewEvent(
        tenant_id,
        type_,
        connection_id,
        issue_id=row.issue.id,
        project_id=hook.project_id,
        project_slug=hook.project_slug,
        level=hook.level,
        is_synthetic=True,
        body=body,
    )


def _build_issue(row: IssueRow) -> _Fields:
    """The issue as webhooks show it: with the figures of its whole life, and without those of a list."""
    fields = msgspec.json.decode(row.body, type=_Fields)
    life = fields.get("lifetime")
    figures = msgspec.json.decode(life, type=_Fields | None) if life is not None else None
    kept = {name: value for name, value in fields.items() if name not in _ONLY_IN_LISTS}
    return kept | {name: value for name, value in (figures or {}).items() if name in kept}


def _describe(type_: str, row: IssueRow) -> dict[str, Any]:
    """What webhooks of this type have beside the issue."""
    if type_ == RESOLVED:
        details = row.issue.status_details or {}
        return {"resolution_type": next((word for key, word in _RESOLUTIONS.items() if key in details), "now")}
    if type_ == ASSIGNED and (who := row.issue.assigned_to) is not None:
        number = int(who.id) if who.id.isdecimal() else who.id  # in issues it is a text
        email = {"email": who.email} if who.email is not None else {}
        return {"assignee": {"type": who.type, "id": number, "name": who.name, **email}}
    return {}
