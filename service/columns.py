"""Column types shared by the tables: aware UTC times, JSON and words, alike on SQLite and PostgreSQL."""

import enum
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, Enum, Text, TypeDecorator
from sqlmodel import SQLModel

# Every constraint has a name that a migration can use on either database; set before the first table is defined.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.model_config["defer_build"] = True  # tables check nothing: Pydantic need not compile how


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. Naive times are refused on the way in; SQLite's are made aware on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse naive times; store all others as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time: use aware UTC times")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
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


def text_column() -> Column[Any]:
    """A column of text without a limit of its own."""
    return Column(Text())


def word_column(words: type[enum.StrEnum], *, length: int, nullable: bool = False) -> Column[Any]:
    """A column of an enum's values, stored as text: a new word needs no migration."""
    values = Enum(
        words,
        native_enum=False,
        create_constraint=False,
        length=length,
        values_callable=lambda members: [member.value for member in members],
        validate_strings=True,
    )
    return Column(values, nullable=nullable)


def now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)
