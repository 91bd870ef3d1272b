"""The two engines: how SQLite and PostgreSQL are opened, and what their failures are called here."""

from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, ExceptionContext, NullPool, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.errors import ConfigurationError, ServiceError, StorageOutcomeUnknown, StorageUnavailable

# https://www.sqlite.org/rescode.html
_SQLITE_LOCKED = {5, 6}
_SQLITE_FULL = 13
_SQLITE_BROKEN = {8, 10, 11, 14, 26}  # read-only, I/O error, corrupt, cannot open, not a database
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_LOST = ("08", "57P")  # connection exceptions, shutdowns
_POSTGRES_UNDONE = ("40", "53", "58", "55P03", "57014", "25P03", "0A000")  # see _find_postgres_failure


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
    return _explain_failures(engine)


def create_postgres_engine(url: str, *, migrating: bool = False) -> AsyncEngine:
    """Pre-pinged connections with time limits on the server, but for migrations, which may take their time.

    asyncpg reads the URL itself, so that ``?sslmode=verify-full&sslrootcert=…`` and the like mean what they mean to
    libpq (https://www.postgresql.org/docs/current/libpq-connect.html).
    """
    limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
    settings = {"application_name": "sentry-graph", "jit": "off"} | ({} if migrating else limits)
    answer_timeout = None if migrating else 40  # for a server that vanished; otherwise its own limits come first
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if migrating
        else {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 5, "pool_timeout": 10, "pool_recycle": 1800}
    )

    async def connect() -> Any:
        try:
            return await asyncpg.connect(  # type: ignore[no-untyped-call]  # asyncpg has no types
                url, timeout=10, command_timeout=answer_timeout, server_settings=settings
            )
        except ValueError:  # its ClientConfigurationError and what urllib says, which may quote the password
            raise ConfigurationError(
                "The database's URL cannot be used.",
                cure="Write postgresql://user:password@host/name?sslmode=require; percent-encode special characters.",
            ) from None
        except (OSError, asyncpg.exceptions.PostgresError, asyncpg.exceptions.InterfaceError) as error:
            raise StorageUnavailable("The database cannot be reached.") from error

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **pool)
    return _explain_failures(engine)


def _explain_failures(engine: AsyncEngine) -> AsyncEngine:
    event.listen(engine.sync_engine, "begin", _note_begin)
    event.listen(engine.sync_engine, "commit", _note_commit)
    event.listen(engine.sync_engine, "handle_error", _explain_failure, retval=True)
    return engine


def _note_begin(connection: Connection) -> None:
    connection.info["is_committing"] = False


def _note_commit(connection: Connection) -> None:
    connection.info["is_committing"] = True


def _explain_failure(context: ExceptionContext) -> ServiceError | None:
    """The typed error for a failure that is the database's; None leaves SQLAlchemy's own."""
    error = context.original_exception
    found = _find_sqlite_failure(error) or _find_postgres_failure(error)
    if found is None or context.is_pre_ping:
        return None
    message, is_undone = found
    if not is_undone and context.connection is not None and context.connection.info.get("is_committing"):
        return StorageOutcomeUnknown("The database's answer to a commit was lost.")
    return StorageUnavailable(message)


def _find_sqlite_failure(error: BaseException) -> tuple[str, bool] | None:
    """A message, and whether the transaction is known to be undone."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE_LOCKED:
        return "The database is locked by another process.", True
    if code == _SQLITE_FULL:
        return "The database's disk is full.", True
    if code in _SQLITE_BROKEN:
        return "The database's file cannot be opened, read or written.", False
    return None


def _find_postgres_failure(error: BaseException) -> tuple[str, bool] | None:
    """A message, and whether the transaction is known to be undone.

    Undone and worth another try: conflicts of transactions, lack of resources, failures of the system, time limits,
    and statements prepared before another process migrated (0A000).
    """
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_POSTGRES_UNDONE):
        return "The database is too busy or out of resources.", True
    if state.startswith(_POSTGRES_LOST) or isinstance(error, OSError | asyncpg.exceptions.InterfaceError):
        return "The connection to the database was lost.", False
    return None
