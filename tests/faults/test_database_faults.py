import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.errors import StorageOutcomeUnknown, StorageUnavailable
from service.tenants.models import TenantRecord
from service.tenants.store import TenantStore
from tests.databases import PostgresServer
from tests.scale import scaled

CHILD = Path(__file__).with_name("database_child.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}


@contextlib.asynccontextmanager
async def child(what: str, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        what,
        url,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def check_sqlite(url: str) -> None:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


# --- SQLite locked ---


async def test_writers_wait_for_another_process_and_readers_do_not(sqlite_url: str):
    database = Database(sqlite_url)
    store = TenantStore(database)

    async def work(session: AsyncSession) -> None:
        session.add(TenantRecord(id="in a transaction", name="", created_at=now()))

    async with child("lock", sqlite_url) as holder:
        assert await read_line(holder) == "locked"
        writers = [
            asyncio.create_task(store.create_tenant("in a session")),
            asyncio.create_task(database.run_transaction(work)),
        ]
        assert await store.list_tenants() == []
        done, _ = await asyncio.wait(writers, timeout=1)
        assert not done
        assert holder.stdin is not None
        holder.stdin.close()
        await asyncio.gather(*writers)
    assert len(await store.list_tenants()) == 2
    await database.dispose()


async def test_a_lock_that_lasts_too_long_is_unavailable_and_then_forgotten(sqlite_url: str):
    database = Database(sqlite_url)

    async def impatiently(session: AsyncSession) -> None:
        await (await session.connection()).exec_driver_sql("PRAGMA busy_timeout = 50")
        session.add(TenantRecord(id="one", name="", created_at=now()))

    async with child("lock", sqlite_url) as holder:
        assert await read_line(holder) == "locked"
        async with database.session() as session:
            await impatiently(session)
            with pytest.raises(StorageUnavailable, match="locked") as caught:
                await session.commit()
        assert (caught.value.status, caught.value.retryable) == (503, True)
    async with database.session() as session:
        await impatiently(session)
        await session.commit()
    await database.dispose()


# --- PostgreSQL stopped and started ---


async def test_postgresql_crashes_and_starts_again_under_writers(crashing_postgres: PostgresServer):
    database = Database(crashing_postgres.url("migrated"))
    store = TenantStore(database)
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    refused = 0
    is_over = False

    async def write_on(writer: int) -> None:
        nonlocal refused
        number = 0
        while not is_over:
            number += 1
            name = f"{writer}.{number}"

            async def work(session: AsyncSession, name: str = name) -> None:
                session.add(TenantRecord(id=name, name=name, created_at=now()))

            try:
                await database.run_transaction(work)
                acknowledged.add(name)
            except StorageOutcomeUnknown:
                unknown.add(name)
            except StorageUnavailable:
                refused += 1
                await asyncio.sleep(0.02)

    async def wait_for_progress() -> None:
        goal = len(acknowledged) + 20
        async with asyncio.timeout(30):
            while len(acknowledged) < goal:  # noqa: ASYNC110  (the writers tell no event)
                await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write_on(writer)) for writer in range(8)]
    for _ in range(scaled(test=2, soak=20)):
        await wait_for_progress()
        await asyncio.to_thread(crashing_postgres.stop)
        with pytest.raises(StorageUnavailable):
            await database.ping()
        await asyncio.to_thread(crashing_postgres.start)
        await wait_for_progress()
    is_over = True
    await asyncio.gather(*writers)  # whatever else a writer met is raised here
    found = {tenant.id for tenant in await store.list_tenants()}
    assert acknowledged <= found <= acknowledged | unknown
    await database.dispose()


# --- kill -9 ---


async def test_what_was_acknowledged_survives_kill_9(database_url: str):
    acknowledged: list[str] = []
    for _ in range(scaled(test=3, soak=50)):
        async with child("write", database_url) as writer:
            acknowledged += [await read_line(writer) for _ in range(20)]
            writer.kill()
            assert writer.stdout is not None
            acknowledged += (await writer.stdout.read()).decode().split()
    if database_url.startswith("sqlite:"):
        check_sqlite(database_url)
    database = Database(database_url)
    found = {tenant.id for tenant in await TenantStore(database).list_tenants()}
    assert set(acknowledged) <= found
    await database.dispose()


# --- disk full ---


def test_a_full_disk_is_unavailable_and_corrupts_nothing(tmp_path: Path):
    in_namespace = [shutil.which("unshare") or "false", "--mount"]
    if os.geteuid() != 0:
        in_namespace.append("--map-root-user")
    mount = [*in_namespace, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("NOT TESTED: a full disk. This machine does not let us mount a small tmpfs in a namespace.")
    fill = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" "$3" fill "sqlite:///$1/full.db"'
    done = subprocess.run(
        [*in_namespace, "sh", "-c", fill, "sh", str(tmp_path), sys.executable, str(CHILD)],
        check=False,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "No space left on device",
        "free 0",
        "503 The database's disk is full.",
        "nothing lost",
    ], done.stderr
