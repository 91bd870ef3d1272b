"""What a link session's row says: whether it is open, what it offers; and its entries in the audit log."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.link_models import LinkMethod, LinkSessionRecord, LinkSessionStatus
from service.journal import Outcome, note_audit

_OPEN = (LinkSessionStatus.CREATED, LinkSessionStatus.STARTED)


def hash_secret(text: str) -> bytes:
    """What is stored of a token of 256 bits: its SHA-256, which needs no salt."""
    return hashlib.sha256(text.encode()).digest()


def is_open(record: LinkSessionRecord) -> bool:
    """Whether an account can still be linked by the session."""
    return record.status in _OPEN and record.expires_at > now()


def find_status(record: LinkSessionRecord, *, is_away: bool = False) -> str:
    """How the session stands, in a word; ``is_away`` while the person is at Sentry."""
    if record.status in _OPEN and not is_open(record):
        return "expired"
    return "away" if is_away and is_open(record) else record.status.value


def open_conditions() -> list[ColumnElement[bool]]:
    """The same, as conditions of a query."""
    return [col(LinkSessionRecord.status).in_(_OPEN), col(LinkSessionRecord.expires_at) > now()]


def offered(record: LinkSessionRecord) -> tuple[LinkMethod, ...]:
    """The ways that the session offers."""
    return tuple(LinkMethod(method) for method in record.methods)


def note_session(
    session: AsyncSession,
    action: str,
    record: LinkSessionRecord,
    *,
    actor: str,
    connection_id: str | None = None,
    outcome: Outcome = Outcome.SUCCEEDED,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry on a link session to the audit log, within its transaction."""
    note_audit(
        session,
        action,
        record.tenant_id,
        actor=actor,
        connection_id=connection_id,
        outcome=outcome,
        details={"session": record.id, "externalId": record.external_id, **(details or {})},
    )


def visitor(record: LinkSessionRecord) -> str:
    """How the audit log names the person at a session's page, whom nobody has authenticated."""
    return f"link session {record.id}"
