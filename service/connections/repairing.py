"""When connections are compared with Sentry next: moved up by whoever knows that something was missed."""

from collections.abc import Collection

from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from service.connections.repair_models import RepairRecord
from service.db import read_clock


async def repair_soon(session: AsyncSession, connection_ids: Collection[str] | SelectOfScalar[str]) -> None:
    """Let connections be due now, within the session's transaction: these, or those whose ids a query gives."""
    clock = await read_clock(session)
    await session.exec(
        update(RepairRecord)
        .where(col(RepairRecord.connection_id).in_(connection_ids), col(RepairRecord.next_at) > clock)
        .values(next_at=clock)
    )
