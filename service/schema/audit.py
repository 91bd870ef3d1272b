"""The audit log: who used an admin's rights or failed to, and what the service did to credentials by itself."""

from datetime import datetime

import strawberry

from service.connections.visibility import storable
from service.directory.listing import Window
from service.journal import AuditFilter, AuditRecord, Outcome
from service.schema import relay
from service.schema.context import Info
from service.schema.keyset import BY_ID, KeysetPage, read_page
from service.schema.scalars import JSON
from service.tenants.caller import Role


@strawberry.type(description="An entry of the audit log. It holds no secret.")
class AuditEntry:
    """An entry of the audit log."""

    id: strawberry.ID = strawberry.field(description="The entry's id.")
    actor: str = strawberry.field(
        description="Who did it: `key:` and an API key's id, `jwt:` and a JWT's subject, the command line, or this "
        "service by itself."
    )
    action: str = strawberry.field(description="What was done: a dotted word such as `connection.link`.")
    outcome: Outcome = strawberry.field(description="How it ended.")
    connection_id: strawberry.ID | None = strawberry.field(
        description="The connection that it was done to; it may be gone by now."
    )

    @strawberry.field(description="When it was done.")
    def at(record: strawberry.Parent[AuditRecord]) -> datetime:
        """When it was done."""
        return record.created_at

    @strawberry.field(description="More of it, by the kind of action: words, ids and numbers.")
    def details(record: strawberry.Parent[AuditRecord]) -> JSON:
        """What the action adds."""
        return JSON(record.details)


@strawberry.type(description="An entry of the audit log in a list.")
class AuditEntryEdge:
    """An entry of the audit log in a list."""

    node: AuditEntry = strawberry.field(description="The entry.")
    cursor: str = strawberry.field(description="The entry's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of the audit log, the newest entry first.")
class AuditEntryConnection:
    """A page of the audit log."""

    edges: list[AuditEntryEdge] = strawberry.field(description="The entries of this page, with their cursors.")
    nodes: list[AuditEntry] = strawberry.field(description="The entries of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, page: KeysetPage[AuditRecord]) -> "AuditEntryConnection":
        """The page of these rows."""
        nodes: list[AuditEntry] = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        edges = [AuditEntryEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info)


@strawberry.input(description="Conditions on entries of the audit log; all that are given must hold.")
class AuditFilterInput:
    """Conditions on entries of the audit log."""

    connection_id: strawberry.ID | None = strawberry.field(default=None, description="Done to this connection.")
    action: str | None = strawberry.field(default=None, description="This action, such as `connection.link`.")
    outcome: Outcome | None = strawberry.field(default=None, description="Ended so.")

    def to_filter(self) -> AuditFilter:
        """The conditions in the journal's terms."""
        return AuditFilter(connection_id=self.connection_id, action=self.action, outcome=self.outcome)


async def resolve_audit_log(info: Info, window: Window, filter_: AuditFilterInput | None) -> AuditEntryConnection:
    """A page of the tenant's audit log; to a narrowed caller, of what was done to connections that it sees now."""
    services, caller = info.context.services, info.context.caller
    caller.require(Role.ADMIN)
    wanted = filter_.to_filter() if filter_ else AuditFilter()
    seen = None
    if caller.is_narrowed:
        seen = frozenset(record.id for record in await services.connections.every(caller))
    texts = [text for text in (wanted.connection_id, wanted.action) if text is not None]
    is_possible = len(storable(texts)) == len(texts)

    async def read(limit: int, after: str | None, before: str | None) -> list[AuditRecord]:
        if not is_possible:
            return []
        return await services.journal.page_audit(
            caller.tenant_id, wanted, seen=seen, limit=limit, after=after, before=before
        )

    scope = services.cursors.scope(caller.tenant_id, "auditLog", wanted)
    return AuditEntryConnection.of(await read_page(window, services.cursors, scope, read, BY_ID))
