"""Processes that tests.faults.test_database_faults starts: ``python database_child.py <what> <database URL>``."""

import asyncio
import itertools
import sqlite3
import sys
from pathlib import Path

from service.db import Database
from service.errors import StorageUnavailable
from service.operations.logs import configure_logging
from service.tenants.store import TenantStore


async def write(url: str) -> None:
    """Create tenants for ever; say the id of each that was acknowledged."""
    store = TenantStore(Database(url))
    for number in itertools.count():
        tenant = await store.create_tenant(str(number))
        say(tenant.id)


async def lock(url: str) -> None:
    """Hold the write lock of a SQLite file until standard input ends."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    say("locked")
    sys.stdin.read()
    connection.execute("COMMIT")
    connection.close()


async def fill(url: str) -> None:
    """Fill the disk under a SQLite file, see it refuse, make room, see it go on with nothing lost."""
    database = Database(url)
    await database.migrate()
    store = TenantStore(database)
    before = await store.create_tenant("before")
    filler = Path(url.removeprefix("sqlite:///")).with_name("filler")
    try:
        filler.write_bytes(bytes(100 * 2**20))
    except OSError as error:
        say(error.strerror or "")
    say(f"free {database.free_bytes()}")
    acknowledged = [before.id]
    try:
        for number in range(1000):
            tenant = await store.create_tenant(f"{number} {'x' * 190}")
            acknowledged.append(tenant.id)
        say("never refused")
    except StorageUnavailable as error:
        say(f"{error.status} {error.message}")
    await database.ping()
    assert [tenant.id for tenant in await store.list_tenants()] == acknowledged
    filler.unlink()
    acknowledged.append((await store.create_tenant("after")).id)
    await database.dispose()
    again = Database(url)
    assert [tenant.id for tenant in await TenantStore(again).list_tenants()] == acknowledged
    await again.dispose()
    say("nothing lost")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logging("json", "warning")  # standard output is for the test
    asyncio.run({"write": write, "lock": lock, "fill": fill}[sys.argv[1]](sys.argv[2]))
