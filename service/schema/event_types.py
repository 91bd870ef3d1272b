"""The types of events, chosen by resource and action together."""

from collections.abc import Mapping
from datetime import datetime

import strawberry

from service.connections.models import ConnectionProblem
from service.connections.problems import explain
from service.events.models import EventRecord
from service.events.types import EventType
from service.schema.context import Info
from service.schema.event import SentryEvent
from service.schema.event_parts import (
    EventActor,
    EventError,
    EventIssue,
    build_assignee,
    build_error,
    build_issue,
)
from service.schema.link_session import LinkSession, load_open_link_session


@strawberry.interface(description="Something that happened to an issue as a whole.")
class IssueEvent(SentryEvent):
    """Something that happened to an issue as a whole."""

    @strawberry.field(description="The issue as it was then.")
    def issue(self) -> EventIssue | None:
        """The issue."""
        return build_issue(self.connection_id, self.body)


@strawberry.type(description="`issue.created`: an issue was seen for the first time.")
class IssueCreatedEvent(IssueEvent):
    """An issue was seen for the first time."""


@strawberry.type(description="`issue.resolved`: an issue was resolved.")
class IssueResolvedEvent(IssueEvent):
    """An issue was resolved."""

    @strawberry.field(
        description="How: `now`, `in_next_release`, `in_release`, `in_commit`, `with_commit`, `with_third_party_app`."
    )
    def resolution_type(self) -> str | None:
        """How it was resolved."""
        return self.body.data.text("resolution_type")


@strawberry.type(description="`issue.assigned`: an issue was assigned.")
class IssueAssignedEvent(IssueEvent):
    """An issue was assigned."""

    @strawberry.field(description="Whom it was assigned to: a user or a team.")
    def assignee(self) -> EventActor | None:
        """Whom it was assigned to."""
        return build_assignee(self.connection_id, self.body)


@strawberry.type(
    description="`issue.archived`: an issue was archived. Older servers call it ignored, newer ones send both words."
)
class IssueArchivedEvent(IssueEvent):
    """An issue was archived."""


@strawberry.type(description="`issue.unresolved`: an issue was opened again, by somebody or because it came back.")
class IssueUnresolvedEvent(IssueEvent):
    """An issue was opened again."""


@strawberry.type(description="`error.created`: a single error was recorded. Sentry sends these on some plans only.")
class ErrorCreatedEvent(SentryEvent):
    """A single error was recorded."""

    @strawberry.field(description="The error.")
    def error(self) -> EventError | None:
        """The error."""
        return build_error(self.body)


@strawberry.type(
    description="`comment.created`, `comment.updated` or `comment.deleted`: of a comment on an issue (`issueId`)."
)
class CommentEvent(SentryEvent):
    """A comment was made, changed or deleted."""

    @strawberry.field(description="Sentry's id of the comment.")
    def comment_id(self) -> str | None:
        """The comment's id."""
        return self.body.data.text("comment_id")

    @strawberry.field(description="The comment's text.")
    def text(self) -> str | None:
        """The text."""
        return self.body.data.text("comment")


@strawberry.type(description="`event_alert.triggered`: an issue alert rule fired.")
class EventAlertEvent(SentryEvent):
    """An issue alert rule fired."""

    @strawberry.field(description="The name of the rule that fired.")
    def rule(self) -> str | None:
        """The rule's name."""
        return self.body.data.text("triggered_rule")

    @strawberry.field(description="The title that the rule gives its alerts, where it has settings for this one.")
    def title(self) -> str | None:
        """The alert's title."""
        return self.body.data.object("issue_alert").text("title")

    @strawberry.field(description="The error that it fired for.")
    def error(self) -> EventError | None:
        """The error."""
        return build_error(self.body)


@strawberry.type(
    description="`event.created`: a service hook told of an error, either each one or those that an alert rule fired "
    "for; Sentry does not say which."
)
class ServiceHookEvent(IssueEvent):
    """A service hook told of an error."""

    @strawberry.field(description="The error.")
    def error(self) -> EventError | None:
        """The error."""
        return build_error(self.body)


@strawberry.type(
    description="`event.alert`: an issue alert rule fired, as the legacy WebHooks plugin tells. Nobody has signed it."
)
class LegacyAlertEvent(SentryEvent):
    """An issue alert rule fired, as the legacy plugin tells."""

    @strawberry.field(description="The names of the rules that fired.")
    def rules(self) -> list[str]:
        """The rules' names."""
        return self.body.texts("triggering_rules")

    @strawberry.field(description="The error's message.")
    def message(self) -> str | None:
        """The message."""
        return self.body.text("message")

    @strawberry.field(description="The error that it fired for.")
    def error(self) -> EventError | None:
        """The error."""
        return build_error(self.body)


@strawberry.type(
    description="`metric_alert.critical`, `metric_alert.warning`, `metric_alert.resolved` or `metric_alert.open`: a "
    "metric alert changed."
)
class MetricAlertEvent(SentryEvent):
    """A metric alert changed."""

    @strawberry.field(description="What it became: `critical`, `warning`, `resolved` or `open`.")
    def status(self) -> str:
        """The action."""
        return self.type.rpartition(".")[2]

    @strawberry.field(description="Sentry's id of the incident.")
    def alert_id(self) -> str | None:
        """The incident's id."""
        return self.body.data.object("metric_alert").text("id")

    @strawberry.field(description="The name of the rule.")
    def rule(self) -> str | None:
        """The rule's name."""
        alert = self.body.data.object("metric_alert")
        return alert.object("alert_rule").text("name") or alert.text("title")

    @strawberry.field(description="What happened, in a few words.")
    def title(self) -> str | None:
        """The alert's title."""
        return self.body.data.text("description_title") or self.body.data.object("metric_alert").text("title")

    @strawberry.field(description="What happened, in a sentence.")
    def description(self) -> str | None:
        """The alert's text."""
        return self.body.data.text("description_text")


@strawberry.type(
    description="`installation.created` or `installation.deleted`: the integration was installed or uninstalled."
)
class InstallationEvent(SentryEvent):
    """The integration was installed or uninstalled."""

    @strawberry.field(description="Sentry's id of the installation.")
    def installation_id(self) -> str | None:
        """The installation's id."""
        return self.body.data.object("installation").text("uuid") or self.body.object("installation").text("uuid")

    @strawberry.field(description="The slug of the organization.")
    def organization(self) -> str | None:
        """The organization's slug."""
        return self.body.data.object("installation").object("organization").text("slug")

    @strawberry.field(description="The slug of the integration.")
    def app(self) -> str | None:
        """The integration's slug."""
        return self.body.data.object("installation").object("app").text("slug")


@strawberry.type(
    description="`connection.linked`, `connection.relinked`, `connection.needs_reauth`, `connection.recovered` or "
    "`connection.unlinked`: what happened to the connection."
)
class ConnectionEvent(SentryEvent):
    """What happened to the connection."""

    @strawberry.field(description="What is or was wrong: of `needs_reauth` and `recovered`.")
    def problem(self) -> ConnectionProblem | None:
        """The problem."""
        return _find_problem(self)

    @strawberry.field(description="The problem in a sentence.")
    def reason(self) -> str | None:
        """Why."""
        problem = _find_problem(self)
        return None if problem is None else explain(problem).reason

    @strawberry.field(
        description="The latest link session of the connection that is open now, to link it again by; null where there "
        "is none, and to callers without the role `admin`."
    )
    async def link_session(self, info: Info) -> LinkSession | None:
        """A session that is ready to send."""
        if self.connection_id is None:
            return None
        connection = await info.context.loaders.load_connection(self.connection_id)
        return None if connection is None else await load_open_link_session(connection, info)


@strawberry.type(
    description="`webhooks.silent`: a connection that used to send webhooks sends none, while its issues change. "
    "`webhooks.resumed`: it does again."
)
class WebhooksEvent(SentryEvent):
    """A connection's webhooks stopped or came back."""

    @strawberry.field(description="When the last webhook came.")
    def last_received_at(self) -> datetime | None:
        """The last webhook."""
        return self.body.time("lastReceivedAt")

    @strawberry.field(description="Since when it had been silent, once it does again.")
    def silent_since(self) -> datetime | None:
        """The beginning of the silence."""
        return self.body.time("silentSince")


@strawberry.type(
    description="`webhook_endpoint.disabled`: an endpoint of yours failed too long and is delivered to no more. "
    "`webhook_endpoint.test`: a delivery that was asked for to try an endpoint."
)
class WebhookEndpointEvent(SentryEvent):
    """What happened to a webhook endpoint."""

    @strawberry.field(description="The endpoint's id.")
    def endpoint_id(self) -> strawberry.ID | None:
        """The endpoint's id."""
        return self.body.text("endpointId")  # type: ignore[return-value]  # an ID is a str

    @strawberry.field(description="Why it was disabled, in a word.")
    def reason(self) -> str | None:
        """The reason."""
        return self.body.text("reason")


@strawberry.type(description="An event of a type that this graph has no fields for: see `type` and `payload`.")
class OtherEvent(SentryEvent):
    """An event of a type without fields of its own."""


BY_TYPE: Mapping[str, type[SentryEvent]] = {
    "issue.created": IssueCreatedEvent,
    "issue.resolved": IssueResolvedEvent,
    "issue.assigned": IssueAssignedEvent,
    "issue.archived": IssueArchivedEvent,
    "issue.unresolved": IssueUnresolvedEvent,
    "error.created": ErrorCreatedEvent,
    **dict.fromkeys(("comment.created", "comment.updated", "comment.deleted"), CommentEvent),
    "event_alert.triggered": EventAlertEvent,
    "event.created": ServiceHookEvent,
    "event.alert": LegacyAlertEvent,
    **dict.fromkeys(
        ("metric_alert.critical", "metric_alert.warning", "metric_alert.resolved", "metric_alert.open"),
        MetricAlertEvent,
    ),
    **dict.fromkeys(("installation.created", "installation.deleted"), InstallationEvent),
    **dict.fromkeys(
        (
            EventType.LINKED,
            EventType.RELINKED,
            EventType.NEEDS_REAUTH,
            EventType.RECOVERED,
            EventType.UNLINKED,
        ),
        ConnectionEvent,
    ),
    **dict.fromkeys((EventType.WEBHOOKS_SILENT, EventType.WEBHOOKS_RESUMED), WebhooksEvent),
    **dict.fromkeys((EventType.ENDPOINT_DISABLED, EventType.ENDPOINT_TEST), WebhookEndpointEvent),
}

_PROBLEMS = {each.value: each for each in ConnectionProblem}

EVENT_TYPES = (*dict.fromkeys(BY_TYPE.values()), OtherEvent)
"""All types that implement :class:`SentryEvent`: only some are reached from a field by name."""


def _find_problem(event: ConnectionEvent) -> ConnectionProblem | None:
    return _PROBLEMS.get(event.body.text("problem") or "")


def build_event(record: EventRecord) -> SentryEvent:
    """The event in the graph's type for it."""
    return BY_TYPE.get(record.type, OtherEvent)(
        record=record,
        id=strawberry.ID(record.id),
        type=record.type,
        at=record.created_at,
        sequence=record.sequence,
        synthetic=record.is_synthetic,
        repeat_of=record.repeat_of,  # type: ignore[arg-type]  # an ID is a str
        connection_id=record.connection_id,  # type: ignore[arg-type]
        issue_id=record.issue_id,
        project_id=record.project_id,
        project_slug=record.project_slug,
        environment=record.environment,
        level=record.level,
    )
