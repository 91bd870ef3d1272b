"""The graph answers the same compiled as it does on graphql-core's own executor, which a setting brings back."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from graphql import ExecutionResult, get_introspection_query

from service.executor import create_executor
from service.graphql_http.cost import read_costs
from service.graphql_http.documents import Documents
from service.graphql_http.execution import Runner
from service.graphql_http.limits import Limits
from service.graphql_http.requests import GraphQLRequest
from service.sandbox.app import Sandbox
from service.schema.build import build_schema
from service.schema.context import Context
from service.schema.prepared import PREPARED
from service.settings import Settings
from tests.graph_fixture import SMALL, Graph, serve_graph

WHOLE_USERS = """
query ($id: ID!) {
  connection(id: $id) {
    __typename id name users(first: 20) { totalCount edges { node {
      __typename id externalId name email status roles { id name } groups { id name } organizations { slug }
      emails { email isPrimary } createdAt lastActiveAt avatarUrl isEmailVerified remoteDetail
    } } }
  }
  connections { nodes { wrong: users(first: -1) { totalCount } } }
  node(id: $id) { __typename id ... on Connection { status scopes } }
  missing: connection(id: "con_00000000000000000000000000") { id }
  bad: users(first: -1) { totalCount }
  _service { sdl }
}
"""
ENTITIES = """
query ($r: [_Any!]!) { _entities(representations: $r) { __typename ... on Connection { id name } ... on User { id } } }
"""


async def run(graph: Graph, text: str, executor_class: Any, **variables: Any) -> Any:
    schema = build_schema()
    runner = Runner(schema, hide_suggestions=True, executor_class=executor_class)
    limits = Limits.of(Settings(introspection=True))
    document = Documents(schema._schema, limits, read_costs(schema)).load(text)
    running = runner.start(
        document,
        document.operation(None),
        GraphQLRequest(text, None, variables, {}, None),
        Context(graph.caller, graph.runtime.services),
    )
    result = running if isinstance(running, ExecutionResult) else await running
    data = msgspec.json.encode(result.data)
    data = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.+]*", b"moment", data)  # the sandbox's people are active
    data = re.sub(rb'ursor":"[^"]+"', b'ursor":"cursor"', data)  # they say when they end, in seconds
    return data, [(each.message, each.path, each.locations) for each in result.errors or ()]


async def test_operations_answer_the_same_on_both_executors(graph: Graph):
    connection = await graph.link(SMALL)
    compiled = create_executor(pytest.fail, compile_after=0)
    representations = [{"__typename": "Connection", "id": connection.id}, {"__typename": "Nobody"}, {"id": "x"}]
    texts: list[tuple[str, dict[str, Any]]] = [
        *((each.query, {}) for each in PREPARED if not each.variables),
        (WHOLE_USERS, {"id": connection.id}),
        (ENTITIES, {"r": representations}),
        (get_introspection_query(), {}),
    ]
    for text, variables in texts:
        expected = await run(graph, text, None, **variables)
        for _ in range(2):
            assert await run(graph, text, compiled, **variables) == expected


@pytest.mark.parametrize("compiled", [True, False])
async def test_a_setting_chooses_the_executor(tmp_path: Path, sandbox: Sandbox, sqlite_url: str, *, compiled: bool):
    async with serve_graph(
        tmp_path, sandbox, introspection=True, database_url=sqlite_url, compiled_executor=compiled
    ) as graph:
        connection = await graph.link(SMALL)
        data = await graph.query("query ($id: ID!) { connection(id: $id) { id } }", id=connection.id)
        assert data == {"connection": {"id": connection.id}}
        # A variable that is null after all is an error of the whole operation, which graphql-core is left to tell.
        answer = await graph.ask("query ($s: Boolean = true) { connections @skip(if: $s) { totalCount } }", s=None)
        assert answer["errors"]
        metrics, _ = graph.runtime.observer.metrics.render()
        assert (b'sentry_graph_graphql_fallbacks_total{reason="directive"} 1.0' in metrics) == compiled
