"""Tables of link sessions: an invitation to link an account, and each way that was begun on it."""

import enum
from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from service.columns import json_column, utc_column, word_column
from service.sentry.profiles import Profile


class LinkMethod(enum.StrEnum):
    """How an account can be linked."""

    OAUTH = "oauth"
    INSTALL = "install"
    TOKEN = "token"  # noqa: S105 - a word


class LinkSessionStatus(enum.StrEnum):
    """Where a link session stands. That it has expired is told by its time."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    CANCELED = "canceled"


class LinkSessionRecord(SQLModel, table=True):
    """An invitation to link one account.

    ``token_hash`` is the SHA-256 of the token in the session's URL; ``browser_hash`` that of the cookie of the browser
    that started it last. ``external_id`` None makes a new connection. ``origin``, ``organization`` and ``projects`` are
    presets: what they name is not asked for, and nothing else may be linked. ``pending`` is what was received from
    Sentry and is not linked yet (JSON, sealed by ``pending_key_id``). ``problem`` is the code of the last failure.
    ``is_narrowed`` tells that whoever made it sees named connections only, so that it may make no new one.
    """

    __tablename__ = "link_sessions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        Index(None, "tenant_id", "external_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    token_hash: bytes = Field(unique=True)
    browser_hash: bytes | None = None
    external_id: str | None = Field(default=None, max_length=200)
    customer_id: str | None = Field(default=None, max_length=200)
    name: str | None = Field(default=None, max_length=200)
    redirect_uri: str | None = Field(default=None, max_length=2000)
    allowed_origins: list[str] = Field(sa_column=json_column(nullable=False))
    methods: list[str] = Field(sa_column=json_column(nullable=False))
    profile: Profile = Field(sa_column=word_column(Profile, length=16))
    origin: str | None = Field(default=None, max_length=500)
    organization: str | None = Field(default=None, max_length=200)
    projects: list[str] | None = Field(default=None, sa_column=json_column())
    is_narrowed: bool = False
    created_by: str = Field(max_length=200)
    status: LinkSessionStatus = Field(sa_column=word_column(LinkSessionStatus, length=16))
    problem: str | None = Field(default=None, max_length=64)
    pending_key_id: str | None = Field(default=None, max_length=64, index=True)
    pending: bytes | None = None
    connection_id: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    expires_at: datetime = Field(sa_column=utc_column(nullable=False, index=True))
    completed_at: datetime | None = Field(default=None, sa_column=utc_column())


class LinkAttemptRecord(SQLModel, table=True):
    """One way to Sentry and back: what a callback has to match, once.

    ``state_hash`` is the SHA-256 of OAuth's ``state``; an install, which carries none, has a random one and is found by
    the browser. The rest is what the answer is bound to (RFC 9700, sections 2.1 and 4.4).
    """

    __tablename__ = "link_attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "session_id"], ["link_sessions.tenant_id", "link_sessions.id"], ondelete="CASCADE"
        ),
        Index(None, "tenant_id", "session_id"),
    )

    state_hash: bytes = Field(primary_key=True)
    tenant_id: str = Field(max_length=64)
    session_id: str = Field(max_length=64)
    method: LinkMethod = Field(sa_column=word_column(LinkMethod, length=16))
    client_id: str = Field(max_length=200)
    origin: str = Field(max_length=500)
    redirect_uri: str = Field(max_length=2000)
    browser_hash: bytes
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    expires_at: datetime = Field(sa_column=utc_column(nullable=False, index=True))
    used_at: datetime | None = Field(default=None, sa_column=utc_column())
