"""What a request made goes when the request does, without the collector, whose runs would be everybody's pauses."""

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from service.sandbox.app import Sandbox
from tests.graph_fixture import BIG, Graph, serve_graph

USERS = "users(connectionIds: [$connection], first: 20)"
OPERATIONS = {
    "users": f"query ($connection: ID!) {{ {USERS} {{ edges {{ cursor node {{ id email roles {{ id }} }} }} }} }}",
    "groups": f"query ($connection: ID!) {{ {USERS} {{ edges {{ node {{ groups {{ name }} }} }} }} }}",
    "details": f"query ($connection: ID!) {{ {USERS} {{ edges {{ node {{ remoteDetail }} }} }} }}",
    "proxy": 'query ($connection: ID!) { proxy(connectionId: $connection, path: "organizations/{organization}/issues/")'
    " { statusCode result headers { name } } }",
    "entity": 'query ($connection: ID!) { _entities(representations: [{__typename: "Connection", id: "con_x"}])'
    " { ... on Connection { id } } connection(id: $connection) { id name } }",
    "missing": 'query ($connection: ID!) { connection(id: $connection) { id } users(connectionIds: ["con_x"]) '
    "{ nodes { id } } }",
    "refused": 'query ($connection: ID!) { proxy(connectionId: $connection, path: "organizations/other/") '
    "{ statusCode } }",
    "not found": 'query ($connection: ID!) { proxy(connectionId: $connection, path: "organizations/{organization}/a/")'
    " { statusCode } }",
    "malformed entities": "query ($connection: ID!) { connection(id: $connection) { id } _entities(representations: "
    "[1]) { ... on Connection { id } } }",
}

REQUESTS = 50
"""Of each operation."""


async def post(graph: Graph, operation: str, **variables: Any) -> bytes:
    """Ask past httpx, which has cycles of its own."""
    body = json.dumps({"query": operation, "variables": variables}).encode()
    arrived = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[bytes] = []

    async def receive() -> Message:
        return arrived.pop() if arrived else await asyncio.Event().wait()  # type: ignore[return-value]  # never

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    headers = {"host": "service.test", "content-type": "application/json", "authorization": f"Bearer {graph.key}"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await graph.app(scope, receive, send)
    return b"".join(sent)


@pytest.mark.parametrize("is_compiled", [True, False])
async def test_requests_leave_no_cycles(
    tmp_path: Path, sandbox: Sandbox, sqlite_url: str, *, is_compiled: bool
) -> None:
    async with serve_graph(tmp_path, sandbox, database_url=sqlite_url, compiled_executor=is_compiled) as graph:
        connection = await graph.link(BIG)
        for name, operation in OPERATIONS.items():
            # Those of the operations before would be closed for being idle some time, which leaves cycles at both ends.
            await graph.runtime.services.client.aclose()
            for _ in range(4):  # compiled, cached, connected
                await post(graph, operation, connection=connection.id)
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for _ in range(REQUESTS):
                    await post(graph, operation, connection=connection.id)
                gc.collect()
                # What each request leaves is there as often as it was asked; what one write of last uses leaves is not.
                kinds = [type(each) for each in gc.garbage]
                left = {kind.__qualname__ for kind in kinds if kinds.count(kind) >= REQUESTS}
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
            assert left == set(), name
