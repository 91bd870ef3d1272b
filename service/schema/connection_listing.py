"""The list of connections."""

from collections.abc import Awaitable

import strawberry

from service.connections.models import ConnectionRecord
from service.connections.store import ConnectionFilter
from service.directory.listing import Window
from service.schema import relay
from service.schema.connection import Connection
from service.schema.context import Info
from service.schema.inputs import ConnectionFilterInput
from service.schema.keyset import BY_ID, KeysetPage, read_page


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

    def __init__(self, page: KeysetPage[ConnectionRecord], wanted: ConnectionFilter) -> None:
        self.nodes = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        self.edges = [
            ConnectionEdge(node=node, cursor=cursor) for node, cursor in zip(self.nodes, page.cursors, strict=True)
        ]
        self.page_info = page.page_info
        self._wanted = wanted

    @strawberry.field(description="How many connections the whole list has.")
    async def total_count(self, info: Info) -> int:
        """Counted only where it is asked for."""
        return await info.context.services.connections.count(info.context.caller, self._wanted)


async def resolve_connections(
    info: Info, window: Window, filter_: ConnectionFilterInput | None
) -> ConnectionConnection:
    """A page of the connections that the caller sees."""
    context = info.context
    store, caller, codec = context.services.connections, context.caller, context.services.cursors
    wanted = filter_.to_filter() if filter_ else ConnectionFilter()

    def read(limit: int, after: str | None, before: str | None) -> Awaitable[list[ConnectionRecord]]:
        return store.page(caller, wanted, limit=limit, after=after, before=before)

    page = await read_page(window, codec, codec.scope(caller.tenant_id, "connections", wanted), read, BY_ID)
    for record in page.rows:
        context.loaders.connection.prime(record.id, record)
    return ConnectionConnection(page, wanted)
