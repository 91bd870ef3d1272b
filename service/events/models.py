"""Tables of events: the log of each tenant, where it is delivered to, and what became of each delivery."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from service.columns import json_column, text_column, utc_column, word_column


class EventRecord(SQLModel, table=True):
    """An event in its tenant's log. Without a foreign key to its connection, whose history stays when it is replaced.

    ``position`` counts the tenant's events and ``sequence`` the connection's, both without gaps and in the order of
    commits: whoever has read up to one misses nothing before it. ``body`` is a webhook's, byte by byte, and ``headers``
    those of it that are passed on; a repair's body has the same shape and was never sent. ``repeat_of`` is the event
    with the same body within the day before. ``data`` is what is known beside the body: of our own events, everything.
    """

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("tenant_id", "position"),
        Index(None, "tenant_id", "connection_id", "position"),
        Index(None, "tenant_id", "connection_id", "body_hash"),
        Index(None, "tenant_id", "created_at"),
        Index(None, "created_at"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    position: int = Field(sa_column=Column(BigInteger(), nullable=False))
    connection_id: str | None = Field(default=None, max_length=64)
    sequence: int | None = Field(default=None, sa_column=Column(BigInteger()))
    type: str = Field(max_length=200)
    is_synthetic: bool = False
    repeat_of: str | None = Field(default=None, max_length=64)
    issue_id: str | None = Field(default=None, max_length=64)
    project_id: str | None = Field(default=None, max_length=64)
    project_slug: str | None = Field(default=None, max_length=200)
    environment: str | None = Field(default=None, max_length=200)
    level: str | None = Field(default=None, max_length=64)
    headers: dict[str, str] = Field(sa_column=json_column(nullable=False))
    data: dict[str, Any] = Field(sa_column=json_column(nullable=False))
    body: bytes | None = None
    body_hash: bytes | None = None
    created_at: datetime = Field(sa_column=utc_column(nullable=False))


class EventCounterRecord(SQLModel, table=True):
    """The last position of a tenant's log (``connection_id`` is empty), or the last sequence of a connection in it.

    The tenant's row is locked by whoever appends, from counting to the commit: that is what keeps the order.
    """

    __tablename__ = "event_counters"

    tenant_id: str = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    connection_id: str = Field(primary_key=True, max_length=64)
    last: int = Field(sa_column=Column(BigInteger(), nullable=False))


class EndpointStatus(enum.StrEnum):
    """Whether events are delivered to an endpoint."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class EndpointPayload(enum.StrEnum):
    """What an endpoint is sent: our envelope, or the body that Sentry sent, as it was."""

    EVENT = "event"
    SENTRY = "sentry"


class EndpointRecord(SQLModel, table=True):
    """Where a tenant wants events delivered. What is None filters nothing; lists hold what may pass.

    ``types`` are types or patterns such as ``issue.*``. ``secret`` is sealed, and so is the one before, which signs
    beside it until ``previous_until``. ``failing_since`` is when the first failure came after the last success, and
    ``problem`` the last failure: a status such as ``500``, or a word. ``disabled_reason`` is a word, too.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index(None, "tenant_id", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    url: str = Field(max_length=2000)
    name: str = Field(default="", max_length=200)
    status: EndpointStatus = Field(sa_column=word_column(EndpointStatus, length=16))
    disabled_reason: str | None = Field(default=None, max_length=64)
    payload: EndpointPayload = Field(sa_column=word_column(EndpointPayload, length=16))
    types: list[str] | None = Field(default=None, sa_column=json_column())
    connection_ids: list[str] | None = Field(default=None, sa_column=json_column())
    projects: list[str] | None = Field(default=None, sa_column=json_column())
    environments: list[str] | None = Field(default=None, sa_column=json_column())
    levels: list[str] | None = Field(default=None, sa_column=json_column())
    key_id: str = Field(max_length=64, index=True)
    secret: bytes
    previous_key_id: str | None = Field(default=None, max_length=64, index=True)
    previous_secret: bytes | None = None
    previous_until: datetime | None = Field(default=None, sa_column=utc_column())
    failing_since: datetime | None = Field(default=None, sa_column=utc_column())
    problem: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    updated_at: datetime = Field(sa_column=utc_column(nullable=False))


class DeliveryStatus(enum.StrEnum):
    """How far a delivery has come. ``dead`` is given up: it can be replayed, by another delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    REPLAYED = "replayed"


IS_PENDING = text("webhook_deliveries.status = 'pending'")
"""The condition of the index of what is to be delivered: a database uses it only where the query says the same."""

IS_DEAD = text("webhook_deliveries.status = 'dead'")
"""The condition of the index of what was given up."""


class DeliveryRecord(SQLModel, table=True):
    """One event on its way to one endpoint. Written in the transaction of the event.

    ``next_at`` and ``lease_until`` are on the database's clock. Whoever claims a delivery counts ``attempts`` up before
    anything is sent: the same number is never sent twice, and only the claimer of that number may write its outcome.
    While it is claimed, ``next_at`` is the end of the lease.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(None, "endpoint_id", "id"),
        # PostgreSQL's have the same conditions, by the migration: said here, they would have SQLite load its dialect.
        Index("ix_webhook_deliveries_pending", "endpoint_id", "next_at", sqlite_where=IS_PENDING),
        Index("ix_webhook_deliveries_dead", "endpoint_id", "id", sqlite_where=IS_DEAD),
        Index(None, "event_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    endpoint_id: str = Field(foreign_key="webhook_endpoints.id", ondelete="CASCADE", max_length=64)
    event_id: str = Field(foreign_key="events.id", ondelete="CASCADE", max_length=64)
    status: DeliveryStatus = Field(sa_column=word_column(DeliveryStatus, length=16))
    attempts: int = 0
    next_at: datetime | None = Field(default=None, sa_column=utc_column())
    lease_until: datetime | None = Field(default=None, sa_column=utc_column())
    replay_of: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=utc_column())


class AttemptRecord(SQLModel, table=True):
    """One try of a delivery: the receiver's status and the beginning of its answer, or a word for why there is none."""

    __tablename__ = "webhook_attempts"

    delivery_id: str = Field(primary_key=True, foreign_key="webhook_deliveries.id", ondelete="CASCADE", max_length=64)
    number: int = Field(primary_key=True)
    tenant_id: str = Field(max_length=64)
    started_at: datetime = Field(sa_column=utc_column(nullable=False))
    milliseconds: int
    status: int | None = None
    error: str | None = Field(default=None, max_length=64)
    answer: str | None = Field(default=None, sa_column=text_column())
