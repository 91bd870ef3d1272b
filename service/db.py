"""The database: engine, sessions, transactions and migrations, alike on SQLite and PostgreSQL.

Both engines isolate as READ COMMITTED does: each statement sees what was committed before it. A read-modify-write
therefore belongs into :meth:`Database.run_transaction` (on SQLite it holds the write lock from the start; on PostgreSQL
lock the rows or compare a version), everything else into :meth:`Database.session`.

Whatever the database does wrong comes out as :class:`StorageUnavailable`; constraint violations come out as
SQLAlchemy's ``IntegrityError``.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import sqlalchemy.exc
import tenacity
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession

from service.announcements import Announcer, Hear
from service.columns import now
from service.engines.sqlite import create_sqlite_engine, find_sqlite_path
from service.errors import ConfigurationError, StorageOutcomeUnknown, StorageUnavailable

Result = TypeVar("Result")
Dialect = Literal["sqlite", "postgresql"]

_VERSIONS = (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py")
HEAD = max(path.stem.partition("_")[0] for path in _VERSIONS)
"""The newest revision of the tables."""

_MIGRATION_LOCK = 0x53656E7472790001  # any constant: replicas that start together migrate one after another
_TURN_SECONDS = 5.0  # as long as SQLite waits for writers of other processes
_RETRIES = tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(8)
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.05, max=1)


class Database:
    """One database: ``sqlite:///path`` or ``postgresql://user:password@host/name`` (its query goes to asyncpg).

    Building one opens nothing. Raises :class:`ConfigurationError` where the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = find_sqlite_path(url) if url.startswith("sqlite:") else None
        self._engine = self._create_engine()
        self._announcer = Announcer(None if self._path else url)
        self._sessions = async_sessionmaker(self._engine, class_=AsyncSession, expire_on_commit=False)
        self._turn = asyncio.Lock()

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
                async with self._writing(), self.session() as session:
                    if self._path:
                        await (await session.connection()).exec_driver_sql("BEGIN IMMEDIATE")
                    result = await work(session)
                    await self._announcer.send(session)
                    await session.commit()
                    self._announcer.tell(session)
        return result

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """SQLite has one writer at a time: this process's take turns, in the order in which they came.

        Left to itself, SQLite would have each try again after ever longer pauses; of several that write all the time,
        one might wait for seconds.
        """
        if self._path is None:
            yield
            return
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise StorageUnavailable("Too many transactions wait for the database.") from None
        try:
            yield
        finally:
            self._turn.release()

    async def read_clock(self, session: AsyncSession) -> datetime:
        """The database's present time, the same for all replicas. SQLite's is this machine's."""
        return await read_clock(session)

    def hearing(self, hear: Hear) -> contextlib.AbstractAsyncContextManager[None]:
        """Call ``hear`` with each topic that was announced (:mod:`service.announcements`) while the block runs."""
        return self._announcer.hearing(hear)

    async def ping(self, *, seconds: float = 5) -> None:
        """Raise :class:`StorageUnavailable` where the database does not answer within ``seconds``."""
        try:
            async with asyncio.timeout(seconds), self.session() as session:
                await session.scalar(text("SELECT count(*) FROM sqlite_master" if self._path else "SELECT 1"))
        except TimeoutError as error:
            raise StorageUnavailable("The database does not answer.") from error

    async def migrate(self) -> None:
        """Create the tables, or bring them to this version; replicas that start together take turns."""
        if self._path:
            _create_privately(self._path)
        if await self._read_revision() != HEAD:
            await self._change_schema("upgrade", HEAD)

    async def downgrade(self, revision: str) -> None:
        """Take the tables back to ``revision`` ("base": none). What newer tables held is lost."""
        await self._change_schema("downgrade", revision)

    async def check_schema(self) -> None:
        """Raise :class:`ConfigurationError` where the tables are not those of this version."""
        found = await self._read_revision()
        if found != HEAD:
            raise ConfigurationError(
                f"The database's tables are at revision {found or 'none'}; this version needs {HEAD}.",
                cure="Run `python -m service migrate`.",
            )

    def free_bytes(self) -> int | None:
        """Free bytes on the disk of the SQLite file; None for PostgreSQL, whose disk is not ours to see."""
        return shutil.disk_usage(self._path.parent).free if self._path else None

    @contextlib.contextmanager
    def serving_lock(self) -> Iterator[None]:
        """Hold the right to serve a SQLite file, which one process has at a time. PostgreSQL needs none.

        The kernel releases it when the process ends, however that happens. Raises :class:`ConfigurationError` where
        another process holds it, or the folder cannot be written.
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
        if self._path:
            return create_sqlite_engine(self._path, migrating=migrating)
        from service.engines.postgres import create_postgres_engine  # noqa: PLC0415 - 5 MiB, which SQLite does without

        return create_postgres_engine(self._url, migrating=migrating)

    async def _read_revision(self) -> str | None:
        async with self._engine.connect() as connection:
            if not await connection.run_sync(lambda synchronous: inspect(synchronous).has_table("alembic_version")):
                return None
            revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision

    async def _change_schema(self, direction: Literal["upgrade", "downgrade"], revision: str) -> None:
        """Change the tables in one transaction, alone."""
        from service.migrations import runner  # noqa: PLC0415 - large, and seldom needed

        engine = self._create_engine(migrating=True)
        try:
            async with engine.connect() as connection:
                if self._path:
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                await connection.run_sync(runner.upgrade if direction == "upgrade" else runner.downgrade, revision)
                await connection.commit()
        except runner.CommandError as error:
            raise ConfigurationError(
                f"The database cannot be migrated: {error}.",
                cure="A database that a newer version migrated needs that version's program.",
            ) from error
        finally:
            await engine.dispose()


async def read_clock(session: AsyncSession) -> datetime:
    """The present time of a session's database: see :meth:`Database.read_clock`."""
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        return now()
    clock: datetime = await connection.scalar(text("SELECT clock_timestamp()"))
    return clock


def _create_privately(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be made or written: {error.strerror}",
            cure="Point SENTRY_GRAPH_DATABASE_URL to a file in a folder that this user may write to.",
        ) from None


def _was_undone(error: BaseException) -> bool:
    return isinstance(error, StorageUnavailable) and not isinstance(error, StorageOutcomeUnknown)
