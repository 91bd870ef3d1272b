"""Changes of issues: status, assignee and priority, and the webhooks that tell of them."""

from typing import Any

from service.sandbox.call import Call
from service.sandbox.hook_shapes import show_assigned
from service.sandbox.responses import invalid
from service.sandbox.shapes import show_user
from service.sandbox.structure import Issue, Organization

_SUBSTATUSES = {"resolved": None, "unresolved": "ongoing", "ignored": "archived_until_escalating"}
_ACTIONS = {"resolved": "resolved", "unresolved": "unresolved", "ignored": "archived"}
_RESOLUTIONS = {"inNextRelease": "in_next_release", "inRelease": "in_release", "inCommit": "in_commit"}


def change_issue(call: Call, issue: Issue, organization: Organization, changes: dict[str, Any]) -> None:
    """Changes an issue, and tells of what is different afterwards: of nothing, nobody is told.

    Raises a 400 for a status or an assignee that is none.
    """
    status, assignee = issue.status, issue.assignee
    if "status" in changes:
        _set_status(call, issue, changes)
    if "priority" in changes:
        issue.priority = str(changes["priority"])
    if "assignedTo" in changes:
        issue.assignee = _find_assignee(str(changes["assignedTo"] or ""), issue, organization)
    if issue.status != status:
        more = {"resolution_type": _resolution(issue)} if issue.status == "resolved" else {}
        call.announcer.issue(_ACTIONS[issue.status], issue, organization, call.user, **more)
    # That nobody is responsible any more is not told.
    if issue.assignee and issue.assignee != assignee:
        shown = show_assigned(issue, organization)
        call.announcer.issue("assigned", issue, organization, call.user, assignee=shown)


def _set_status(call: Call, issue: Issue, changes: dict[str, Any]) -> None:
    status, details = str(changes["status"]), dict(changes.get("statusDetails") or {})
    if status == "resolvedInNextRelease":
        status, details = "resolved", {"inNextRelease": True}
    if status not in _SUBSTATUSES:
        raise invalid(status=f'"{status}" is not a valid choice.')
    if details and status == "resolved" and call.user:
        details["actor"] = show_user(call.user, call.manner)
    issue.status, issue.status_details = status, details
    issue.substatus = changes.get("substatus", _SUBSTATUSES[status])


def _resolution(issue: Issue) -> str:
    return next((name for key, name in _RESOLUTIONS.items() if issue.status_details.get(key)), "now")


def _find_assignee(actor: str, issue: Issue, organization: Organization) -> tuple[str, int] | None:
    """``user:ID``, ``ID``, address or ``team:ID``; empty takes the assignee away."""
    if not actor:
        return None
    owners = set(issue.project.team_ids)
    if actor.startswith("team:"):
        number = actor.removeprefix("team:")
        if not number.isdecimal() or int(number) not in owners:
            raise invalid(assignedTo="Cannot assign to a team without access to the project")
        return "team", int(number)
    name = actor.removeprefix("user:").lower()
    for member in organization.members:
        user = member.user
        if user and name in {str(user.id), user.email.lower()}:
            if owners.isdisjoint(member.teams):
                raise invalid(assignedTo="Cannot assign to non-team member")
            return "user", user.id
    raise invalid(assignedTo="Unknown actor input")
