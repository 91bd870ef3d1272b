"""Tables of webhook receivers: addresses that one connection's Sentry sends to, and what came that is nobody's."""

import enum
from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index
from sqlmodel import Field, SQLModel

from service.columns import json_column, utc_column, word_column


class ReceiverKind(enum.StrEnum):
    """What sends to a receiver."""

    INTERNAL_INTEGRATION = "internal_integration"
    SERVICE_HOOK = "service_hook"
    LEGACY_PLUGIN = "legacy_plugin"


class ReceiverRecord(SQLModel, table=True):
    """What may send webhooks for one connection, to an address of its own that is made of its id.

    ``secret`` signs what comes and is sealed; the one before is good beside it until ``previous_until``. The legacy
    plugin signs nothing: whoever knows its address may send.
    """

    __tablename__ = "webhook_receivers"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
        Index(None, "tenant_id", "connection_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    connection_id: str = Field(max_length=64)
    kind: ReceiverKind = Field(sa_column=word_column(ReceiverKind, length=32))
    key_id: str | None = Field(default=None, max_length=64, index=True)
    secret: bytes | None = None
    previous_key_id: str | None = Field(default=None, max_length=64, index=True)
    previous_secret: bytes | None = None
    previous_until: datetime | None = Field(default=None, sa_column=utc_column())
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    last_used_at: datetime | None = Field(default=None, sa_column=utc_column())


class QuarantineReason(enum.StrEnum):
    """Why a genuine webhook was not taken for a connection's."""

    UNKNOWN_INSTALLATION = "unknown_installation"
    OTHER_INSTALLATION = "other_installation"
    OTHER_PROJECT = "other_project"
    UNLINKED = "unlinked"


class QuarantineRecord(SQLModel, table=True):
    """A webhook that is genuine and whose connection is not known, or is not the receiver's.

    ``client_id`` is that of the public app which sent it, ``receiver_id`` the receiver that it came to. A public app
    serves all tenants: ``tenant_id`` and ``connection_id`` are None where nobody's connection is known.
    """

    __tablename__ = "webhook_quarantine"
    __table_args__ = (
        Index(None, "tenant_id", "id"),
        Index(None, "client_id", "installation_id", "id"),
        Index(None, "receiver_id", "id"),
        Index(None, "created_at"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str | None = Field(default=None, foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    connection_id: str | None = Field(default=None, max_length=64)
    receiver_id: str | None = Field(default=None, max_length=64)
    client_id: str | None = Field(default=None, max_length=200)
    reason: QuarantineReason = Field(sa_column=word_column(QuarantineReason, length=32))
    installation_id: str | None = Field(default=None, max_length=64)
    type: str = Field(max_length=200)
    headers: dict[str, str] = Field(sa_column=json_column(nullable=False))
    body: bytes
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
