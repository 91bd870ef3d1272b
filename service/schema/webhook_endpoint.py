"""The ``WebhookEndpoint`` type: where a tenant has its events delivered, and what makes and changes one."""

from datetime import datetime
from typing import Any

import strawberry

from service.columns import now
from service.directory.listing import Window
from service.errors import NotFound
from service.events.models import EndpointPayload, EndpointRecord, EndpointStatus
from service.schema import arguments as args
from service.schema import relay
from service.schema.context import Info
from service.schema.keyset import BY_ID, KeysetPage, read_page
from service.schema.webhook_delivery import (
    MOST_DELIVERIES,
    FirstDelivery,
    LastDelivery,
    OfStatus,
    WebhookDeliveryConnection,
    resolve_deliveries,
)
from service.webhooks.answers import explain
from service.webhooks.endpoint_rules import EndpointChange
from service.webhooks.secrets import is_overlapping

_TYPES = "Only events of these types, such as `issue.resolved`, or `issue.*` for all that begin so"
_CONNECTIONS = "Only events of these connections"
_PROJECTS = "Only events of these projects, by slug or Sentry's id"
_ENVIRONMENTS = "Only events of these environments. Only single errors and event alerts say theirs"
_LEVELS = "Only events of these levels, such as `error` or `fatal`"


@strawberry.type(description="Where the tenant has its events delivered, as webhooks of the Standard Webhooks kind.")
class WebhookEndpoint:
    """Where the tenant has its events delivered."""

    id: strawberry.ID = strawberry.field(description="The endpoint's id.")
    url: str = strawberry.field(description="Where webhooks are sent.")
    name: str = strawberry.field(description="A name for people.")
    status: EndpointStatus = strawberry.field(description="Whether events are delivered to it.")
    disabled_reason: str | None = strawberry.field(
        description="Why it was disabled: `gone`, since it answered 410, or `failing`, after five days of failures."
    )
    failing_since: datetime | None = strawberry.field(
        description="When the first failure came after the last success; null while it works."
    )
    payload: EndpointPayload = strawberry.field(description="What it is sent.")
    types: list[str] | None = strawberry.field(description=f"{_TYPES}; null for all.")
    connection_ids: list[strawberry.ID] | None = strawberry.field(description=f"{_CONNECTIONS}; null for all.")
    projects: list[str] | None = strawberry.field(description=f"{_PROJECTS}; null for all.")
    environments: list[str] | None = strawberry.field(description=f"{_ENVIRONMENTS}; null for all.")
    levels: list[str] | None = strawberry.field(description=f"{_LEVELS}; null for all.")
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(description="Why the last attempt to deliver to it failed, in a sentence; null where it did not.")
    def problem(record: strawberry.Parent[EndpointRecord]) -> str | None:
        """Why it fails."""
        return explain(record.problem)

    @strawberry.field(
        description="Until when the secret before signs beside the present one; null where it does not any more."
    )
    def previous_secret_until(record: strawberry.Parent[EndpointRecord]) -> datetime | None:
        """The end of a rotation."""
        return record.previous_until if is_overlapping(record, now()) else None

    @strawberry.field(description="What was delivered, or is to be, the newest first.", directives=[relay.list_size()])
    async def deliveries(
        record: strawberry.Parent[EndpointRecord],
        info: Info,
        status: OfStatus = None,
        first: FirstDelivery = None,
        after: args.After = None,
        last: LastDelivery = None,
        before: args.Before = None,
    ) -> WebhookDeliveryConnection:
        """A page of deliveries."""
        window = relay.build_window(first, after, last, before, most=MOST_DELIVERIES)
        return await resolve_deliveries(info, record, window, status)


@strawberry.type(description="A webhook endpoint in a list.")
class WebhookEndpointEdge:
    """An endpoint in a list."""

    node: WebhookEndpoint = strawberry.field(description="The endpoint.")
    cursor: str = strawberry.field(description="The endpoint's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of webhook endpoints, the oldest first.")
class WebhookEndpointConnection:
    """A page of endpoints."""

    edges: list[WebhookEndpointEdge] = strawberry.field(description="The endpoints of this page, with their cursors.")
    nodes: list[WebhookEndpoint] = strawberry.field(description="The endpoints of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")
    total_count: int = strawberry.field(description="How many endpoints the caller may see.")

    @classmethod
    def of(cls, page: KeysetPage[EndpointRecord], total_count: int) -> "WebhookEndpointConnection":
        """The page of these rows."""
        nodes: list[WebhookEndpoint] = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        edges = [
            WebhookEndpointEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)
        ]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info, total_count=total_count)


@strawberry.input(description="A webhook endpoint to make.")
class CreateWebhookEndpointInput:
    """An endpoint to make."""

    url: str = strawberry.field(
        description="Where to send webhooks: https, at a public address unless the operator allows another."
    )
    name: str = strawberry.field(default="", description="A name for people.")
    payload: EndpointPayload = strawberry.field(default=EndpointPayload.EVENT, description="What to send.")
    types: list[str] | None = strawberry.field(default=None, description=f"{_TYPES}.")
    connection_ids: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description=f"{_CONNECTIONS}. A caller that is narrowed to named connections must name some of these.",
    )
    projects: list[str] | None = strawberry.field(default=None, description=f"{_PROJECTS}.")
    environments: list[str] | None = strawberry.field(default=None, description=f"{_ENVIRONMENTS}.")
    levels: list[str] | None = strawberry.field(default=None, description=f"{_LEVELS}.")

    def to_change(self) -> EndpointChange:
        """What to make."""
        return EndpointChange(
            url=self.url,
            name=self.name,
            payload=self.payload,
            types=self.types,
            connection_ids=self.connection_ids,
            projects=self.projects,
            environments=self.environments,
            levels=self.levels,
        )


@strawberry.input(description="What to change of a webhook endpoint; what is absent stays.")
class UpdateWebhookEndpointInput:
    """What to change of an endpoint."""

    id: strawberry.ID = strawberry.field(description="The endpoint.")
    url: str | None = strawberry.field(default=None, description="Where to send webhooks from now on.")
    name: str | None = strawberry.field(default=None, description="A new name.")
    payload: EndpointPayload | None = strawberry.field(default=None, description="What to send.")
    types: strawberry.Maybe[list[str] | None] = strawberry.field(default=None, description=f"{_TYPES}; null for all.")
    connection_ids: strawberry.Maybe[list[strawberry.ID] | None] = strawberry.field(
        default=None, description=f"{_CONNECTIONS}; null for all."
    )
    projects: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description=f"{_PROJECTS}; null for all."
    )
    environments: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description=f"{_ENVIRONMENTS}; null for all."
    )
    levels: strawberry.Maybe[list[str] | None] = strawberry.field(default=None, description=f"{_LEVELS}; null for all.")

    def to_change(self) -> EndpointChange:
        """What to change."""
        return EndpointChange(
            url=... if self.url is None else self.url,
            name=... if self.name is None else self.name,
            payload=... if self.payload is None else self.payload,
            types=_unwrap(self.types),
            connection_ids=_unwrap(self.connection_ids),
            projects=_unwrap(self.projects),
            environments=_unwrap(self.environments),
            levels=_unwrap(self.levels),
        )


@strawberry.type(description="A webhook endpoint with its secret.")
class WebhookEndpointSecret:
    """An endpoint with its secret."""

    webhook_endpoint: WebhookEndpoint = strawberry.field(description="The endpoint.")
    secret: str = strawberry.field(
        description="What signs its webhooks, as libraries of Standard Webhooks take it: it is shown this once, and "
        "cannot be had again."
    )

    @classmethod
    def of(cls, made: tuple[EndpointRecord, str]) -> "WebhookEndpointSecret":
        """A record and a secret."""
        return cls(webhook_endpoint=made[0], secret=made[1])  # type: ignore[arg-type]  # the record backs the type


async def resolve_webhook_endpoints(info: Info, window: Window) -> WebhookEndpointConnection:
    """A page of the endpoints that the caller may see."""
    caller, services = info.context.caller, info.context.services
    endpoints = await services.endpoints.every(caller)

    async def read(limit: int, after: str | None, before: str | None) -> list[EndpointRecord]:
        if before is not None:
            return [each for each in endpoints if each.id < before][-limit:]
        return [each for each in endpoints if after is None or each.id > after][:limit]

    scope = services.cursors.scope(caller.tenant_id, "webhookEndpoints")
    return WebhookEndpointConnection.of(await read_page(window, services.cursors, scope, read, BY_ID), len(endpoints))


async def find_webhook_endpoint(info: Info, id_: str) -> EndpointRecord | None:
    """An endpoint by id; None where there is none, and where it is not the caller's. Raises :class:`Forbidden`."""
    try:
        return await info.context.services.endpoints.get(info.context.caller, id_)
    except NotFound:
        return None


def _unwrap(maybe: strawberry.Some[Any] | None) -> Any:
    return ... if maybe is None else maybe.value
