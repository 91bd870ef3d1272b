"""Endpoints of a tenant's own, to which its events are delivered: made, changed, tested, and shown to a caller.

To a caller that is narrowed to named connections only those endpoints are there that are limited to connections which
it sees; it makes no others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.connections.visibility import no_such_connection, storable
from service.db import Database
from service.errors import Conflict, Forbidden, NotFound, SecretUnreadable
from service.events.append import NewEvent, append_event
from service.events.models import DeliveryRecord, EndpointRecord, EndpointStatus
from service.events.types import EventType
from service.ids import new_id
from service.journal import note_audit
from service.sentry.egress import EgressPolicy
from service.tenants.caller import Caller, Role
from service.tenants.models import TenantRecord
from service.webhooks.endpoint_rules import MOST_ENDPOINTS, EndpointChange, check_change
from service.webhooks.secrets import open_secrets, seal_secrets
from service.webhooks.standard import new_secret

OVERLAP = timedelta(hours=24)
"""How long a secret that was replaced signs beside the new one."""

_DELETED_AT_ONCE = 200
_PAUSE_SECONDS = 0.05  # in which others write: SQLite has one writer at a time, and webhooks do not wait long
_TEST_ACTOR = {"type": "application", "id": "sentry-graph", "name": "Sentry Graph"}

Seen = frozenset[str] | None
"""The ids of the only connections that a caller sees; None where it sees all of the tenant."""


class Endpoints:
    """Reads and changes endpoints for a caller. All of it needs the role ``admin``: :class:`Forbidden` otherwise.

    ``policy`` says where webhooks may be sent.
    """

    def __init__(self, database: Database, connections: ConnectionStore, vault: Vault, policy: EgressPolicy) -> None:
        self._database = database
        self._connections = connections
        self._vault = vault
        self._policy = policy

    async def every(self, caller: Caller) -> list[EndpointRecord]:
        """All endpoints of the tenant that the caller may see, the oldest first."""
        seen = await self.find_seen(caller)
        statement = (
            select(EndpointRecord).where(EndpointRecord.tenant_id == caller.tenant_id).order_by(col(EndpointRecord.id))
        )
        async with self._database.session() as session:
            return [endpoint for endpoint in await session.exec(statement) if is_visible(endpoint, seen)]

    async def get(self, caller: Caller, endpoint_id: str) -> EndpointRecord:
        """An endpoint. Raises :class:`NotFound`, for foreign ones alike."""
        seen = await self.find_seen(caller)
        async with self._database.session() as session:
            return await find_endpoint(session, caller, endpoint_id, seen)

    async def create(self, caller: Caller, change: EndpointChange) -> tuple[EndpointRecord, str]:
        """A new endpoint, and its secret, which is not shown again. ``change`` names at least its address.

        Raises :class:`BadInput`, :class:`EgressRefused`, :class:`NotFound` for connections, and :class:`Conflict` where
        the tenant has as many as it may.
        """
        seen = await self.find_seen(caller)
        columns = check_change(change, self._policy)
        await self._check_connections(caller, columns)
        if seen is not None and columns.get("connection_ids") is None:
            raise _must_be_limited()
        endpoint = EndpointRecord(
            id=new_id("whe"),
            tenant_id=caller.tenant_id,
            status=EndpointStatus.ENABLED,
            created_at=now(),
            updated_at=now(),
            **columns,
        )
        secret = new_secret()
        seal_secrets(self._vault, endpoint, secret)

        async def work(session: AsyncSession) -> None:
            await _check_count(session, caller.tenant_id)
            session.add(EndpointRecord(**endpoint.model_dump()))
            note_endpoint(session, "webhook_endpoint.create", endpoint, caller)

        await self._database.run_transaction(work)
        return endpoint, secret

    async def update(self, caller: Caller, endpoint_id: str, change: EndpointChange) -> EndpointRecord:
        """Change an endpoint. What is on its way already goes to the new address. Raises as :meth:`create`."""
        seen = await self.find_seen(caller)
        columns = check_change(change, self._policy)
        await self._check_connections(caller, columns)
        if seen is not None and columns.get("connection_ids", ...) is None:
            raise _must_be_limited()

        async def work(session: AsyncSession, endpoint: EndpointRecord) -> None:
            clock = await self._database.read_clock(session)
            if columns.get("url", endpoint.url) != endpoint.url:  # secrets are bound to the address
                signing = open_secrets(self._vault, endpoint, clock)
                endpoint.url = str(columns["url"])
                endpoint.failing_since = endpoint.problem = None
                seal_secrets(self._vault, endpoint, *signing)
            for name, value in columns.items():
                setattr(endpoint, name, value)

        return await self._change(caller, endpoint_id, work, "update")

    async def enable(self, caller: Caller, endpoint_id: str) -> EndpointRecord:
        """Deliver to an endpoint again, as if it had never failed. What was given up stays so until it is replayed."""

        async def work(_: AsyncSession, endpoint: EndpointRecord) -> None:
            endpoint.status = EndpointStatus.ENABLED
            endpoint.disabled_reason = endpoint.failing_since = endpoint.problem = None

        return await self._change(caller, endpoint_id, work, "enable")

    async def rotate_secret(self, caller: Caller, endpoint_id: str) -> tuple[EndpointRecord, str]:
        """Give an endpoint a new secret, which is not shown again. For a day the one before signs beside it."""
        secret = new_secret()

        async def work(session: AsyncSession, endpoint: EndpointRecord) -> None:
            clock = await self._database.read_clock(session)
            try:
                previous, *_ = open_secrets(self._vault, endpoint, clock)
            except SecretUnreadable:  # no key opens it: this is what heals the endpoint
                previous = None
            seal_secrets(self._vault, endpoint, secret, previous)
            endpoint.previous_until = clock + OVERLAP if previous else None

        return await self._change(caller, endpoint_id, work, "rotate_secret"), secret

    async def delete(self, caller: Caller, endpoint_id: str) -> None:
        """Delete an endpoint with its deliveries. Nothing is sent to it from now on, whenever that ends."""

        async def disable(_: AsyncSession, endpoint: EndpointRecord) -> None:
            endpoint.status = EndpointStatus.DISABLED

        endpoint = await self._change(caller, endpoint_id, disable, "delete")
        some = select(DeliveryRecord.id).where(DeliveryRecord.endpoint_id == endpoint.id).limit(_DELETED_AT_ONCE)

        async def shorten(session: AsyncSession) -> int:
            deleted = await session.exec(delete(DeliveryRecord).where(col(DeliveryRecord.id).in_(some)))
            if deleted.rowcount < _DELETED_AT_ONCE:
                await session.exec(delete(EndpointRecord).where(col(EndpointRecord.id) == endpoint.id))
            return deleted.rowcount

        while True:
            if await self._database.run_transaction(shorten) < _DELETED_AT_ONCE:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def test(self, caller: Caller, endpoint_id: str) -> DeliveryRecord:
        """Send an event of the type ``webhook_endpoint.test`` to an endpoint, and to no other; its delivery.

        Raises :class:`NotFound`, and :class:`Conflict` where it is disabled.
        """
        seen = await self.find_seen(caller)

        async def work(session: AsyncSession) -> DeliveryRecord:
            endpoint = await find_endpoint(session, caller, endpoint_id, seen, is_locked=True)  # enabled to the end
            require_enabled(endpoint)
            said = {"endpointId": endpoint.id, "name": endpoint.name}
            body = {"action": "test", "installation": None, "data": said, "actor": _TEST_ACTOR}
            note_endpoint(session, "webhook_endpoint.test", endpoint, caller)
            event = await append_event(
                session,
                NewEvent(
                    caller.tenant_id,
                    EventType.ENDPOINT_TEST,
                    data=said,
                    is_synthetic=True,
                    body=msgspec.json.encode(body),
                    endpoint_id=endpoint.id,
                ),
            )
            statement = select(DeliveryRecord).where(DeliveryRecord.event_id == event.id)
            return (await session.exec(statement)).one()

        return await self._database.run_transaction(work)

    async def find_seen(self, caller: Caller) -> Seen:
        """What the caller sees. Raises :class:`Forbidden` where it is no admin."""
        caller.require(Role.ADMIN)
        if not caller.is_narrowed:
            return None
        return frozenset(record.id for record in await self._connections.every(caller))

    async def _check_connections(self, caller: Caller, columns: dict[str, Any]) -> None:
        wanted = columns.get("connection_ids")
        if wanted and len(await self._connections.get_many(caller, wanted)) < len(wanted):
            raise no_such_connection()

    async def _change(
        self,
        caller: Caller,
        endpoint_id: str,
        work: Callable[[AsyncSession, EndpointRecord], Awaitable[None]],
        action: str,
    ) -> EndpointRecord:
        seen = await self.find_seen(caller)

        async def change(session: AsyncSession) -> EndpointRecord:
            endpoint = await find_endpoint(session, caller, endpoint_id, seen, is_locked=True)
            await work(session, endpoint)
            endpoint.updated_at = now()
            note_endpoint(session, f"webhook_endpoint.{action}", endpoint, caller)
            return endpoint

        return await self._database.run_transaction(change)


async def find_endpoint(
    session: AsyncSession, caller: Caller, endpoint_id: str, seen: Seen, *, is_locked: bool = False
) -> EndpointRecord:
    """An endpoint that the caller sees, perhaps locked. Raises :class:`NotFound`, for foreign ones alike."""
    statement = select(EndpointRecord).where(
        EndpointRecord.tenant_id == caller.tenant_id, col(EndpointRecord.id).in_(storable([endpoint_id]))
    )
    endpoint = (await session.exec(statement.with_for_update(key_share=True) if is_locked else statement)).first()
    if endpoint is None or not is_visible(endpoint, seen):
        raise NotFound("There is no such webhook endpoint.")
    return endpoint


def is_visible(endpoint: EndpointRecord, seen: Seen) -> bool:
    """Whether whoever sees those connections sees the endpoint."""
    return seen is None or (endpoint.connection_ids is not None and seen.issuperset(endpoint.connection_ids))


def require_enabled(endpoint: EndpointRecord) -> None:
    """Raise :class:`Conflict` where nothing is delivered to the endpoint."""
    if endpoint.status is not EndpointStatus.ENABLED:
        raise Conflict("The webhook endpoint is disabled.", cure="Enable it first: enableWebhookEndpoint.")


async def _check_count(session: AsyncSession, tenant_id: str) -> None:
    """Raise :class:`Conflict` where there may be no more. The tenant is locked: two at once count each other."""
    tenant = select(TenantRecord.id).where(TenantRecord.id == tenant_id).with_for_update(key_share=True)
    if (await session.exec(tenant)).first() is None:
        raise NotFound("There is no such tenant.", cure="Make it with `tenants create`.")
    count = select(func.count()).select_from(EndpointRecord).where(EndpointRecord.tenant_id == tenant_id)
    if (await session.exec(count)).one() >= MOST_ENDPOINTS:
        raise Conflict(f"A tenant has at most {MOST_ENDPOINTS} webhook endpoints.", cure="Delete one, or change one.")


def _must_be_limited() -> Forbidden:
    return Forbidden(
        "A caller that is narrowed to named connections makes webhook endpoints for these.",
        cure="Name connections of yours in `connectionIds`.",
    )


def note_endpoint(session: AsyncSession, action: str, endpoint: EndpointRecord, caller: Caller, **said: str) -> None:
    """Add to the audit log what a caller did with an endpoint.

    The address is left out: it may hold a secret of the receiver's.
    """
    connection_ids = endpoint.connection_ids or []
    note_audit(
        session,
        action,
        endpoint.tenant_id,
        actor=caller.subject,
        connection_id=connection_ids[0] if len(connection_ids) == 1 else None,
        details={"endpointId": endpoint.id, "name": endpoint.name, **said},
    )
