"""Every test of the graph is asked twice: of operations compiled to Python, and of graphql-core's own executor."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.sandbox.app import Sandbox
from tests.graph_fixture import Graph, serve_graph


@pytest.fixture(params=[True, False], ids=["compiled", "graphql-core"])
async def graph(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox: Sandbox, sqlite_url: str
) -> AsyncIterator[Graph]:
    """The service with nothing linked."""
    async with serve_graph(
        tmp_path, sandbox, introspection=True, database_url=sqlite_url, compiled_executor=request.param
    ) as served:
        yield served
