"""Whether a connection's webhooks come, as the graph tells it; and that repairs run where they should."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.app import Runtime
from service.columns import now
from service.connections.repair_models import RepairRecord
from service.sandbox.app import Sandbox
from service.settings import Settings
from tests.graph_fixture import BIG, SMALL, Graph, serve_graph
from tests.statements import statements

QUERY = "{ connections(first: 10) { nodes { id webhooks { lastReceivedAt silentSince } } } }"


@pytest.fixture
async def graph(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Graph]:
    """The service, which repairs seldom: the tests let it."""
    async with serve_graph(tmp_path, sandbox, database_url=sqlite_url, repair_seconds=86400) as served:
        yield served


async def ask(graph: Graph) -> dict[str, Any]:
    found = await graph.query(QUERY)
    return {node["id"]: node["webhooks"] for node in found["connections"]["nodes"]}


async def test_it_is_known_once_the_issues_were_compared(graph: Graph):
    first, second = await graph.link(BIG), await graph.link(SMALL)
    assert await ask(graph) == {first.id: None, second.id: None}
    await graph.runtime.repairer.sweep()
    nothing = {"lastReceivedAt": None, "silentSince": None}
    assert await ask(graph) == {first.id: nothing, second.id: nothing}
    heard, noticed = now() - timedelta(days=2), now()

    async def fall_silent(session: Any) -> None:
        record = await session.get(RepairRecord, first.id)
        record.heard_at, record.silent_since = heard, noticed

    await graph.runtime.database.run_transaction(fall_silent)
    with statements() as sent:
        found = await ask(graph)
    assert sum("FROM repairs" in statement for statement in sent) == 1
    assert found[first.id]["lastReceivedAt"].startswith(heard.isoformat()[:19])
    assert found[first.id]["silentSince"].startswith(noticed.isoformat()[:19])
    assert found[second.id] == nothing


async def test_looks_are_counted_by_how_they_ended(graph: Graph):
    await graph.link(SMALL)
    await graph.runtime.repairer.sweep()
    text = graph.runtime.observer.metrics.render()[0].decode()
    assert 'sentry_graph_repairs_total{outcome="took_stock"} 1.0' in text


async def test_a_worker_repairs_by_itself_and_whoever_only_answers_requests_does_not(
    tmp_path: Path, sandbox: Sandbox, postgres_url: str
):
    options: dict[str, Any] = {"database_url": postgres_url, "egress_allow": (sandbox.url,)}
    async with serve_graph(tmp_path, sandbox, **options) as graph:
        connection = await graph.link(SMALL)
        tenant_id = graph.tenant_id
    settings = Settings(keyring_file=tmp_path / "keyring.json", repair_seconds=60, **options)
    async with Runtime.build(settings.model_copy(update={"role": "web"})).started():
        assert not sandbox.requests
    runtime = Runtime.build(settings.model_copy(update={"role": "worker"}))
    async with runtime.started():
        async with asyncio.timeout(10):
            while not await runtime.services.listening.get_many(tenant_id, [connection.id]):  # noqa: ASYNC110 - in a row
                await asyncio.sleep(0.01)
