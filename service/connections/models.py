"""Tables of connections: what is known of a linked account, and apart from it the sealed credential."""

import enum
from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKeyConstraint, Index, UniqueConstraint, and_
from sqlmodel import Field, SQLModel, col

from service.columns import json_column, text_column, utc_column, word_column
from service.sentry.profiles import Profile


class ConnectionStatus(enum.StrEnum):
    """Whether a connection can be used."""

    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"
    UNLINKED = "unlinked"


class ConnectionProblem(enum.StrEnum):
    """Why a connection cannot be used, or soon will not be."""

    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a word
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a word
    REFRESH_LOST = "refresh_lost"
    REFRESH_REFUSED = "refresh_refused"
    APPLICATION_DISABLED = "application_disabled"
    CLIENT_REFUSED = "client_refused"
    USER_INACTIVE = "user_inactive"
    SSO_REQUIRED = "sso_required"
    TWO_FACTOR_REQUIRED = "two_factor_required"
    ORGANIZATION_GONE = "organization_gone"
    INSTALLATION_GONE = "installation_gone"
    CLOCK_SKEWED = "clock_skewed"
    SENTRY_UNAVAILABLE = "sentry_unavailable"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a word
    UNLINKED = "unlinked"


class CredentialKind(enum.StrEnum):
    """How a connection authenticates (see "Credentials" in Sentry's documentation of its API)."""

    USER_TOKEN = "user_token"  # noqa: S105 - a kind
    OAUTH_TOKEN = "oauth_token"  # noqa: S105 - a kind
    APP_TOKEN = "app_token"  # noqa: S105 - a kind
    INTERNAL_TOKEN = "internal_token"  # noqa: S105 - a kind
    ORGANIZATION_TOKEN = "organization_token"  # noqa: S105 - a kind
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - bare hex without an owner Sentry would name


class ConnectionRecord(SQLModel, table=True):
    """A linked Sentry account: one organization of one Sentry, for one tenant. Holds no secret.

    ``control_origin`` and ``api_origin`` are URLs without a trailing slash; they change only together with the
    credential, which is bound to them. ``projects`` is the constraint: ``[{"id", "slug"}]``, or None for the whole
    organization.
    ``organization_id`` is None where the credential may not ask for it (an organization token knows only the slug).
    ``problem`` says in a word what ``status_reason`` says in a sentence; an active connection has one while refreshing
    fails and may still succeed. ``ca_certificate`` is PEM, for a Sentry with a private authority.
    """

    __tablename__ = "connections"
    __table_args__ = (
        UniqueConstraint("tenant_id", "external_id"),
        UniqueConstraint("tenant_id", "id"),
        Index(None, "tenant_id", "customer_id"),
        Index(None, "installation_id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", max_length=64)
    external_id: str = Field(max_length=200)
    customer_id: str | None = Field(default=None, max_length=200)
    name: str = Field(max_length=200)
    status: ConnectionStatus = Field(sa_column=word_column(ConnectionStatus, length=16))
    status_reason: str | None = Field(default=None, max_length=500)
    problem: ConnectionProblem | None = Field(
        default=None, sa_column=word_column(ConnectionProblem, length=40, nullable=True)
    )
    profile: Profile = Field(default=Profile.FULL, sa_column=word_column(Profile, length=16))
    authentication: CredentialKind = Field(sa_column=word_column(CredentialKind, length=32))
    scopes: list[str] = Field(sa_column=json_column(nullable=False))
    control_origin: str = Field(max_length=500)
    api_origin: str = Field(max_length=500)
    organization_id: str | None = Field(default=None, max_length=64)
    organization_slug: str = Field(max_length=200)
    organization_name: str = Field(max_length=200)
    installation_id: str | None = Field(default=None, max_length=64)
    ca_certificate: str | None = Field(default=None, sa_column=text_column())
    projects: list[dict[str, str]] | None = Field(default=None, sa_column=json_column())
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    updated_at: datetime = Field(sa_column=utc_column(nullable=False))
    last_used_at: datetime | None = Field(default=None, sa_column=utc_column())
    expires_at: datetime | None = Field(default=None, sa_column=utc_column())


class CredentialRecord(SQLModel, table=True):
    """A connection's sealed credential. The row is deleted when the connection is unlinked.

    ``version`` grows with every change of the secret; ``key_id`` names the key of the keyring that sealed
    ``access_token``. ``fingerprint`` tells equal tokens apart from different ones (they share Sentry's rate limit)
    without telling anything else.

    ``refresh_token`` is sealed by a key of its own id, since each column is sealed anew by itself. ``client_id`` names
    the OAuth client or Sentry app that the tokens were issued to. ``refresh_after`` is when the credential is looked at
    next by itself, on the database's clock: to be refreshed, or, where it cannot be, to see whether it still works.
    ``failures`` counts those in a row.
    """

    __tablename__ = "credentials"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
    )

    connection_id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    version: int = 1
    key_id: str = Field(max_length=64, index=True)
    access_token: bytes
    fingerprint: str = Field(max_length=64)
    client_id: str | None = Field(default=None, max_length=200)
    refresh_key_id: str | None = Field(default=None, max_length=64, index=True)
    refresh_token: bytes | None = None
    refresh_after: datetime | None = Field(default=None, sa_column=utc_column(index=True))
    failures: int = 0
    updated_at: datetime = Field(sa_column=utc_column(nullable=False))


def is_credential_of_connection() -> ColumnElement[bool]:
    """The condition that joins credentials to their connections."""
    return and_(
        col(CredentialRecord.tenant_id) == ConnectionRecord.tenant_id,
        col(CredentialRecord.connection_id) == ConnectionRecord.id,
    )


class RefreshIntentRecord(SQLModel, table=True):
    """A refresh that was begun and has not been stored: committed before Sentry is asked.

    While ``lease_until`` (on the database's clock) lies ahead, whoever is ``holder`` alone may refresh ``version``.
    After that the holder is taken for dead, and nobody knows whether Sentry has rotated the tokens.
    """

    __tablename__ = "refresh_intents"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
    )

    connection_id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    version: int
    holder: str = Field(max_length=64)
    started_at: datetime = Field(sa_column=utc_column(nullable=False))
    lease_until: datetime = Field(sa_column=utc_column(nullable=False, index=True))


class IdempotencyRecord(SQLModel, table=True):
    """A proxy write that carried an idempotency key: its request's hash, and its answer once there is one.

    ``status`` is Sentry's HTTP status, None while the write runs or when its outcome is unknown
    (``finished_at`` then tells the two apart). ``answer`` is sealed: some headers, and the body if it
    is short.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "connection_id"], ["connections.tenant_id", "connections.id"], ondelete="CASCADE"
        ),
    )

    tenant_id: str = Field(primary_key=True, max_length=64)
    connection_id: str = Field(primary_key=True, max_length=64)
    key: str = Field(primary_key=True, max_length=200)
    request_hash: str = Field(max_length=64)
    started_at: datetime = Field(sa_column=utc_column(nullable=False, index=True))
    finished_at: datetime | None = Field(default=None, sa_column=utc_column())
    status: int | None = None
    key_id: str | None = Field(default=None, max_length=64, index=True)
    answer: bytes | None = None
