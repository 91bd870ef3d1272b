"""The database: engine, sessions, transactions and migrations, alike on SQLite and PostgreSQL.

Both engines isolate as READ COMMITTED does: each statement sees what was committed before it. A read-modify-write
therefore belongs into :meth:`Database.run_transaction` (on SQLite it holds the write lock from the start; on PostgreSQL
lock the rows or compare a version), everything else into :meth:`Database.session`.

Whatever the database does wrong comes out as :class:`StorageUnavailable`; constraint violations come out as
SQLAlchemy's ``IntegrityError``.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import asyncpg
import sqlalchemy.exc
import tenacity
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, ExceptionContext, NullPool, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from service.errors import ConfigurationError, StorageOutcomeUnknown, StorageUnavailable

Result = TypeVar("Result")
Dialect = Literal["sqlite", "postgresql"]

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x53656E7472790001  # any constant: replicas that start together migrate one after another
_RETRIES = tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(8)
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.05, max=1)

# https://www.sqlite.org/rescode.html
_SQLITE_LOCKED = {5, 6}
_SQLITE_FULL = 13
_SQLITE_CANNOT_OPEN = 14
_SQLITE_BROKEN = {8, 10, 11, 26}  # read-only, I/O error, corrupt, not a database
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_UNDONE = ("40", "53", "55P03", "57014", "58", "25P0", "XX")
_POSTGRES_LOST = ("08", "57P")


class Database:
    """One database: ``sqlite:///path`` or ``postgresql://user:password@host/name`` (its query goes to asyncpg).

    Building one opens nothing. Raises :class:`ConfigurationError` where the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = _sqlite_path(url) if url.startswith("sqlite:") else None
        self._engine = self._create_engine()
        self._sessions = async_sessionmaker(self._engine, class_=AsyncSession, expire_on_commit=False)

    @property
    def dialect(self) -> Dialect:
        """Which of the two it is."""
        return "sqlite" if self._path else "postgresql"

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session; what is not committed by its end is undone. Raises :class:`StorageUnavailable`."""
        try:
            async with self._sessions() as session:
                yield session
        except sqlalchemy.exc.TimeoutError as error:
            raise StorageUnavailable("All connections to the database are busy.") from error

    async def run_transaction(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        """Run ``work`` in a transaction and commit it; repeat a few times where the database undid it.

        ``work`` may run several times, so it changes nothing but the database. After a commit whose answer was lost
        nothing is repeated: :class:`StorageOutcomeUnknown`.
        """
        async for attempt in tenacity.AsyncRetrying(
            stop=_RETRIES, wait=_BACKOFF, retry=tenacity.retry_if_exception(_was_undone), reraise=True
        ):
            with attempt:
                async with self.session() as session:
                    if self._path:
                        await (await session.connection()).exec_driver_sql("BEGIN IMMEDIATE")
                    result = await work(session)
                    await session.commit()
        return result

    async def ping(self) -> None:
        """Raise :class:`StorageUnavailable` where the database does not answer."""
        async with self.session() as session:
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"} if not self._path else None)
            await session.scalar(text("SELECT 1"))

    async def migrate(self) -> None:
        """Create the tables, or bring them to this version; replicas that start together take turns."""
        if self._path:
            _create_privately(self._path)
        await self._change_schema(lambda config: command.upgrade(config, "head"))

    async def downgrade(self, revision: str) -> None:
        """Take the tables back to ``revision`` ("base": none). What newer tables held is lost."""
        await self._change_schema(lambda config: command.downgrade(config, revision))

    async def check_schema(self) -> None:
        """Raise :class:`ConfigurationError` where the tables are not those of this version."""
        async with self._engine.connect() as connection:
            found = await connection.run_sync(
                lambda synchronous: MigrationContext.configure(synchronous).get_current_revision()
            )
        wanted = ScriptDirectory.from_config(_migrations_config()).get_current_head()
        if found != wanted:
            raise ConfigurationError(
                f"The database's tables are at revision {found or 'none'}; this version needs {wanted}.",
                cure="Run `sentry-graph migrate`.",
            )

    def free_bytes(self) -> int | None:
        """Free bytes on the disk of the SQLite file; None for PostgreSQL, whose disk is not ours to see."""
        return shutil.disk_usage(self._path.parent).free if self._path else None

    @contextlib.contextmanager
    def serving_lock(self) -> Iterator[None]:
        """Hold the right to serve a SQLite file, which one process has at a time. PostgreSQL needs none.

        The kernel releases it when the process ends, however that happens. Raises :class:`ConfigurationError`.
        """
        if self._path is None:
            yield
            return
        lock = self._path.with_name(self._path.name + ".lock")
        _create_privately(lock)
        with lock.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"Process {file.read().strip() or 'unknown'} already serves {self._path}.",
                    cure="Stop it first; several processes can serve one PostgreSQL database.",
                ) from None
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    async def dispose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    def _create_engine(self, *, migrating: bool = False) -> AsyncEngine:
        engine = _sqlite_engine(self._path, migrating) if self._path else _postgres_engine(self._url, migrating)
        event.listen(engine.sync_engine, "begin", _note_begin)
        event.listen(engine.sync_engine, "commit", _note_commit)
        event.listen(engine.sync_engine, "handle_error", _explain, retval=True)
        return engine

    async def _change_schema(self, change: Callable[[Config], None]) -> None:
        engine = self._create_engine(migrating=True)
        try:
            async with engine.connect() as connection:
                await self._lock_schema(connection)
                await connection.run_sync(_run_alembic, change)
                await connection.commit()
        except CommandError as error:
            raise ConfigurationError(
                f"The database cannot be migrated: {error}.",
                cure="A database of a newer version needs that version's program.",
            ) from error
        finally:
            await engine.dispose()

    async def _lock_schema(self, connection: AsyncConnection) -> None:
        if self._path:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})


# --- engines ---


def _sqlite_engine(path: Path, migrating: bool) -> AsyncEngine:  # noqa: FBT001
    """WAL, every commit on the disk, and no transaction that starts as a reader and then fails to become a writer.

    The driver opens a transaction before the first INSERT, UPDATE or DELETE only, as BEGIN IMMEDIATE, which waits for
    other writers; a SELECT outside of one holds no snapshot. (A statement that starts with WITH and writes needs
    ``run_transaction``: the driver does not see that it writes.)
    """
    url = URL.create("sqlite+aiosqlite", database=path.as_uri(), query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": 5, "isolation_level": "IMMEDIATE"},
        **({"poolclass": NullPool} if migrating else {"pool_size": 8, "max_overflow": 0, "pool_timeout": 10}),
    )

    def set_pragmas(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        # Off while migrating: SQLite changes a table by replacing it, which must not cascade.
        cursor.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", set_pragmas)
    return engine


def _postgres_engine(url: str, migrating: bool) -> AsyncEngine:  # noqa: FBT001
    """Pre-pinged connections with time limits on the server, but for migrations, which may take their time.

    asyncpg reads the URL itself, so that ``?sslmode=verify-full&sslrootcert=…`` and the like mean what they mean to
    libpq (https://www.postgresql.org/docs/current/libpq-connect.html).
    """
    limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
    settings = {"application_name": "sentry-graph", "jit": "off"} | ({} if migrating else limits)

    async def connect() -> Any:
        try:
            return await asyncpg.connect(  # type: ignore[no-untyped-call]  # asyncpg has no types
                url, timeout=10, command_timeout=None if migrating else 40, server_settings=settings
            )
        except (asyncpg.exceptions.ClientConfigurationError, ValueError) as error:
            raise ConfigurationError(f"The database's URL cannot be used: {error}.") from error
        except (OSError, asyncpg.exceptions.PostgresError, asyncpg.exceptions.InterfaceError) as error:
            raise StorageUnavailable("The database cannot be reached.") from error

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,
        **(
            {"poolclass": NullPool}
            if migrating
            else {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 5, "pool_timeout": 10, "pool_recycle": 1800}
        ),
    )


def _sqlite_path(url: str) -> Path:
    name = make_url(url).database
    if not name or name == ":memory:" or "?" in url:
        raise ConfigurationError("The database's URL cannot be used: name a file, as in sqlite:///data/sentry-graph.db")
    return Path(name).absolute()


def _create_privately(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


# --- migrations ---


def _migrations_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _run_alembic(connection: Connection, change: Callable[[Config], None]) -> None:
    config = _migrations_config()
    config.attributes["connection"] = connection
    change(config)


# --- errors ---


def _note_begin(connection: Connection) -> None:
    connection.info["is_committing"] = False


def _note_commit(connection: Connection) -> None:
    connection.info["is_committing"] = True


def _was_undone(error: BaseException) -> bool:
    return isinstance(error, StorageUnavailable) and not isinstance(error, StorageOutcomeUnknown)


def _explain(context: ExceptionContext) -> BaseException | None:
    """The typed error for a failure that is the database's; None leaves SQLAlchemy's own."""
    error = context.original_exception
    if context.is_pre_ping:
        return None
    message, is_undone = _find_sqlite_failure(error) or _find_postgres_failure(error) or (None, True)
    if message is None:
        return None
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
    if code == _SQLITE_CANNOT_OPEN:
        return "The database's file is missing or cannot be opened; `sentry-graph migrate` makes it.", True
    if code in _SQLITE_BROKEN:
        return "The database's file cannot be read or written.", False
    return None


def _find_postgres_failure(error: BaseException) -> tuple[str, bool] | None:
    """A message, and whether the transaction is known to be undone."""
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_POSTGRES_UNDONE):
        return "The database could not do it now.", True
    if state.startswith(_POSTGRES_LOST) or isinstance(error, OSError | asyncpg.exceptions.InterfaceError):
        return "The connection to the database was lost.", False
    return None
