"""Changes of issues: status, assignee and priority, and the webhooks that tell of them."""

from collections.abc import Sequence
from typing import Any

from service.sandbox.call import Call
from service.sandbox.hook_shapes import show_assigned
from service.sandbox.responses import invalid
from service.sandbox.shapes import show_user
from service.sandbox.structure import Issue, Organization

_SUBSTATUSES = {"resolved": None, "unresolved": "ongoing", "ignored": "archived_until_escalating"}
_RESOLUTIONS = {"inNextRelease": "in_next_release", "inRelease": "in_release", "inCommit": "in_commit"}


def change_issues(call: Call, issues: Sequence[Issue], organization: Organization, changes: dict[str, Any]) -> None:
    """Changes issues, and tells of it. Raises a 400 for a status or an assignee that is none."""
    statuses = [issue.status for issue in issues]
    for issue in issues:
        if "status" in changes:
            _set_status(call, issue, changes)
        if "priority" in changes:
            issue.priority = str(changes["priority"])
    _tell_status(call, issues, organization, statuses, is_asked="status" in changes)
    if "assignedTo" in changes:
        for issue in issues:
            _assign(call, issue, organization, str(changes["assignedTo"] or ""))


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


def _tell_status(
    call: Call, issues: Sequence[Issue], organization: Organization, before: Sequence[str], *, is_asked: bool
) -> None:
    """Tells what became of each, as far as Sentry does.

    It tells of resolving even what was resolved already, and of archiving all if one of them was not archived yet; of
    taking an issue out of the archive it says nothing.
    """
    is_changed = any(issue.status != status for issue, status in zip(issues, before, strict=True))
    for issue, status in zip(issues, before, strict=True):
        if issue.status == "resolved" and is_asked:
            call.announcer.issue("resolved", issue, organization, call.user, resolution_type=_resolution(issue))
        elif issue.status == "ignored" and is_changed:
            call.announcer.issue("archived", issue, organization, call.user)
        elif issue.status == "unresolved" and status == "resolved":
            call.announcer.issue("unresolved", issue, organization, call.user)


def _assign(call: Call, issue: Issue, organization: Organization, actor: str) -> None:
    before, issue.assignee = issue.assignee, _find_assignee(actor, issue, organization)
    # That nobody is responsible any more is not told.
    if issue.assignee and issue.assignee != before:
        shown = show_assigned(issue, organization)
        call.announcer.issue("assigned", issue, organization, call.user, assignee=shown)


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
