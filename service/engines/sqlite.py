"""SQLite, by aiosqlite."""

from pathlib import Path
from typing import Any

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
    engine = create_async_engine(
        # mode=rw: a wrong path never makes a new empty database.
        URL.create("sqlite+aiosqlite", database=path.as_uri(), query={"mode": "rw", "uri": "true"}),
        connect_args={"timeout": 5, "isolation_level": "IMMEDIATE"},
        hide_parameters=True,
        **pool,
    )

    def check_file(*_: object) -> None:
        if not path.is_file():  # the driver would say it less clearly, and leave a thread behind
            raise StorageUnavailable(
                "The database's file is missing.", cure="Run `python -m service migrate` to make it."
            )

    def set_pragmas(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            # Off while migrating: SQLite alters a table by replacing it, which must not delete what refers to it.
            cursor.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")
        except Exception:
            connection.close()  # the pool does not know it yet
            raise
        cursor.close()

    event.listen(engine.sync_engine, "do_connect", check_file)
    event.listen(engine.sync_engine, "connect", set_pragmas)
    return explain_failures(engine, _find_failure)


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
