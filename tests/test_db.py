from sqlmodel import select

from service.columns import now
from service.db import Database
from service.tenants.models import TenantRecord


def tenant(name: str) -> TenantRecord:
    return TenantRecord(id=f"ten_{name}", name=name, created_at=now())


async def test_what_is_committed_is_there_and_the_rest_is_not(database: Database):
    async with database.session() as session:
        session.add(tenant("kept"))
        await session.commit()
        session.add(tenant("dropped"))
        await session.flush()
    async with database.session() as session:
        assert (await session.exec(select(TenantRecord.name))).all() == ["kept"]


async def test_ping(database: Database):
    await database.ping()
