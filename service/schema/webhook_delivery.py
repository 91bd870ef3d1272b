"""The ``WebhookDelivery`` type: an event on its way to an endpoint, and what became of each attempt."""

from datetime import datetime
from typing import Annotated

import strawberry

from service.directory.listing import Window
from service.events.models import AttemptRecord, DeliveryRecord, DeliveryStatus, EndpointRecord
from service.schema import relay
from service.schema.context import Info
from service.schema.event import SentryEvent
from service.schema.event_types import build_event
from service.schema.inputs import assume_utc
from service.schema.keyset import BY_ID, KeysetPage, read_page
from service.webhooks.answers import explain
from service.webhooks.deliveries import MOST_REPLAYED, EventRange, Replay

MOST_DELIVERIES = 100
"""Deliveries on a page at most: each may have ten attempts with a kilobyte of an answer."""


@strawberry.type(description="One attempt to deliver an event. One whose process died before it knew is not listed.")
class WebhookAttempt:
    """One attempt to deliver an event."""

    number: int = strawberry.field(description="Counts the delivery's attempts from 1.")
    started_at: datetime = strawberry.field(description="When it began.")
    status: int | None = strawberry.field(description="The HTTP status that the endpoint answered; null if it did not.")
    answer: str | None = strawberry.field(description="The beginning of its answer, at most a kilobyte.")

    @strawberry.field(description="How long it took, in seconds.")
    def duration(record: strawberry.Parent[AttemptRecord]) -> float:
        """Seconds."""
        return record.milliseconds / 1000

    @strawberry.field(description="Why it failed, in a sentence; null where it did not.")
    def error(record: strawberry.Parent[AttemptRecord]) -> str | None:
        """Why it failed."""
        return explain_attempt(record)


@strawberry.type(description="An event on its way to a webhook endpoint.")
class WebhookDelivery:
    """An event on its way to an endpoint."""

    id: strawberry.ID = strawberry.field(description="The delivery's id.")
    endpoint_id: strawberry.ID = strawberry.field(description="The endpoint's id.")
    event_id: strawberry.ID = strawberry.field(
        description="The event's id: the `webhook-id` of every attempt and replay."
    )
    status: DeliveryStatus = strawberry.field(description="How far it has come.")
    replay_of: strawberry.ID | None = strawberry.field(description="The id of the delivery that it repeats.")
    created_at: datetime = strawberry.field(description="When it was planned.")
    finished_at: datetime | None = strawberry.field(description="When it was delivered or given up.")

    @strawberry.field(description="The event; null where it is not the caller's to see.")
    async def event(record: strawberry.Parent[DeliveryRecord], info: Info) -> SentryEvent | None:
        """The event."""
        event = await info.context.loaders.event.load(record.event_id)
        return None if event is None else build_event(event)

    @strawberry.field(description="When it is tried next; null while it is being tried, and once it is over.")
    def next_attempt_at(record: strawberry.Parent[DeliveryRecord]) -> datetime | None:
        """When it is tried next."""
        return record.next_at if record.lease_until is None else None

    @strawberry.field(description="The attempts, the first one first.")
    async def attempts(record: strawberry.Parent[DeliveryRecord], info: Info) -> list[WebhookAttempt]:
        """The attempts."""
        return await info.context.loaders.attempts.load(record.id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(description="Why the last attempt failed, in a sentence; null where it did not.")
    async def error(record: strawberry.Parent[DeliveryRecord], info: Info) -> str | None:
        """Why it is not delivered."""
        attempts = await info.context.loaders.attempts.load(record.id)
        return explain_attempt(attempts[-1]) if attempts else None


@strawberry.type(description="A delivery in a list.")
class WebhookDeliveryEdge:
    """A delivery in a list."""

    node: WebhookDelivery = strawberry.field(description="The delivery.")
    cursor: str = strawberry.field(description="The delivery's place in the list: pass it as `after` or `before`.")


@strawberry.type(description="A page of deliveries, the newest first.")
class WebhookDeliveryConnection:
    """A page of deliveries."""

    edges: list[WebhookDeliveryEdge] = strawberry.field(description="The deliveries of this page, with their cursors.")
    nodes: list[WebhookDelivery] = strawberry.field(description="The deliveries of this page.")
    page_info: relay.PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, page: KeysetPage[DeliveryRecord]) -> "WebhookDeliveryConnection":
        """The page of these rows."""
        nodes: list[WebhookDelivery] = list(page.rows)  # type: ignore[arg-type]  # the record backs the type
        edges = [
            WebhookDeliveryEdge(node=node, cursor=cursor) for node, cursor in zip(nodes, page.cursors, strict=True)
        ]
        return cls(edges=edges, nodes=nodes, page_info=page.page_info)


@strawberry.type(description="What a replay has planned.")
class WebhookReplay:
    """What a replay has planned."""

    count: int = strawberry.field(description="How many deliveries were planned.")
    last_event_id: strawberry.ID | None = strawberry.field(description="The event of the last of them.")
    has_more: bool = strawberry.field(
        description=f"Whether there is more than a call repeats ({MOST_REPLAYED}): call again, with `lastEventId` as "
        "`afterEventId` where there is such an argument."
    )


@strawberry.input(
    description="Which events to deliver to an endpoint again: those that it wants of a range with a beginning."
)
class ReplayWebhookEventsInput:
    """Which events to deliver again."""

    endpoint_id: strawberry.ID = strawberry.field(description="The endpoint.")
    after_event_id: strawberry.ID | None = strawberry.field(default=None, description="Those stored after this event.")
    until_event_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those stored before this event, and this one."
    )
    since: datetime | None = strawberry.field(
        default=None, description="Those stored at this time or later. UTC unless it says otherwise."
    )
    until: datetime | None = strawberry.field(
        default=None, description="Those stored before this time. UTC unless it says otherwise."
    )

    def to_range(self) -> EventRange:
        """The range in the store's terms."""
        return EventRange(
            after=self.after_event_id,
            up_to=self.until_event_id,
            since=assume_utc(self.since),
            until=assume_utc(self.until),
        )


OfStatus = Annotated[DeliveryStatus | None, strawberry.argument(description="Only those of this status.")]
FirstDelivery = Annotated[
    int | None, strawberry.argument(description="How many deliveries to give: 50 unless said, at most 100.")
]
LastDelivery = Annotated[
    int | None, strawberry.argument(description="How many deliveries to give before `before`, at most 100.")
]


def explain_attempt(attempt: AttemptRecord) -> str | None:
    """Why an attempt failed, in a sentence; None where it did not."""
    return explain(attempt.error or (None if attempt.status is None else str(attempt.status)))


async def resolve_deliveries(
    info: Info, endpoint: EndpointRecord, window: Window, status: DeliveryStatus | None
) -> WebhookDeliveryConnection:
    """A page of the deliveries of an endpoint that the caller was shown. Raises :class:`InvalidCursor`."""
    services = info.context.services

    async def read(limit: int, after: str | None, before: str | None) -> list[DeliveryRecord]:
        return await services.deliveries.page(
            endpoint, status, limit=limit, after=after, before=before, is_narrowed=info.context.caller.is_narrowed
        )

    scope = services.cursors.scope(endpoint.tenant_id, "deliveries", endpoint.id, status)
    return WebhookDeliveryConnection.of(await read_page(window, services.cursors, scope, read, BY_ID))


def build_replay(replay: Replay) -> WebhookReplay:
    """A replay in the graph's terms."""
    return WebhookReplay(count=replay.count, last_event_id=replay.last_event_id, has_more=replay.has_more)  # type: ignore[arg-type]  # an id
