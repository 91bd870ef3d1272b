"""Tables of repair: what is known of issues seen lately, and when a connection is compared with Sentry next."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index
from sqlmodel import Field, SQLModel

from service.columns import utc_column


class RepairRecord(SQLModel, table=True):
    """When a connection's issues are looked at next, on the database's clock, and how it went.

    Whoever takes it counts ``claim`` up and has it until ``lease_until``; only that claim may write what it found.
    ``polled_at`` is when the issues were last known whole: None until a first look has taken stock of them.
    ``position`` is up to where the tenant's events are part of the snapshots.

    ``heard_at`` is when the last webhook came. ``missed`` counts the looks in a row that found changes of which no
    webhook had told, with none between them; ``silent_since`` is set while webhooks are silent. ``steady_since`` is
    since when the connection has been looked at without a pause: what nobody was there to hear is no silence.
    """

    __tablename__ = "repairs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
    )

    connection_id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    next_at: datetime = Field(sa_column=utc_column(nullable=False, index=True))
    lease_until: datetime | None = Field(default=None, sa_column=utc_column(index=True))
    claim: int = 0
    polled_at: datetime | None = Field(default=None, sa_column=utc_column())
    position: int = Field(default=0, sa_column=Column(BigInteger(), default=0, nullable=False))
    failures: int = 0
    heard_at: datetime | None = Field(default=None, sa_column=utc_column())
    missed: int = 0
    silent_since: datetime | None = Field(default=None, sa_column=utc_column())
    steady_since: datetime | None = Field(default=None, sa_column=utc_column())


class IssueSnapshotRecord(SQLModel, table=True):
    """An issue as the events tell of it, by webhooks and by repairs. ``assignee`` is ``user:ID`` or ``team:ID``.

    ``status`` is None where none has told that there is such an issue. ``differs_since`` is when Sentry was first seen
    to say otherwise: a webhook that tells of it may be on its way.
    """

    __tablename__ = "issue_snapshots"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
        Index(None, "tenant_id", "connection_id", "last_seen"),
    )

    connection_id: str = Field(primary_key=True, max_length=64)
    issue_id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    status: str | None = Field(default=None, max_length=32)
    substatus: str | None = Field(default=None, max_length=64)
    assignee: str | None = Field(default=None, max_length=80)
    last_seen: datetime = Field(sa_column=utc_column(nullable=False))
    differs_since: datetime | None = Field(default=None, sa_column=utc_column())
