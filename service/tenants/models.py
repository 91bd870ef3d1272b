"""Tables of tenants and their API keys."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from service.columns import json_column, utc_column, word_column
from service.tenants.caller import Role


class TenantRecord(SQLModel, table=True):
    """The SaaS company's own isolation unit; owns connections and API keys."""

    __tablename__ = "tenants"

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=200)
    created_at: datetime = Field(sa_column=utc_column(nullable=False))


class ApiKeyRecord(SQLModel, table=True):
    """An API key: found by its public prefix, proved by the HMAC of the whole; the key itself is shown once.

    ``connection_ids`` and ``external_ids`` narrow the key as in :class:`service.tenants.caller.Caller`.
    """

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.id", ondelete="CASCADE", index=True, max_length=64)
    name: str = Field(max_length=200)
    prefix: str = Field(unique=True, max_length=32)
    digest: bytes
    role: Role = Field(sa_column=word_column(Role, length=16))
    connection_ids: list[str] | None = Field(default=None, sa_column=json_column())
    external_ids: list[str] | None = Field(default=None, sa_column=json_column())
    created_at: datetime = Field(sa_column=utc_column(nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=utc_column())
    last_used_at: datetime | None = Field(default=None, sa_column=utc_column())
    revoked_at: datetime | None = Field(default=None, sa_column=utc_column())
