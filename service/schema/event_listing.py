"""The list of events."""

from collections.abc import Awaitable
from datetime import datetime
from operator import attrgetter

import strawberry

from service.directory.listing import Window
from service.events.filters import EventFilter
from service.events.models import EventRecord
from service.schema import relay
from service.schema.context import Info
from service.schema.event import SentryEvent
from service.schema.event_filter import find_seen
from service.schema.event_types import build_event
from service.schema.keyset import Key, KeysetPage, read_page

MOST_EVENTS = 100
"""Events on a page at most: each may have a body of a megabyte."""

_BY_POSITION: Key[EventRecord, int] = Key(int, attrgetter("position"), end=2**63 - 1)


@strawberry.type(description="An event in a list.")
class SentryEventEdge:
    """An event in a list."""

    node: SentryEvent = strawberry.field(description="The event.")
    cursor: str = strawberry.field(description="The event's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of events, the oldest first.")
class SentryEventConnection:
    """A page of events."""

    edges: list[SentryEventEdge] = strawberry.field(description="The events of this page, with their cursors.")
    nodes: list[SentryEvent] = strawberry.field(description="The events of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, page: KeysetPage[EventRecord]) -> "SentryEventConnection":
        """The page of these rows."""
        nodes = [build_event(record) for record in page.rows]
        edges = [SentryEventEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info)


async def resolve_events(
    info: Info, window: Window, wanted: EventFilter, since: datetime | None
) -> SentryEventConnection:
    """A page of the tenant's events; to a narrowed caller, of the connections that it sees now.

    Raises :class:`InvalidCursor`.
    """
    services, caller = info.context.services, info.context.caller
    seen = await find_seen(info.context)

    def read(limit: int, after: int | None, before: int | None) -> Awaitable[list[EventRecord]]:
        return services.events.page(
            caller.tenant_id, wanted, seen=seen, since=since, limit=limit, after=after, before=before
        )

    scope = services.cursors.scope(caller.tenant_id, "events", wanted, since)
    return SentryEventConnection.of(await read_page(window, services.cursors, scope, read, _BY_POSITION))
