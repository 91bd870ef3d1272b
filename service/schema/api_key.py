"""The ``ApiKey`` type, and the tenant's keys as a list."""

from datetime import datetime

import strawberry

from service.directory.listing import Window
from service.schema import relay
from service.schema.context import Info
from service.schema.keyset import BY_ID, KeysetPage, read_page
from service.tenants.caller import Caller, Role
from service.tenants.models import ApiKeyRecord


@strawberry.type(description="An API key, without the key itself.")
class ApiKey:
    """An API key."""

    id: strawberry.ID = strawberry.field(description="The key's id.")
    name: str = strawberry.field(description="What the key is for.")
    prefix: str = strawberry.field(description="How the key begins, after `sg_`.")
    role: Role = strawberry.field(description="What its holder may do.")
    connection_ids: list[strawberry.ID] | None = strawberry.field(description="The connections it is narrowed to.")
    external_ids: list[strawberry.ID] | None = strawberry.field(description="The externalIds it is narrowed to.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="When it stops working; null if never.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, give or take seconds.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked; null while it works.")


@strawberry.type(description="An API key in a list.")
class ApiKeyEdge:
    """An API key in a list."""

    node: ApiKey = strawberry.field(description="The key.")
    cursor: str = strawberry.field(description="The key's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of API keys, the oldest first.")
class ApiKeyConnection:
    """A page of API keys."""

    edges: list[ApiKeyEdge] = strawberry.field(description="The keys of this page, with their cursors.")
    nodes: list[ApiKey] = strawberry.field(description="The keys of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")
    total_count: int = strawberry.field(description="How many keys the tenant has, revoked ones too.")

    @classmethod
    def of(cls, page: KeysetPage[ApiKeyRecord], total_count: int) -> "ApiKeyConnection":
        """The page of these rows."""
        nodes: list[ApiKey] = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        edges = [ApiKeyEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info, total_count=total_count)


def require_key_admin(caller: Caller) -> None:
    """Keys are the whole tenant's matter. Raises :class:`Forbidden`."""
    caller.require(Role.ADMIN)
    caller.require_whole_tenant()


async def resolve_api_keys(info: Info, window: Window) -> ApiKeyConnection:
    """A page of the tenant's keys."""
    caller, codec = info.context.caller, info.context.services.cursors
    require_key_admin(caller)
    keys = sorted(await info.context.services.tenants.list_keys(caller.tenant_id), key=lambda key: key.id)

    async def read(limit: int, after: str | None, before: str | None) -> list[ApiKeyRecord]:
        if before is not None:
            return [key for key in keys if key.id < before][-limit:]
        return [key for key in keys if after is None or key.id > after][:limit]

    page = await read_page(window, codec, codec.scope(caller.tenant_id, "apiKeys"), read, BY_ID)
    return ApiKeyConnection.of(page, len(keys))
