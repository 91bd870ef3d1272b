"""Events and endpoints in the log, as the service itself would store them."""

from typing import Any

from sqlmodel import col, select

from service.columns import now
from service.db import Database
from service.events.append import AddedEvent, NewEvent, append_events
from service.events.models import EndpointPayload, EndpointRecord, EndpointStatus, EventRecord
from service.ids import new_id


async def append(database: Database, *events: NewEvent) -> list[AddedEvent]:
    """Commit events in one transaction."""
    return await database.run_transaction(lambda session: append_events(session, events))


async def read_log(database: Database, tenant_id: str) -> list[EventRecord]:
    """All events of a tenant, by position."""
    statement = select(EventRecord).where(EventRecord.tenant_id == tenant_id).order_by(col(EventRecord.position))
    async with database.session() as session:
        return list(await session.exec(statement))


async def add_endpoint(database: Database, tenant_id: str, **fields: Any) -> str:
    """An endpoint of a tenant, enabled and for everything unless said otherwise; its id."""
    usual: dict[str, Any] = {
        "id": new_id("whe"),
        "url": "https://receiver.example/hooks",
        "status": EndpointStatus.ENABLED,
        "payload": EndpointPayload.EVENT,
        "key_id": "key_1",
        "secret": b"sealed",
        "created_at": now(),
        "updated_at": now(),
    }
    record = EndpointRecord(tenant_id=tenant_id, **(usual | fields))
    async with database.session() as session:
        session.add(record)
        await session.commit()
    return record.id
