import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.db import Database
from service.sandbox.app import Sandbox
from tests.databases import PostgresServer
from tests.faults.replicas import Service, prepare


@pytest.fixture
async def sqlite_service(sqlite_url: str, tmp_path: Path, sandbox: Sandbox) -> Service:
    return await prepare(sqlite_url, tmp_path, sandbox)


@pytest.fixture
async def postgres_service(postgres_url: str, tmp_path: Path, sandbox: Sandbox) -> Service:
    return await prepare(postgres_url, tmp_path, sandbox)


@pytest.fixture
def crashing_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, with a database ``migrated``."""
    server = PostgresServer()
    server.execute("CREATE DATABASE migrated")
    asyncio.run(_migrate(server.url("migrated")))
    yield server
    server.close()


async def _migrate(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await database.dispose()
