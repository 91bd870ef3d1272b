"""Column types shared by the tables: aware UTC times and JSON, alike on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. Naive times are refused on the way in; SQLite's are made aware on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse naive times; store all others as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time: use aware UTC times")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back an aware UTC time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_column(*, nullable: bool = True, index: bool = False) -> Column[Any]:
    """A column of aware UTC times."""
    return Column(UtcDateTime(), nullable=nullable, index=index)


def json_column(*, nullable: bool = True) -> Column[Any]:
    """A JSON column; None is stored as SQL NULL."""
    return Column(JSON(none_as_null=True), nullable=nullable)


def now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)
