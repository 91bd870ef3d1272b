"""Webhooks in quarantine, as the tenant of their receiver sees them."""

from datetime import datetime

import strawberry

from service.connections.receiver_models import QuarantineReason, QuarantineRecord
from service.directory.listing import Window
from service.schema import relay
from service.schema.context import Info
from service.schema.keyset import BY_ID, KeysetPage, read_page
from service.tenants.caller import Role


@strawberry.type(
    description="A webhook that was genuine and is not an event, since it does not belong to the connection that it "
    "came to. Its body is not shown."
)
class QuarantinedWebhook:
    """A webhook in quarantine."""

    id: strawberry.ID = strawberry.field(description="Its id.")
    reason: QuarantineReason = strawberry.field(description="Why it is not an event of the connection.")
    type: str = strawberry.field(description="What it would have been, such as `issue.created`.")
    connection_id: strawberry.ID | None = strawberry.field(description="The connection that it came to.")
    receiver_id: strawberry.ID | None = strawberry.field(
        description="The receiver that it came to; null where it came from a public integration."
    )
    installation_id: str | None = strawberry.field(description="The installation that it names.")

    @strawberry.field(description="When it came.")
    def received_at(record: strawberry.Parent[QuarantineRecord]) -> datetime:
        """When it came."""
        return record.created_at


@strawberry.type(description="A webhook in quarantine, in a list.")
class QuarantinedWebhookEdge:
    """A webhook in quarantine, in a list."""

    node: QuarantinedWebhook = strawberry.field(description="The webhook.")
    cursor: str = strawberry.field(description="The webhook's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of webhooks in quarantine, the newest first.")
class QuarantinedWebhookConnection:
    """A page of webhooks in quarantine."""

    edges: list[QuarantinedWebhookEdge] = strawberry.field(description="The webhooks of this page, with their cursors.")
    nodes: list[QuarantinedWebhook] = strawberry.field(description="The webhooks of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, page: KeysetPage[QuarantineRecord]) -> "QuarantinedWebhookConnection":
        """The page of these rows."""
        nodes: list[QuarantinedWebhook] = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        edges = [
            QuarantinedWebhookEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)
        ]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info)


async def resolve_webhook_quarantine(info: Info, window: Window) -> QuarantinedWebhookConnection:
    """A page of the tenant's; to a narrowed caller, of those that came to connections that it sees now."""
    services, caller = info.context.services, info.context.caller
    caller.require(Role.ADMIN)
    seen = None
    if caller.is_narrowed:
        seen = frozenset(record.id for record in await services.connections.every(caller))

    async def read(limit: int, after: str | None, before: str | None) -> list[QuarantineRecord]:
        return await services.quarantine.page(caller.tenant_id, seen=seen, limit=limit, after=after, before=before)

    scope = services.cursors.scope(caller.tenant_id, "webhookQuarantine")
    return QuarantinedWebhookConnection.of(await read_page(window, services.cursors, scope, read, BY_ID))
