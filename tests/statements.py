"""What the database is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Engine, event

from service.db import Database

_is_counted = ContextVar("is_counted", default=False)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that is sent meanwhile by what the block begins; what the service does by itself is not counted."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _is_counted.get():
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    token = _is_counted.set(True)
    try:
        yield sent
    finally:
        _is_counted.reset(token)
        event.remove(Engine, "before_cursor_execute", note)


async def explain(database: Database, statement: str) -> list[str]:
    """The steps by which SQLite would carry out a statement that was sent to it."""
    async with database.session() as session:
        explained = await (await session.connection()).exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", tuple("x" for _ in range(statement.count("?")))
        )
        return [str(row._mapping["detail"]) for row in explained]
