"""What happens in the organizations without a call of the API: errors, and the alerts that they set off."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.sandbox.announcer import Announcer
from service.sandbox.call import Call
from service.sandbox.structure import Event, Incident, Issue, Organization, Project, known
from service.sandbox.world import World

MetricAction = Literal["critical", "warning", "resolved"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event that was recorded, and its issue, which may be new."""

    event: Event
    issue: Issue
    is_new: bool


class Happenings:
    """Things that happen by themselves, with their webhooks. All raise KeyError for what is unknown.

    Projects are named by slug, issues by id, and ``organization`` is a slug.
    """

    world: World

    def blank_call(self) -> Call:
        """A call of nobody's, for what happens without one."""
        raise NotImplementedError

    def record_event(
        self,
        project: str = "checkout",
        *,
        organization: str = "lumen-labs",
        issue: int | None = None,
        kind: str = "RuntimeError",
        value: str = "something went wrong",
        level: str = "error",
        environment: str = "production",
        tags: Mapping[str, str] | None = None,
        rules: Collection[str] = (),
    ) -> Recorded:
        """An error occurs: another one of ``issue``, or of the project's issue of that kind and value, else a new one.

        A resolved issue comes back. ``rules`` are issue alert rules that it sets off, by their names.
        """
        call = self.blank_call()
        place = known(self.world.find_organization(organization, "23.7"), organization)
        # Never older than what is there already, whatever the time outside.
        now = max(call.now, call.world.now)
        found, is_new = _find_issue(place, project, issue, kind, value), False
        if found is None:
            is_new, found = True, _make_issue(self.world.new_id(), place, project, kind, value, level, now)
        event = Event(uuid.uuid4().hex, now, {**(tags or {}), "environment": environment}, str(self.world.new_id()))
        found.recorded.append(event)
        found.tags = {**found.tags, **event.tags}
        found.count, found.user_count, found.last_seen = found.count + 1, found.user_count + 1, now
        comes_back = found.status == "resolved"
        if comes_back:
            found.status, found.substatus, found.status_details = "unresolved", "regressed", {}
        self.world.changed()
        if comes_back:
            call.announcer.issue("unresolved", found, place, None)
        call.announcer.event(found, place, is_new=is_new, rules=list(rules))
        return Recorded(event, found, is_new)

    def fire_issue_alert(
        self,
        issue: int,
        rule: str = "Send a notification for new issues",
        *,
        apps: Collection[str] | None = None,
        settings: list[dict[str, Any]] | None = None,
    ) -> None:
        """An issue alert rule is set off by the newest event of an issue.

        Its actions are the apps (by slug; without them all that are installed), the project's service hooks and its
        legacy plugin. ``settings`` are what a rule of an app with settings of its own adds.
        """
        announcer = self._announcer()
        place = known(next((o for o in self.world.organizations if issue in o.issues), None), issue)
        found = place.issues[issue]
        announcer.alert(found, place, [rule], apps=apps, settings=settings)
        announcer.alert_service_hooks(found, place)

    def fire_metric_alert(
        self,
        action: MetricAction = "critical",
        project: str = "checkout",
        *,
        organization: str = "lumen-labs",
        rule: str = "Too many errors",
        apps: Collection[str] | None = None,
    ) -> Incident:
        """A metric alert opens, changes or is resolved: one incident of a rule at a time, until it is resolved."""
        call = self.blank_call()
        place = known(self.world.find_organization(organization, "23.7"), organization)
        mine = [incident for incident in place.incidents if incident.rule == rule]
        incident = next((one for one in mine if one.closed is None), None)
        if incident is None:
            number = len(place.incidents) + 1
            rule_id = mine[0].rule_id if mine else self.world.new_id()
            started = max(call.now, self.world.now)
            found = _find_project(place, project)
            incident = Incident(self.world.new_id(), number, rule_id, rule, found, started, action)
            place.incidents.append(incident)
        incident.action = action
        incident.closed = max(call.now, self.world.now) if action == "resolved" else None
        self.world.changed()
        call.announcer.metric_alert(incident, place, apps)
        return incident

    def set_plugin(self, urls: Collection[str], project: str = "checkout", *, organization: str = "lumen-labs") -> None:
        """Says where the project's legacy WebHooks plugin posts to; nowhere switches it off."""
        place = known(self.world.find_organization(organization, "23.7"), organization)
        _find_project(place, project).plugin_urls = list(urls)
        self.world.changed()

    def _announcer(self) -> Announcer:
        return self.blank_call().announcer


def _find_project(place: Organization, slug: str) -> Project:
    return known(next((project for project in place.projects if project.slug == slug), None), slug)


def _find_issue(place: Organization, project: str, number: int | None, kind: str, value: str) -> Issue | None:
    if number is not None:
        return known(place.issues.get(number), number)
    alike = (kind, value, _find_project(place, project))
    return next((one for one in place.issues.values() if (one.kind, one.value, one.project) == alike), None)


def _make_issue(number: int, place: Organization, slug: str, kind: str, value: str, level: str, now: datetime) -> Issue:
    project = _find_project(place, slug)
    numbers = [int(i.short_id.rpartition("-")[2]) for i in place.issues.values() if i.project is project]
    issue = Issue(
        id=number,
        short_id=f"{project.slug.upper()}-{max(numbers, default=0) + 1}",
        project=project,
        kind=kind,
        value=value,
        culprit="app.main in run",
        level=level,
        count=0,
        user_count=0,
        first_seen=now,
        last_seen=now,
        release=f"{project.slug}@1.2.0",
        tags={},
        customer="buyer@shop.example",
        substatus="new",
    )
    place.issues[issue.id] = issue
    return issue
