"""Who is told of what happens: the apps installed in an organization, a project's service hooks, its legacy plugin."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.sandbox import hook_shapes as shapes
from service.sandbox.deliveries import Delivery, Policy, sign
from service.sandbox.webhooks import Webhooks
from service.sandbox.world import (
    App,
    Comment,
    Incident,
    Installation,
    Issue,
    Manner,
    Organization,
    ServiceHook,
    User,
    World,
)

_AGENT = "sentry/sandbox (made up)"
_RETRIES = 3
_SERVICE_HOOK = Policy(timeout=5.0, retries=5)
"A service hook's answer is not looked at: only one that never comes is asked for again."
_PLUGIN = Policy(timeout=5.0)
_OLD_ISSUE_ACTIONS = {"created", "resolved", "ignored", "assigned"}


@dataclass(frozen=True, slots=True)
class Announcer:
    """Tells of what happened. ``base`` is the server's own URL; ``by`` is who did it, None being Sentry itself."""

    world: World
    manner: Manner
    base: str
    webhooks: Webhooks

    def installation(self, installation: Installation, action: str, shown: Mapping[str, Any], by: User | None) -> None:
        """Tells an app what became of an installation; the first it hears of it, so even while that is pending."""
        self._tell(installation, "installation", action, {"installation": shown}, by)

    def issue(self, action: str, issue: Issue, organization: Organization, by: User | None, **more: object) -> None:
        """Tells of an issue that was changed: ``resolved``, ``assigned``, ``archived`` or ``unresolved``.

        An old server calls archiving ``ignored``, and says nothing of an issue that is unresolved again.
        """
        if self.manner == "23.7" and action == "archived":
            action = "ignored"
        show = shapes.show_new_issue if action == "created" else shapes.show_hook_issue
        if self.manner == "latest" or action in _OLD_ISSUE_ACTIONS:
            shown = show(issue, organization, self.base, self.manner)
            self._tell_subscribers(organization, "issue", action, {**more, "issue": shown}, by)

    def comment(self, action: str, comment: Comment, issue: Issue, organization: Organization, by: User | None) -> None:
        """Tells of a comment: ``created``, ``updated`` or ``deleted``."""
        shown = shapes.show_hook_comment(comment, issue)
        self._tell_subscribers(organization, "comment", action, shown, by)

    def event(self, issue: Issue, organization: Organization, *, is_new: bool, rules: list[str]) -> None:
        """Tells of the issue's newest event, and of the issue if it is new; ``rules`` are the alert rules it fired."""
        self.alert(issue, organization, rules, apps=None, settings=None)
        names = {"event.created", "event.alert"} if rules else {"event.created"}
        self._tell_service_hooks(issue, organization, names)
        error = shapes.show_hook_event(issue, 0, organization, self.base, self.manner)
        self._tell_subscribers(organization, "error", "created", {"error": error}, None)
        if is_new:
            self.issue("created", issue, organization, None)

    def alert(
        self,
        issue: Issue,
        organization: Organization,
        rules: list[str],
        *,
        apps: Iterable[str] | None,
        settings: list[dict[str, Any]] | None,
    ) -> None:
        """Tells the apps (by slug; all, where None) and the legacy plugin that rules fired for the newest event."""
        if not rules:
            return
        shown = shapes.show_hook_event(issue, 0, organization, self.base, self.manner)
        for rule in rules:
            data: dict[str, Any] = {"event": shown, "triggered_rule": rule}
            if settings:
                data["issue_alert"] = {"title": rule, "settings": settings}
            for installation in self._alertable(organization, apps):
                self._tell(installation, "event_alert", "triggered", data, None)
        post = shapes.show_plugin_post(issue, 0, organization, self.base, self.manner, rules)
        for url in issue.project.plugin_urls:
            self._send(url, "plugin", "post", post, lambda _: _plain_headers(), _PLUGIN)

    def alert_service_hooks(self, issue: Issue, organization: Organization) -> None:
        """Tells the service hooks that wait for alerts of the newest event."""
        self._tell_service_hooks(issue, organization, {"event.alert"})

    def metric_alert(self, incident: Incident, organization: Organization, apps: Iterable[str] | None) -> None:
        """Tells the apps (by slug; all, where None) what became of a metric alert."""
        data = shapes.show_metric_alert(incident, organization, self.base)
        for installation in self._alertable(organization, apps):
            self._tell(installation, "metric_alert", incident.action, data, None)

    def _alertable(self, organization: Organization, slugs: Iterable[str] | None) -> list[Installation]:
        wanted = None if slugs is None else set(slugs)
        installed = self._installed(organization)
        return [i for i in installed if i.app.is_alertable and (wanted is None or i.app.slug in wanted)]

    def _installed(self, organization: Organization) -> list[Installation]:
        found = (app.installation_in(organization) for app in self.world.apps if app.is_active)
        return [installation for installation in found if installation and installation.status == "installed"]

    def _tell_subscribers(
        self, organization: Organization, resource: str, action: str, data: Mapping[str, Any], by: User | None
    ) -> None:
        for installation in self._installed(organization):
            if installation.app.hears(resource):
                self._tell(installation, resource, action, data, by)

    def _tell(
        self, installation: Installation, resource: str, action: str, data: Mapping[str, Any], by: User | None
    ) -> None:
        app = installation.app
        if app.webhook_url is None:
            return
        maker = next((other for other in self.world.apps if other.user is by), None)
        payload = {
            "action": action,
            "installation": {"uuid": installation.uuid},
            "data": data,
            "actor": shapes.show_actor(by, maker, app),
        }
        self._send(app.webhook_url, resource, action, payload, self._app_headers(app, resource), self._policy(app))

    def _policy(self, app: App) -> Policy:
        """What goes wrong with an app that is not published is swallowed: nothing is retried."""
        timeout = 5.0 if self.manner == "23.7" else 1.0
        return Policy(timeout, _RETRIES, retries_statuses=True) if app.is_published else Policy(timeout)

    def _app_headers(self, app: App, resource: str) -> Callable[[bytes], dict[str, str]]:
        secret, clock = app.client_secret, self.webhooks.clock
        return lambda body: {
            **_plain_headers(),
            "request-id": uuid.uuid4().hex,
            "sentry-hook-resource": resource,
            "sentry-hook-timestamp": str(int(clock())),
            "sentry-hook-signature": sign(secret, body),
        }

    def _tell_service_hooks(self, issue: Issue, organization: Organization, names: set[str]) -> None:
        hooks = [hook for hook in issue.project.hooks if not names.isdisjoint(hook.events)]
        if not hooks:
            return
        payload = shapes.show_service_hook(issue, 0, organization, self.base, self.manner)
        for hook in hooks:
            # One post an event, whichever of the two it waits for.
            name = min(names.intersection(hook.events))
            self._send(hook.url, "service_hook", name, payload, self._hook_headers(hook), _SERVICE_HOOK)

    def _hook_headers(self, hook: ServiceHook) -> Callable[[bytes], dict[str, str]]:
        guid, secret, clock = hook.guid, hook.secret, self.webhooks.clock
        return lambda body: {
            **_plain_headers(),
            "x-servicehook-timestamp": str(int(clock())),
            "x-servicehook-guid": guid,
            "x-servicehook-signature": sign(secret, body),
        }

    def _send(
        self,
        url: str,
        resource: str,
        action: str,
        payload: Mapping[str, Any],
        headers: Callable[[bytes], dict[str, str]],
        policy: Policy,
    ) -> None:
        self.webhooks.send(Delivery(url, resource, action, msgspec.json.encode(payload), headers, policy))


def _plain_headers() -> dict[str, str]:
    return {"content-type": "application/json", "user-agent": _AGENT}
