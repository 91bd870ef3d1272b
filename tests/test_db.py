import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy.exc
from sqlalchemy import text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind, CredentialRecord
from service.db import Database
from service.errors import ConfigurationError, StorageOutcomeUnknown, StorageUnavailable
from service.tenants.caller import Role
from service.tenants.models import ApiKeyRecord, TenantRecord
from tests.tcp import answering


def tenant(name: str, created_at: datetime | None = None) -> TenantRecord:
    return TenantRecord(id=f"ten_{name}", name=name, created_at=created_at or now())


def connection() -> ConnectionRecord:
    return ConnectionRecord(
        id="con_1",
        tenant_id="ten_acme",
        external_id="one",
        name="One",
        status=ConnectionStatus.ACTIVE,
        authentication=CredentialKind.USER_TOKEN,
        scopes=["org:read"],
        control_origin="https://sentry.io",
        api_origin="https://us.sentry.io",
        organization_id="1",
        organization_slug="one",
        organization_name="One",
        projects=[{"id": "1", "slug": "web"}],
        created_at=now(),
        updated_at=now(),
    )


async def names(database: Database) -> list[str]:
    async with database.session() as session:
        return sorted((await session.exec(select(TenantRecord.name))).all())


async def run_sql(session: AsyncSession, sql: str) -> None:
    await (await session.connection()).exec_driver_sql(sql)


# --- sessions and transactions ---


async def test_what_is_committed_is_there_and_the_rest_is_not(database: Database):
    async with database.session() as session:
        session.add(tenant("kept"))
        await session.commit()
        session.add(tenant("dropped"))
        await session.flush()
    assert await names(database) == ["kept"]


async def test_records_stay_readable_after_the_commit(database: Database):
    async with database.session() as session:
        record = tenant("acme")
        session.add(record)
        await session.commit()
    assert record.name == "acme"


async def test_a_constraint_violation_is_not_a_failure_of_the_database(database: Database):
    async with database.session() as session:
        session.add(
            ApiKeyRecord(
                id="key_1", tenant_id="nobody", name="", prefix="p", digest=b"", role=Role.READ, created_at=now()
            )
        )
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            await session.commit()


async def test_deleting_a_tenant_deletes_what_it_owns(database: Database):
    async with database.session() as session:
        session.add(tenant("acme"))
        await session.flush()
        session.add(connection())
        await session.flush()
        session.add(
            CredentialRecord(
                connection_id="con_1",
                tenant_id="ten_acme",
                key_id="k1",
                access_token=b"\x00sealed",
                fingerprint="f",
                updated_at=now(),
            )
        )
        await session.commit()
        await session.delete(await session.get_one(TenantRecord, "ten_acme"))
        await session.commit()
        assert (await session.exec(select(CredentialRecord))).all() == []


async def test_records_come_back_as_they_were_stored(database: Database):
    before = now()
    async with database.session() as session:
        session.add(tenant("acme"))
        await session.flush()
        session.add(connection())
        session.add(
            ApiKeyRecord(
                id="key_1",
                tenant_id="ten_acme",
                name="ci",
                prefix="p",
                digest=b"\x00\xff",
                role=Role.WRITE,
                connection_ids=[],
                created_at=before,
            )
        )
        await session.commit()
    async with database.session() as session:
        key = await session.get_one(ApiKeyRecord, "key_1")
        assert (key.role, key.digest, key.connection_ids, key.external_ids) == (Role.WRITE, b"\x00\xff", [], None)
        assert key.created_at == before
        found = await session.get_one(ConnectionRecord, "con_1")
        assert found.status is ConnectionStatus.ACTIVE
        assert (found.scopes, found.projects) == (["org:read"], [{"id": "1", "slug": "web"}])
        # None and words are stored so that SQL can ask for them.
        assert await session.scalar(text("SELECT external_ids IS NULL FROM api_keys"))
        assert await session.scalar(text("SELECT role FROM api_keys")) == "write"


async def test_times_are_stored_in_utc_and_naive_ones_refused(database: Database):
    local = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    async with database.session() as session:
        session.add(tenant("acme", created_at=local))
        await session.commit()
    async with database.session() as session:
        found = await session.get_one(TenantRecord, "ten_acme")
        assert found.created_at == local
        assert found.created_at.tzinfo is UTC
        session.add(tenant("naive", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001
        with pytest.raises(sqlalchemy.exc.StatementError, match="naive time"):
            await session.commit()


async def test_a_word_that_the_column_does_not_know_is_refused(database: Database):
    async with database.session() as session:
        with pytest.raises(sqlalchemy.exc.StatementError):
            await session.exec(update(ApiKeyRecord).values(role="root"))


async def test_a_reader_does_not_hold_up_a_writer_nor_keep_it_from_becoming_one(database: Database):
    async with database.session() as reading, database.session() as writing:
        assert (await reading.exec(select(TenantRecord))).all() == []
        writing.add(tenant("first"))
        await writing.commit()
        # On SQLite a transaction begun by that SELECT could not write any more (SQLITE_BUSY_SNAPSHOT).
        reading.add(tenant("second"))
        await reading.commit()
    assert await names(database) == ["first", "second"]


async def test_transactions_that_read_and_write_lose_no_update(database: Database):
    async with database.session() as session:
        session.add(tenant("0"))
        await session.commit()

    async def count(session: AsyncSession) -> None:
        record = (await session.exec(select(TenantRecord).with_for_update())).one()
        await asyncio.sleep(0)
        record.name = str(int(record.name) + 1)

    await asyncio.gather(*(database.run_transaction(count) for _ in range(20)))
    assert await names(database) == ["20"]


async def test_writers_of_sqlite_take_turns_in_the_order_in_which_they_came(sqlite_url: str):
    """Left to itself SQLite lets some wait for seconds while others write again and again."""
    database = Database(sqlite_url)
    has_begun, goes_on = asyncio.Event(), asyncio.Event()
    order: list[int] = []

    async def hold(_: AsyncSession) -> None:
        has_begun.set()
        await goes_on.wait()

    async def write(number: int) -> None:
        async def work(session: AsyncSession) -> None:
            session.add(tenant(str(number)))

        await database.run_transaction(work)
        order.append(number)

    holding = asyncio.create_task(database.run_transaction(hold))
    await has_begun.wait()
    writers = [asyncio.create_task(write(number)) for number in range(20)]
    async with database.session() as session:  # reading goes on meanwhile
        assert (await session.exec(select(TenantRecord))).first() is None
    writers[3].cancel()  # who goes away leaves the line
    goes_on.set()
    await asyncio.gather(holding, *writers, return_exceptions=True)
    assert order == [number for number in range(20) if number != 3]
    await database.dispose()


async def test_a_transaction_gives_back_what_the_work_did(database: Database):
    async def work(session: AsyncSession) -> str:
        session.add(tenant("acme"))
        return "done"

    assert await database.run_transaction(work) == "done"
    assert await names(database) == ["acme"]


async def test_a_transaction_that_fails_stores_nothing_and_is_not_repeated(database: Database):
    calls = 0

    async def work(session: AsyncSession) -> None:
        nonlocal calls
        calls += 1
        session.add(tenant("acme"))
        await session.flush()
        raise LookupError

    with pytest.raises(LookupError):
        await database.run_transaction(work)
    assert calls == 1
    assert await names(database) == []


async def test_a_transaction_whose_connection_is_lost_is_repeated(postgres_url: str):
    database = Database(postgres_url)
    calls = 0

    async def work(session: AsyncSession) -> None:
        nonlocal calls
        calls += 1
        session.add(tenant(str(calls)))
        await session.flush()
        if calls < 3:
            await session.scalar(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.run_transaction(work)
    assert await names(database) == ["3"]
    await database.dispose()


async def test_a_deadlock_is_repeated(postgres_url: str):
    database = Database(postgres_url)
    async with database.session() as session:
        session.add_all([tenant("a"), tenant("b")])
        await run_sql(session, "ALTER ROLE CURRENT_USER SET deadlock_timeout = '10ms'")
        await session.commit()
    await database.dispose()  # the setting is for new connections
    both_hold_one = asyncio.Barrier(2)
    calls = 0

    async def work(session: AsyncSession, first: str, second: str) -> None:
        nonlocal calls
        calls += 1
        is_first_try = calls <= 2
        await session.exec(update(TenantRecord).where(col(TenantRecord.id) == first).values(name="changed"))
        if is_first_try:
            await both_hold_one.wait()
        await session.exec(update(TenantRecord).where(col(TenantRecord.id) == second).values(name="changed"))

    await asyncio.gather(
        database.run_transaction(lambda session: work(session, "ten_a", "ten_b")),
        database.run_transaction(lambda session: work(session, "ten_b", "ten_a")),
    )
    assert calls == 3
    async with database.session() as session:
        await run_sql(session, "ALTER ROLE CURRENT_USER RESET deadlock_timeout")
        await session.commit()
    await database.dispose()


async def test_a_commit_whose_answer_is_lost_is_never_repeated(postgres_url: str):
    database = Database(postgres_url)
    async with database.session() as session:
        await run_sql(
            session,
            """
            CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
            """,
        )
        await run_sql(
            session,
            """
            CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON tenants
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vanish()
            """,
        )
        await session.commit()
    calls = 0

    async def work(session: AsyncSession) -> None:
        nonlocal calls
        calls += 1
        session.add(tenant("acme"))

    with pytest.raises(StorageOutcomeUnknown) as caught:
        await database.run_transaction(work)
    assert (calls, caught.value.retryable) == (1, False)
    await database.ping()
    await database.dispose()


async def test_more_sessions_than_connections_wait_for_their_turn(database: Database):
    async def read() -> None:
        async with database.session() as session:
            await session.scalar(text("SELECT 1"))
            await asyncio.sleep(0.001)

    await asyncio.gather(*(read() for _ in range(60)))


async def test_when_all_connections_are_taken_the_database_is_unavailable(sqlite_url: str):
    database = Database(sqlite_url)
    database._engine.sync_engine.pool._timeout = 0.01  # type: ignore[attr-defined]  # not ten seconds
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(8):
            session = await taken.enter_async_context(database.session())
            await session.connection()
        with pytest.raises(StorageUnavailable, match="busy"):
            await database.ping()
    await database.ping()
    await database.dispose()


async def test_ping(database: Database):
    await database.ping()


# --- opening ---


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"])
def test_a_sqlite_url_names_a_file(url: str):
    with pytest.raises(ConfigurationError):
        Database(url)


@pytest.mark.parametrize("rest", ["127.0.0.1:1/name?sslmode=perhaps", "1:x/name", "[::1/name", "h/name?=&"])
async def test_a_postgresql_url_that_cannot_be_used_is_said_without_the_password(rest: str):
    database = Database(f"postgresql://user:hunter2@{rest}")
    with pytest.raises(ConfigurationError, match="URL cannot be used") as caught:
        await database.ping()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_sslmode_asks_the_server_for_tls():
    asked = []

    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(8))
        writer.write(b"N")

    async with answering(refuse_tls) as port:
        database = Database(f"postgresql://user:hunter2@127.0.0.1:{port}/name?sslmode=require")
        with pytest.raises(StorageUnavailable) as caught:
            await database.ping()
    assert asked == [b"\x00\x00\x00\x08\x04\xd2\x16\x2f"]  # SSLRequest
    assert (caught.value.status, caught.value.retryable) == (503, True)


async def test_a_postgresql_that_is_not_there_is_unavailable():
    database = Database("postgresql://user:hunter2@127.0.0.1:1/name")
    with pytest.raises(StorageUnavailable):
        await database.ping()
    with pytest.raises(StorageUnavailable):
        await database.migrate()


async def test_a_postgresql_that_does_not_answer_is_unavailable():
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with answering(say_nothing) as port:
        with pytest.raises(StorageUnavailable):
            await Database(f"postgresql://user:hunter2@127.0.0.1:{port}/name?sslmode=disable").ping(seconds=0.1)


async def test_a_sqlite_file_that_is_not_there_is_unavailable_and_not_made(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/none.db"
    database = Database(url)
    with pytest.raises(StorageUnavailable, match="missing"):
        await database.ping()
    assert not Path(url.removeprefix("sqlite:///")).exists()  # noqa: ASYNC240


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path):
    (tmp_path / "other.db").write_bytes(b"not a database" * 100)
    database = Database(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(StorageUnavailable):
        await database.ping()


async def test_a_sqlite_file_that_cannot_be_made_is_told_in_a_line(tmp_path: Path):
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path}/file/new.db")
    with (
        pytest.raises(ConfigurationError, match=r"new.db.lock: cannot be made or written: .+"),
        database.serving_lock(),
    ):
        pass
    with pytest.raises(ConfigurationError, match=r"file/new.db: cannot be made") as caught:
        await database.migrate()
    assert "SENTRY_GRAPH_DATABASE_URL" in (caught.value.cure or "")
    await database.dispose()


async def test_sqlite_files_are_private_and_durable(tmp_path: Path):
    path = tmp_path / "a folder/50 %#" / "graph.db"
    database = Database(f"sqlite:///{path}")
    await database.migrate()
    async with database.session() as session:
        session.add(tenant("acme"))
        await session.commit()
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await session.scalar(text("PRAGMA synchronous")) == 2  # FULL
        assert await session.scalar(text("PRAGMA foreign_keys")) == 1
        assert await session.scalar(text("PRAGMA busy_timeout")) == 5000
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files == {"graph.db": 0o600, "graph.db-wal": 0o600, "graph.db-shm": 0o600}
    await database.dispose()


async def test_free_space_is_known_of_sqlite_only(database: Database, tmp_path: Path):
    free = database.free_bytes()
    if database.dialect == "sqlite":
        assert free is not None
        assert 0 < free <= shutil.disk_usage(tmp_path).total
    else:
        assert free is None


# --- one serving process ---

SERVE = """
import sys, time
from service.db import Database
with Database(sys.argv[1]).serving_lock():
    print("serving", flush=True)
    sys.stdin.read()
"""


def serve(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_second_process_cannot_serve_a_sqlite_file_until_the_first_is_gone(sqlite_url: str):
    with serve(sqlite_url) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "serving\n"
        with (
            pytest.raises(ConfigurationError, match=rf"Process {first.pid} already serves"),
            Database(sqlite_url).serving_lock(),
        ):
            pytest.fail("two processes serve")
        os.kill(first.pid, signal.SIGKILL)
    with Database(sqlite_url).serving_lock():
        lock = Path(sqlite_url.removeprefix("sqlite:///") + ".lock")
        assert lock.read_text() == f"{os.getpid()}\n"
    with Database(sqlite_url).serving_lock():
        pass


def test_many_processes_can_serve_a_postgresql_database():
    database = Database("postgresql://127.0.0.1:1/name")
    with database.serving_lock(), database.serving_lock():
        pass
