"""Open link sessions that are for one connection and no other, and so end with it.

They are made by the service for a connection that stopped, or by a caller who sees nothing else.
"""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.link_models import LinkSessionRecord, LinkSessionStatus
from service.connections.models import ConnectionRecord
from service.journal import note_audit

SERVICE = "service"
"""Who made a session, or ended it, where nobody asked for that."""


async def cancel_invitations(session: AsyncSession, connection: ConnectionRecord, *, only_own: bool = False) -> None:
    """Cancel them, with what was received in them; ``only_own`` those that the service has made by itself."""
    conditions = [
        col(LinkSessionRecord.tenant_id) == connection.tenant_id,
        col(LinkSessionRecord.external_id) == connection.external_id,
        col(LinkSessionRecord.is_narrowed),
        col(LinkSessionRecord.status).in_((LinkSessionStatus.CREATED, LinkSessionStatus.STARTED)),
    ]
    if only_own:
        conditions.append(col(LinkSessionRecord.created_by) == SERVICE)
    for found in await session.exec(select(LinkSessionRecord).where(*conditions).with_for_update()):
        found.status = LinkSessionStatus.CANCELED
        found.pending = found.pending_key_id = None
        note_audit(
            session,
            "link_session.cancel",
            found.tenant_id,
            actor=SERVICE,
            connection_id=connection.id,
            details={"session": found.id, "externalId": found.external_id},
        )
