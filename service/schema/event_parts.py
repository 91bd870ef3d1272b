"""What typed events are made of: who did it, the issue, the single error. As the webhook's body says, at its time."""

from datetime import datetime

import strawberry

from service.directory.user import Group
from service.errors import ServiceError
from service.events.body import HookBody, JsonObject, build_issue_url
from service.schema import relay
from service.schema.context import Info
from service.schema.user import User, UserGroup


@strawberry.type(description="Whom an event names: a user, a team, an application, or Sentry itself.")
class EventActor:
    """Whom an event names."""

    connection_id: strawberry.Private[str | None]
    team: strawberry.Private[Group | None] = None
    kind: str = strawberry.field(description="What it is: `user`, `team`, `application`, or a word that is new.")
    external_id: str | None = strawberry.field(
        description="Sentry's id of the user or team, or of an application; `sentry` is Sentry itself. Of a change "
        "that an application made, Sentry names the application that the webhook is for, whichever it was."
    )
    name: str | None = strawberry.field(description="The name, where Sentry says one.")
    email: str | None = strawberry.field(description="The address, where Sentry says one.")

    @strawberry.field(
        description="The user; null where it is none or is gone, and where the connection may not read users. The "
        "users of a connection cost one call together.",
        directives=[relay.cost(2)],
    )
    async def user(self, info: Info) -> User | None:
        """The user by Sentry's user id."""
        if self.kind != "user" or self.connection_id is None or self.external_id is None:
            return None
        loaders = info.context.loaders
        if await loaders.load_connection(self.connection_id) is None:
            return None
        try:
            return await loaders.user_by_external_id.load((self.connection_id, self.external_id))  # type: ignore[return-value]  # backs the type
        except ServiceError as error:
            if error.retryable:
                raise
            return None  # the name has to do

    @strawberry.field(description="The group; null where it is no team, and where the webhook leaves out its slug.")
    def group(self) -> UserGroup | None:
        """The team."""
        return self.team  # type: ignore[return-value]  # backs the type


@strawberry.type(description="The project of an issue.")
class EventProject:
    """The project of an issue."""

    external_id: str | None = strawberry.field(description="Sentry's project id.")
    slug: str | None = strawberry.field(description="Sentry's project slug.")
    name: str | None = strawberry.field(description="The name.")


@strawberry.type(description="An issue as it was at the event. What the webhook does not say is null.")
class EventIssue:
    """An issue as it was at the event."""

    connection_id: strawberry.Private[str | None]
    stated_url: strawberry.Private[str | None]
    external_id: str | None = strawberry.field(description="Sentry's issue id.")
    short_id: str | None = strawberry.field(description="The id that people read, such as `WEB-1A`.")
    title: str | None = strawberry.field(description="The title.")
    culprit: str | None = strawberry.field(description="Where in the code it happened.")
    level: str | None = strawberry.field(description="The level, such as `error` or `fatal`.")
    status: str | None = strawberry.field(description="`unresolved`, `resolved` or `ignored` (archived).")
    substatus: str | None = strawberry.field(description="More of the status, such as `new` or `escalating`.")
    type: str | None = strawberry.field(description="The type of issue, such as `error`.")
    category: str | None = strawberry.field(description="The category of issue, such as `error` or `performance`.")
    platform: str | None = strawberry.field(description="The platform of the code.")
    first_seen: datetime | None = strawberry.field(description="When it was first seen.")
    last_seen: datetime | None = strawberry.field(description="When it had last been seen.")
    project: EventProject | None = strawberry.field(description="The project that it is in.")
    assignee: EventActor | None = strawberry.field(description="Whom it was assigned to.")

    @strawberry.field(description="The issue's page in Sentry; null where its connection is gone.")
    async def url(self, info: Info) -> str | None:
        """The page."""
        return self.stated_url or await find_issue_url(info, self.connection_id, self.external_id)


@strawberry.type(description="A tag of an error.")
class EventTag:
    """A tag of an error."""

    key: str = strawberry.field(description="The tag's key.")
    value: str = strawberry.field(description="Its value.")


@strawberry.type(description="A single error, or another event of an issue. What the webhook does not say is null.")
class EventError:
    """A single error."""

    external_id: str | None = strawberry.field(description="Sentry's event id.")
    title: str | None = strawberry.field(description="The title.")
    message: str | None = strawberry.field(description="The message.")
    culprit: str | None = strawberry.field(description="Where in the code it happened.")
    level: str | None = strawberry.field(description="The level, such as `error` or `fatal`.")
    platform: str | None = strawberry.field(description="The platform of the code.")
    environment: str | None = strawberry.field(description="The environment that it happened in.")
    release: str | None = strawberry.field(description="The release that it happened in.")
    at: datetime | None = strawberry.field(description="When it happened.")
    tags: list[EventTag] = strawberry.field(description="Its tags.")


async def find_issue_url(
    info: Info, connection_id: str | None, issue_id: str | None, event_id: str | None = None
) -> str | None:
    """The page of an issue or of an event of it, for webhooks that name none; None where the connection is gone."""
    if connection_id is None or issue_id is None:
        return None
    connection = await info.context.loaders.load_connection(connection_id)
    if connection is None:
        return None
    return build_issue_url(connection.control_origin, connection.organization_slug, issue_id, event_id)


def build_actor(connection_id: str | None, actor: JsonObject, team: Group | None = None) -> EventActor | None:
    """The actor that a body names; None where it names none."""
    kind = actor.text("type")
    if kind is None:
        return None
    return EventActor(
        connection_id=connection_id,
        team=team,
        kind=kind,
        external_id=actor.text("id"),
        name=actor.text("name"),
        email=actor.text("email"),
    )


def build_assignee(connection_id: str | None, body: HookBody) -> EventActor | None:
    """Whom an issue was assigned to. The event has a team's name, the issue its slug."""
    assignee, assigned = body.data.object("assignee"), body.issue.object("assignedTo")
    named = assignee or assigned
    slug, id_ = assigned.text("name"), named.text("id")
    is_team = named.text("type") == assigned.text("type") == "team" and id_ == assigned.text("id")
    team = None
    if is_team and connection_id is not None and slug is not None and id_ is not None:
        team = Group(connection_id, id_, slug, named.text("name") or slug)
    return build_actor(connection_id, named, team)


def build_issue(connection_id: str | None, body: HookBody) -> EventIssue | None:
    """The issue of a body; None where it holds none."""
    issue = body.issue
    if not issue:
        return None
    project = issue.object("project") or body.object("project")
    return EventIssue(
        connection_id=connection_id,
        stated_url=body.issue_url,
        external_id=issue.text("id"),
        short_id=issue.text("shortId"),
        title=issue.text("title"),
        culprit=issue.text("culprit"),
        level=issue.text("level"),
        status=issue.text("status"),
        substatus=issue.text("substatus"),
        type=issue.text("issueType"),
        category=issue.text("issueCategory"),
        platform=issue.text("platform"),
        first_seen=issue.time("firstSeen"),
        last_seen=issue.time("lastSeen"),
        project=_build_project(project) if project else None,
        assignee=build_assignee(connection_id, body),
    )


def build_error(body: HookBody) -> EventError | None:
    """The single error of a body; None where it holds none."""
    error = body.error
    if not error:
        return None
    tags = dict(error.tags)
    return EventError(
        external_id=body.error_id,
        title=error.text("title"),
        message=error.text("message"),
        culprit=error.text("culprit"),
        level=error.text("level") or tags.get("level"),
        platform=error.text("platform"),
        environment=error.text("environment") or tags.get("environment"),
        release=error.text("release") or tags.get("release"),
        at=error.time("datetime") or error.time("dateCreated"),
        tags=[EventTag(key=key, value=value) for key, value in error.tags],
    )


def _build_project(project: JsonObject) -> EventProject:
    return EventProject(external_id=project.text("id"), slug=project.text("slug"), name=project.text("name"))
