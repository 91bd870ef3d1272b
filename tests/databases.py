"""Fixtures: a fresh migrated database for each test, on SQLite and on a real PostgreSQL."""

import asyncio
import contextlib
import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from service.db import Database


class PostgresServer:
    """A PostgreSQL of this test process's own, in a process that ends with it."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("postgres_server.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._url = self._read_line()
        self._numbers = itertools.count()

    def url(self, name: str) -> str:
        return self._url.replace("{name}", name)

    @contextlib.contextmanager
    def database(self, template: str) -> Iterator[str]:
        """The URL of a new database, copied from ``template``; dropped at the end."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield self.url(name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self.url("postgres"))  # type: ignore[no-untyped-call]  # no types
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(execute())

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._command("stop")

    def start(self) -> None:
        self._command("start")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()

    def _command(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._read_line() == "done"

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the PostgreSQL of the tests did not start; see its messages above"
        return line


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server with a database ``migrated`` to copy."""
    server = PostgresServer()

    server.execute("CREATE DATABASE migrated")
    asyncio.run(_migrate(server.url("migrated")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite file that holds no rows."""
    path = tmp_path / "test.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database that holds no rows."""
    with postgres.database("migrated") as url:
        yield url


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database that holds no rows, on either engine."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database that holds no rows."""
    before = set(threading.enumerate())
    database = Database(database_url)
    yield database
    await database.dispose()
    await join_sqlite_threads(before)


async def join_sqlite_threads(before: set[threading.Thread]) -> bool:
    """Wait for the threads of SQLite's connections that began since ``before``; False where some do not end.

    That of a cancelled statement tells the loop when it has ended: the loop must still be there.
    """
    begun = [each for each in set(threading.enumerate()) - before if "_connection_worker_thread" in each.name]
    for thread in begun:
        await asyncio.to_thread(thread.join, 10)
    return not any(thread.is_alive() for thread in begun)


async def _migrate(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await database.dispose()
