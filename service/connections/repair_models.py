"""Tables of repair: what is known of issues seen lately, and when a connection is compared with Sentry next."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index
from sqlmodel import Field, SQLModel

from service.columns import utc_column


class RepairRecord(SQLModel, table=True):
    """When a connection's issues are looked at next, on the database's clock, and how it went.

    Whoever takes it counts ``claim`` up and has it until ``lease_until``; only that claim may write what it found.
    ``polled_at`` is when the issues were last known whole: None until a first look has taken stock of them.
    ``missed`` counts changes in a row that no webhook told of; ``silent_since`` is set while webhooks are silent.
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
    lease_until: datetime | None = Field(default=None, sa_column=utc_column())
    claim: int = 0
    polled_at: datetime | None = Field(default=None, sa_column=utc_column())
    failures: int = 0
    missed: int = 0
    silent_since: datetime | None = Field(default=None, sa_column=utc_column())


class IssueSnapshotRecord(SQLModel, table=True):
    """An issue as it was last seen. ``assignee`` is ``user:ID`` or ``team:ID``.

    ``differs_since`` is when it was first seen to differ from this while no webhook had told of it: one may be on its
    way.
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
    status: str = Field(max_length=32)
    substatus: str | None = Field(default=None, max_length=64)
    assignee: str | None = Field(default=None, max_length=80)
    first_seen: datetime = Field(sa_column=utc_column(nullable=False))
    last_seen: datetime = Field(sa_column=utc_column(nullable=False))
    seen_at: datetime = Field(sa_column=utc_column(nullable=False))
    differs_since: datetime | None = Field(default=None, sa_column=utc_column())
