"""The ``SentryEvent`` interface: what every event says. Its types are in :mod:`service.schema.event_types`."""

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import msgspec
import strawberry

from service.errors import UpstreamInvalid
from service.events.body import HookBody
from service.events.models import EventRecord
from service.proxy.bodies import scan_json
from service.schema import relay
from service.schema.context import Info
from service.schema.event_parts import EventActor, build_actor, find_issue_url
from service.schema.scalars import JSON

if TYPE_CHECKING:
    from service.schema.connection import Connection


@strawberry.interface(
    description="Something that happened: in a linked Sentry, as its webhooks tell or a comparison with it found out, "
    "or to a connection itself. `type` tells what; a type that this graph does not know yet is an `OtherEvent`."
)
class SentryEvent(relay.Node):
    """Something that happened."""

    record: strawberry.Private[EventRecord]
    type: str = strawberry.field(
        description="What happened: Sentry's resource and action, such as `issue.resolved` or `comment.created`, or "
        "one of ours such as `connection.needs_reauth`."
    )
    at: datetime = strawberry.field(description="When it was stored here.")
    sequence: int | None = strawberry.field(
        description="Counts the connection's events from 1 without gaps, in the order of `events`; null without one."
    )
    synthetic: bool = strawberry.field(
        description="Whether no webhook told of it: a comparison with Sentry found it. `payload` has a webhook's shape."
    )
    repeat_of: strawberry.ID | None = strawberry.field(
        description="The id of the event of this connection with the same body within the day before: Sentry may send "
        "a webhook again."
    )
    connection_id: strawberry.ID | None = strawberry.field(
        description="The connection's id; the connection may be gone by now."
    )
    issue_id: str | None = strawberry.field(description="Sentry's id of the issue that it is about.")
    project_id: str | None = strawberry.field(description="Sentry's id of the project, where it says it.")
    project_slug: str | None = strawberry.field(description="The project's slug, where it says it.")
    environment: str | None = strawberry.field(description="The environment, where it says it.")
    level: str | None = strawberry.field(description="The level, such as `error` or `fatal`, where it says it.")

    @strawberry.field(description="The connection; null where it is gone.")
    async def connection(
        self, info: Info
    ) -> Annotated["Connection", strawberry.lazy("service.schema.connection")] | None:
        """The connection."""
        if self.connection_id is None:
            return None
        return await info.context.loaders.load_connection(self.connection_id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(description="Who did it; null where the webhook does not say, and of our own events.")
    def actor(self) -> EventActor | None:
        """Who did it."""
        return build_actor(self.connection_id, self.body.object("actor"))

    @strawberry.field(
        description="Its page in Sentry: of the alert, the single error or the issue. Filled in where the webhook "
        "leaves it out; null of our own events."
    )
    async def url(self, info: Info) -> str | None:
        """The page."""
        body = self.body
        if self.record.body is None:
            return None
        return body.url or await find_issue_url(info, self.connection_id, self.issue_id, body.error_id)

    @strawberry.field(
        description="The webhook's body, untouched; of our own events, an object of what is known beside the fields "
        "here. A body that is no JSON comes as a string."
    )
    def payload(self) -> JSON:
        """The body, spliced into the answer as it is."""
        body = self.record.body
        if body is None:
            return JSON(self.record.data)
        try:
            return JSON(msgspec.Raw(scan_json(body).text))
        except UpstreamInvalid:
            return JSON(str(body, "utf-8", "replace"))

    @cached_property
    def body(self) -> HookBody:
        """The payload, to be read from."""
        record = self.record
        return HookBody(msgspec.json.encode(record.data) if record.body is None else record.body)
