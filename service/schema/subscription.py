"""The root of subscribing."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

import strawberry

from service.connections.store import ConnectionStore
from service.errors import UnknownEvent
from service.events.filters import EventFilter
from service.events.models import EventRecord
from service.events.types import EventType
from service.ids import is_event_id
from service.schema.context import Info
from service.schema.event import SentryEvent
from service.schema.event_filter import ConnectionIds, Environment, Level, Project, Types, build_event_filter
from service.schema.event_types import build_event
from service.tenants.caller import Caller

After = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="The id of the last event that was received: all events since are sent first, in order, and then "
        "each new one; none is missed and none comes twice. Without it, new events only."
    ),
]


@strawberry.type(description="Subscribing: over server-sent events, or a WebSocket with `graphql-transport-ws`.")
class Subscription:
    """The root of subscribing."""

    @strawberry.subscription(
        description="Events as they are stored, in their order. After a disconnection, subscribe again with the last "
        "event's id as `after`. Who reads too slowly is ended with `OVERFLOW`, and can go on in the same way. A caller "
        "that is narrowed to named connections is told what happens to those.",
    )
    async def events(
        self,
        info: Info,
        connection_ids: ConnectionIds = None,
        types: Types = None,
        project: Project = None,
        environment: Environment = None,
        level: Level = None,
        after: After = None,
    ) -> AsyncIterator[SentryEvent]:
        """The events."""
        context = info.context
        wanted = await build_event_filter(context, connection_ids, types, project, environment, level)
        view = CallersView(context.caller, context.services.connections, wanted)
        position = None if after is None else await _find_position(info, view, after)
        follower = await context.services.feed.follow(context.caller.tenant_id, view, after=position)
        return cast("AsyncIterator[SentryEvent]", follower)  # see install_event_resolver


def install_event_resolver(schema: strawberry.Schema) -> None:
    """Let the source of events give rows of the log: one becomes an event of the graph once for all who share it."""
    subscription = schema._schema.subscription_type  # noqa: SLF001 - where every integration finds it
    assert subscription is not None  # noqa: S101 - it is the root above
    subscription.fields["events"].resolve = lambda record, *_, **__: build_event(record)


class CallersView:
    """What one caller wants of its tenant's events, and sees: see :class:`service.events.feed.View`.

    To a narrowed caller, a connection that is linked while it subscribes may be one of those that it is narrowed to.
    """

    __slots__ = ("_caller", "_connections", "_seen", "wanted")

    def __init__(self, caller: Caller, connections: ConnectionStore, wanted: EventFilter) -> None:
        self.wanted = wanted
        self._caller = caller
        self._connections = connections
        self._seen: set[str] | None = set() if caller.is_narrowed else None

    @property
    def seen(self) -> set[str] | None:
        """The ids of the only connections whose events it may see."""
        return self._seen

    async def refresh(self) -> None:
        """Look which connections it may see now."""
        if self._seen is not None:
            self._seen = {record.id for record in await self._connections.every(self._caller)}

    def matches(self, event: EventRecord) -> bool:
        """Whether the next event passes."""
        return self.sees(event) and self.wanted.matches(event)

    def sees(self, event: EventRecord) -> bool:
        """Whether the caller may see the next event."""
        if self._seen is None:
            return True
        if event.type == EventType.LINKED and self._is_named(event):
            self._seen.add(event.connection_id or "")
        return event.connection_id in self._seen

    def _is_named(self, event: EventRecord) -> bool:
        caller = self._caller
        is_named_by_id = event.connection_id in (caller.connection_ids or ())
        return is_named_by_id or event.data.get("externalId") in (caller.external_ids or ())


async def _find_position(info: Info, view: CallersView, event_id: str) -> int:
    """The position of an event that the caller may see. Raises :class:`UnknownEvent`."""
    tenant_id = info.context.caller.tenant_id
    found = await info.context.services.events.get_many(tenant_id, [event_id]) if is_event_id(event_id) else {}
    event = found.get(event_id)
    await view.refresh()
    if event is None or not view.sees(event):
        raise UnknownEvent("There is no such event to go on after.")
    return event.position
