"""SQLite, by aiosqlite."""

import asyncio
import contextlib
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, NullPool, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.engines.failures import explain_failures
from service.errors import ConfigurationError, StorageUnavailable

# https://www.sqlite.org/rescode.html
_LOCKED = {5, 6}
_FULL = 13
_BROKEN = {8, 10, 11, 14, 26}  # read-only, I/O error, corrupt, cannot open, not a database


def find_sqlite_path(url: str) -> Path:
    """The absolute path of ``sqlite:///path``. Raises :class:`ConfigurationError` where it names no file."""
    name = make_url(url).database
    if not name or name == ":memory:" or "?" in url:
        raise ConfigurationError(
            "The database's URL cannot be used.", cure="Name a file, as in sqlite:///data/sentry-graph.db."
        )
    return Path(name).absolute()


def create_sqlite_engine(path: Path, *, migrating: bool = False) -> AsyncEngine:
    """WAL, every commit on the disk, and no transaction that starts as a reader and then fails to become a writer.

    The driver opens a transaction before the first INSERT, UPDATE or DELETE only, as BEGIN IMMEDIATE, which waits for
    other writers; a SELECT outside of one holds no snapshot. (A statement that starts with WITH and writes needs
    :meth:`service.db.Database.run_transaction`: the driver does not see that it writes.)
    """
    pool: dict[str, Any] = (
        {"poolclass": NullPool} if migrating else {"pool_size": 8, "max_overflow": 0, "pool_timeout": 10}
    )

    def connect() -> aiosqlite.Connection:
        if not path.is_file():  # SQLite would say it less clearly
            raise StorageUnavailable(
                "The database's file is missing.", cure="Run `python -m service migrate` to make it."
            )
        return _Connection(path)

    def set_pragmas(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        # Off while migrating: SQLite alters a table by replacing it, which must not delete what refers to it.
        cursor.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")
        cursor.close()

    url = URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(url, async_creator=connect, hide_parameters=True, **pool)
    event.listen(engine.sync_engine, "connect", set_pragmas)
    return explain_failures(engine, _find_failure)


class _Connection(aiosqlite.Connection):
    """One that ends when it is told to, also where whoever ends it is cancelled as well.

    SQLAlchemy then ends it by force while it is being closed. As the driver has it, either forgets what the other was
    to close, or waits for a thread that has ended.
    """

    def __init__(self, path: Path) -> None:
        # mode=rw: a wrong path never makes a new empty database.
        where = f"{path.as_uri()}?mode=rw"
        connect = partial(sqlite3.connect, where, uri=True, timeout=5, isolation_level="IMMEDIATE", factory=_Opened)
        super().__init__(connect, iter_chunk_size=64)
        self._thread.daemon = True  # a statement that hangs must not hold up the end of the process

    def stop(self) -> asyncio.Future[None] | None:
        if not self._running:
            return None
        if self._connection is not None:
            self._tx.put_nowait((None, self._connection.close))
        return super().stop()


class _Opened(sqlite3.Connection):
    """One whose transaction ends when it is closed.

    SQLite closes a connection when the last of its statements is gone. A cursor that a cancelled task's traceback still
    refers to would hold the lock for writing until the garbage is collected.
    """

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # closed already, or broken
            self.rollback()
        super().close()


def _find_failure(error: BaseException) -> tuple[str, bool] | None:
    """A message, and whether the transaction is known to be undone."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _LOCKED:
        return "The database is locked by another process.", True
    if code == _FULL:
        return "The database's disk is full.", True
    if code in _BROKEN:
        return "The database's file cannot be opened, read or written.", False
    return None
