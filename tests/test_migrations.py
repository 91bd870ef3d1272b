import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, bindparam, inspect, text
from sqlmodel import SQLModel, col, select

import service.connections.link_models
import service.connections.models
import service.connections.receiver_models
import service.connections.repair_models
import service.events.models
import service.journal
import service.tenants.models
from service.columns import UtcDateTime, now
from service.connections.models import ConnectionProblem, ConnectionRecord, CredentialRecord
from service.db import HEAD, Database
from service.errors import ConfigurationError
from service.events.append import NewEvent, append_events
from service.events.models import EventRecord
from service.sentry.profiles import Profile
from service.tenants.models import TenantRecord
from tests.databases import PostgresServer

Result = TypeVar("Result")
MODELS = (  # imported, so that SQLModel.metadata is whole
    service.connections.link_models,
    service.connections.models,
    service.connections.receiver_models,
    service.connections.repair_models,
    service.events.models,
    service.journal,
    service.tenants.models,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        with postgres.database("template1") as url:
            yield url


async def inspected(database: Database, look: Callable[[Connection], Result]) -> Result:
    async with database.session() as session:
        return await (await session.connection()).run_sync(look)


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def test_migrations_make_exactly_what_the_models_say(database: Database):
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, SQLModel.metadata))

    assert await inspected(database, compare) == []
    assert await inspected(database, tables) == {*SQLModel.metadata.tables, "alembic_version"}


async def test_constraints_have_the_names_that_the_models_say(database: Database):
    def named(connection: Connection) -> set[str | None]:
        found = inspect(connection)
        return {
            constraint["name"]
            for table in SQLModel.metadata.tables
            for constraint in [
                *found.get_foreign_keys(table),
                *found.get_unique_constraints(table),
                found.get_pk_constraint(table),
            ]
        }

    expected = {constraint.name for table in SQLModel.metadata.tables.values() for constraint in table.constraints}
    assert await inspected(database, named) == expected


async def test_every_migration_goes_up_and_down(empty_url: str):
    database = Database(empty_url)
    await database.migrate()
    revisions = [script.revision for script in ScriptDirectory("service/migrations").walk_revisions()]
    with structlog.testing.capture_logs() as lines:
        for revision in [*revisions[1:], "base"]:
            await database.downgrade(revision)
    assert [(line["revision"], line["direction"]) for line in lines] == [(each, "down") for each in revisions]
    assert await inspected(database, tables) == {"alembic_version"}
    await database.migrate()
    assert await inspected(database, tables) >= set(SQLModel.metadata.tables)
    await database.dispose()


async def test_migrating_again_changes_nothing(database: Database):
    async with database.session() as session:
        session.add(TenantRecord(id="ten_1", name="acme", created_at=now()))
        await session.commit()
    await database.migrate()
    async with database.session() as session:
        assert await session.get(TenantRecord, "ten_1") is not None


async def test_replicas_that_start_together_take_turns(empty_url: str):
    replicas = [Database(empty_url) for _ in range(4)]
    await asyncio.gather(*(replica.migrate() for replica in replicas))
    await replicas[0].check_schema()
    for replica in replicas:
        await replica.dispose()


async def test_tables_of_another_version_are_told(empty_url: str):
    database = Database(empty_url)
    await database.migrate()
    await database.downgrade("base")
    with pytest.raises(ConfigurationError, match=f"at revision none; this version needs {HEAD}") as caught:
        await database.check_schema()
    assert caught.value.cure == "Run `python -m service migrate`."
    await database.migrate()
    await database.check_schema()
    async with database.session() as session:
        await (await session.connection()).execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await session.commit()
    with pytest.raises(ConfigurationError, match="at revision 9999"):
        await database.check_schema()
    with pytest.raises(ConfigurationError, match="cannot be migrated"):
        await database.migrate()
    await database.dispose()


async def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str):
    database = Database(empty_url)
    await database.migrate()
    await database.downgrade("base")
    async with database.session() as session:
        # The last table that the migration makes is in its way.
        await (await session.connection()).execute(text("CREATE TABLE idempotency_keys (x INTEGER)"))
        await session.commit()
    with pytest.raises(Exception, match="already exists"):
        await database.migrate()
    assert await inspected(database, tables) == {"alembic_version", "idempotency_keys"}
    await database.dispose()


def test_the_newest_revision_is_known_without_alembic() -> None:
    assert ScriptDirectory("service/migrations").get_current_head() == HEAD


async def test_what_was_linked_before_linking_by_page_stays_linked(empty_url: str):
    database = Database(empty_url)
    await database.migrate()
    await database.downgrade("0001")
    row = {
        "tenant_id": "ten_1",
        "name": "x",
        "authentication": "user_token",
        "scopes": "[]",
        "control_origin": "https://sentry.io",
        "api_origin": "https://us.sentry.io",
        "organization_slug": "acme",
        "organization_name": "Acme",
        "at": now(),
    }
    insert = """
        INSERT INTO connections (id, tenant_id, external_id, name, status, authentication, scopes, control_origin,
            api_origin, organization_slug, organization_name, created_at, updated_at)
        VALUES (:id, :tenant_id, :id, :name, :status, :authentication, :scopes, :control_origin, :api_origin,
            :organization_slug, :organization_name, :at, :at)
    """
    async with database.session() as session:
        connection = await session.connection()
        at = bindparam("at", type_=UtcDateTime())
        tenant = text("INSERT INTO tenants (id, name, created_at) VALUES ('ten_1', 'T', :at)").bindparams(at)
        await connection.execute(tenant, {"at": now()})
        for name, status in (("con_a", "active"), ("con_b", "unlinked")):
            await connection.execute(text(insert).bindparams(at), row | {"id": name, "status": status})
        credential = """
            INSERT INTO credentials (connection_id, tenant_id, version, key_id, access_token, fingerprint, updated_at)
            VALUES ('con_a', 'ten_1', 3, 'key_1', :sealed, 'f', :at)
        """
        await connection.execute(text(credential).bindparams(at), {"sealed": b"sealed", "at": row["at"]})
        await session.commit()
    await database.migrate()
    async with database.session() as session:
        found = list(await session.exec(select(ConnectionRecord).order_by(col(ConnectionRecord.id))))
        stored = (await session.exec(select(CredentialRecord))).one()
    assert [(each.profile, each.problem) for each in found] == [
        (Profile.FULL, None),
        (Profile.FULL, ConnectionProblem.UNLINKED),
    ]
    assert (stored.version, stored.access_token, stored.failures, stored.refresh_token) == (3, b"sealed", 0, None)
    assert stored.refresh_after == row["at"], "it is looked at soon"
    await database.dispose()


async def test_events_from_before_the_log_have_their_places_in_it(empty_url: str):
    database = Database(empty_url)
    await database.migrate()
    await database.downgrade("0002")
    rows = [("ten_1", "con_a"), ("ten_2", "con_c"), ("ten_1", "con_b"), ("ten_1", "con_a")]
    at = bindparam("at", type_=UtcDateTime())
    async with database.session() as session:
        connection = await session.connection()
        for tenant in ("ten_1", "ten_2", "ten_3"):
            insert = text("INSERT INTO tenants (id, name, created_at) VALUES (:id, 'T', :at)").bindparams(at)
            await connection.execute(insert, {"id": tenant, "at": now()})
        insert = text(
            "INSERT INTO events (id, tenant_id, connection_id, type, data, created_at) "
            "VALUES (:id, :tenant, :connection, 'connection.linked', '{}', :at)"
        ).bindparams(at)
        for number, (tenant, linked) in enumerate(rows):
            event = {"id": f"evt_{number}", "tenant": tenant, "connection": linked, "at": now()}
            await connection.execute(insert, event)
        await session.commit()
    await database.migrate()

    async def places() -> list[tuple[str, int, str | None, int | None]]:
        statement = select(EventRecord).order_by(col(EventRecord.tenant_id), col(EventRecord.position))
        async with database.session() as session:
            return [
                (each.id, each.position, each.connection_id, each.sequence) for each in await session.exec(statement)
            ]

    first = [("evt_0", 1, "con_a", 1), ("evt_2", 2, "con_b", 1), ("evt_3", 3, "con_a", 2), ("evt_1", 1, "con_c", 1)]
    assert await places() == first
    added = [
        NewEvent("ten_1", "x.y", "con_a", id="evt_4"),
        NewEvent("ten_3", "x.y", "con_d", body=b"{}", id="evt_5"),
        NewEvent("ten_1", "x.y", id="evt_6"),
    ]
    await database.run_transaction(lambda session: append_events(session, added))
    assert await places() == [
        *first[:3],
        ("evt_4", 4, "con_a", 3),
        ("evt_6", 5, None, None),
        *first[3:],
        ("evt_5", 1, "con_d", 1),
    ]
    await database.downgrade("0002")
    await database.migrate()
    assert await places() == [*first[:3], ("evt_4", 4, "con_a", 3), *first[3:]], "what older tables cannot hold is lost"
    await database.dispose()
