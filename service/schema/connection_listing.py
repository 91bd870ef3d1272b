"""The list of connections: keyset pages over our own database."""

from collections.abc import Sequence

import strawberry

from service.connections.models import ConnectionRecord
from service.connections.store import ConnectionFilter, ConnectionStore
from service.directory.listing import Window
from service.schema import relay
from service.schema.connection import Connection
from service.schema.context import Info
from service.schema.cursors import CursorCodec
from service.schema.inputs import ConnectionFilterInput
from service.tenants.caller import Caller


@strawberry.type(description="A connection in a list.")
class ConnectionEdge:
    """A connection in a list."""

    node: Connection = strawberry.field(description="The connection.")
    cursor: str = strawberry.field(description="The connection's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of connections, in the order in which they were linked.")
class ConnectionConnection:
    """A page of connections; Relay's name for a list of ``Connection``."""

    edges: list[ConnectionEdge] = strawberry.field(description="The connections of this page, with their cursors.")
    nodes: list[Connection] = strawberry.field(description="The connections of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")

    def __init__(
        self,
        records: Sequence[ConnectionRecord],
        *,
        scope: bytes,
        codec: CursorCodec,
        has_next: bool,
        has_previous: bool,
        wanted: ConnectionFilter,
    ) -> None:
        cursors = [codec.seal(scope, record.id) for record in records]
        self.nodes = list(records)  # type: ignore[arg-type]  # backs the type
        self.edges = [
            ConnectionEdge(node=node, cursor=cursor) for node, cursor in zip(self.nodes, cursors, strict=True)
        ]
        self.page_info = relay.PageInfo(
            has_next_page=has_next,
            has_previous_page=has_previous,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )
        self._wanted = wanted

    @strawberry.field(description="How many connections the whole list has.")
    async def total_count(self, info: Info) -> int:
        """Counted only where it is asked for."""
        return await info.context.services.connections.count(info.context.caller, self._wanted)


async def resolve_connections(
    info: Info,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    filter_: ConnectionFilterInput | None,
) -> ConnectionConnection:
    """A page of the connections that the caller sees."""
    window = Window.of(first, after, last, before, default=relay.DEFAULT_FIRST, most=relay.MOST_FIRST)
    context = info.context
    wanted = filter_.to_filter() if filter_ else ConnectionFilter()
    codec = context.services.cursors
    scope = codec.scope(context.caller.tenant_id, "connections", wanted)
    at = window.after or window.before
    place = codec.open(scope, at, str) if at is not None else None
    found = await context.services.connections.page(
        context.caller,
        wanted,
        limit=window.count + 1,
        after=place if window.after is not None else None,
        before=place if window.before is not None else None,
    )
    more = len(found) > window.count
    if window.before is not None:
        records, has_next, has_previous = found[1:] if more else found, True, more
    else:
        records, has_next, has_previous = found[: window.count], more, window.after is not None
    for record in records:
        context.loaders.connection.prime(record.id, record)
    return ConnectionConnection(
        records, scope=scope, codec=codec, has_next=has_next, has_previous=has_previous, wanted=wanted
    )


async def all_connection_ids(store: ConnectionStore, caller: Caller) -> list[str]:
    """The ids of every connection that the caller may read users of, in order."""
    found: list[str] = []
    while page := await store.page(caller, limit=500, after=found[-1] if found else None):
        found.extend(record.id for record in page)
    return found
