"""Deliveries in process: endpoints on loopback, and a worker that real receivers are called by."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.events.append import AddedEvent, NewEvent
from service.events.models import AttemptRecord, DeliveryRecord, EndpointPayload, EndpointRecord, EventRecord
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.tenants.caller import Caller
from service.webhooks.deliverer import Deliverer
from service.webhooks.deliveries import Deliveries
from service.webhooks.endpoint_rules import EndpointChange
from service.webhooks.endpoints import Endpoints
from service.webhooks.sending import Sender
from tests.events.factory import append
from tests.sentry.upstream import _NO_TLS, Upstream

HOOK = b'{"action":"resolved","data":{"issue":{"id":"42"}}}'


@dataclass
class Seen:
    """What a worker tells of itself."""

    outcomes: list[str] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)

    def delivery(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)

    def deliveries_pending(self, count: int) -> None:
        self.pending.append(count)


class Worker(Deliverer):
    """A worker with what it told."""

    seen: Seen


@dataclass
class Post:
    """A tenant's endpoints and events, and workers over them."""

    database: Database
    vault: Vault
    caller: Caller
    allowed: set[Origin] = field(default_factory=set)

    @property
    def policy(self) -> EgressPolicy:
        return EgressPolicy(self.allowed)

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.database, ConnectionStore(self.database), self.vault, self.policy)

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.database, self.endpoints)

    async def add(
        self, receiver: Upstream | None = None, caller: Caller | None = None, **change: Any
    ) -> tuple[EndpointRecord, str]:
        """An endpoint at a receiver, or at one that is never called, and its secret."""
        if receiver is not None:
            self.allowed.add(receiver.origin)
        url = "https://consumer.example/hook" if receiver is None else f"{receiver.origin}/hook"
        change = {"name": "", "payload": EndpointPayload.EVENT, "url": url} | change
        return await self.endpoints.create(caller or self.caller, EndpointChange(**change))

    async def append(self, *types: str, **columns: Any) -> list[AddedEvent]:
        """Events of the tenant, a resolved issue unless said."""
        given = {"connection_id": "con_1", "body": HOOK} | columns
        wanted = types or ("issue.resolved",)
        return await append(self.database, *(NewEvent(self.caller.tenant_id, type_, **given) for type_ in wanted))

    @asynccontextmanager
    async def worker(
        self, *, deadline: float = 15.0, grace: float = 5.0, database: Database | None = None
    ) -> AsyncIterator[Worker]:
        """A worker that delivers while the block runs, perhaps over a connection of its own."""
        sender = Sender(self.policy, limit=256, user_agent="sentry-graph/test", deadline=deadline, tls=_NO_TLS)
        worker = Worker(database or self.database, sender, self.vault, seen := Seen(), grace=grace)
        worker.seen = seen
        async with worker.running():
            yield worker

    async def read(self, *endpoints: EndpointRecord) -> list[DeliveryRecord]:
        """The deliveries of endpoints, or all of them, the oldest first."""
        statement = select(DeliveryRecord).order_by(col(DeliveryRecord.id))
        if endpoints:
            statement = statement.where(col(DeliveryRecord.endpoint_id).in_([each.id for each in endpoints]))
        async with self.database.session() as session:
            return list(await session.exec(statement))

    async def events(self, deliveries: Sequence[DeliveryRecord]) -> list[EventRecord]:
        """What deliveries deliver."""
        async with self.database.session() as session:
            wanted = col(EventRecord.id).in_([each.event_id for each in deliveries])
            return list(await session.exec(select(EventRecord).where(wanted)))

    async def pass_time(self, time: timedelta) -> None:
        """As if that much time had passed for all that waits."""

        async def work(session: AsyncSession) -> None:
            for delivery in await session.exec(select(DeliveryRecord)):
                delivery.next_at = delivery.next_at and delivery.next_at - time
                delivery.lease_until = delivery.lease_until and delivery.lease_until - time
            for endpoint in await session.exec(select(EndpointRecord)):
                endpoint.failing_since = endpoint.failing_since and endpoint.failing_since - time
                endpoint.previous_until = endpoint.previous_until and endpoint.previous_until - time

        await self.database.run_transaction(work)

    async def attempts(self, delivery: DeliveryRecord) -> list[AttemptRecord]:
        return (await self.deliveries.attempts(self.caller.tenant_id, [delivery.id])).get(delivery.id, [])
