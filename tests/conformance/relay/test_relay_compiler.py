"""Relay's own compiler takes our schema, a type named ``Connection`` and all, and what it makes of it runs."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from service.schema.build import print_full_sdl
from service.schema.graphiql.node import find_node
from tests.conformance.npm import install
from tests.graph_fixture import BIG, Graph

HERE = Path(__file__).parent
SOURCE = """
graphql`
  fragment List_connection on Connection
  @argumentDefinitions(first: { type: "Int", defaultValue: 100 }, after: { type: "String" })
  @refetchable(queryName: "ListMoreQuery") {
    name
    users(first: $first, after: $after) @connection(key: "List_users") {
      edges { node { ...List_user } }
    }
  }
`;
graphql`
  fragment List_user on User @refetchable(queryName: "ListUserQuery") { email roles { name } }
`;
graphql`
  query ListQuery($id: ID!) {
    connection(id: $id) { ...List_connection }
    users(first: 10) @connection(key: "All_users") { edges { node { ...List_user } } }
  }
`;
"""


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each compiled query."""
    install(HERE)
    folder = tmp_path_factory.mktemp("relay")
    (folder / "src").mkdir()
    (folder / "out").mkdir()
    (folder / "src" / "List.js").write_text(SOURCE)
    (folder / "schema.graphql").write_text(print_full_sdl())
    config = {"src": "./src", "schema": "./schema.graphql", "language": "javascript", "artifactDirectory": "./out"}
    (folder / "relay.config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [find_node(), HERE / "node_modules" / "relay-compiler" / "cli.js", folder / "relay.config.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.name.removesuffix(".graphql.js"): json.loads(text[1])
        for path in (folder / "out").iterdir()
        if (text := re.search(r'"text": ("(?:[^"\\]|\\.)*")', path.read_text()))
    }


async def test_a_compiled_list_is_walked_and_its_objects_fetched_again(queries: dict[str, str], graph: Graph) -> None:
    assert set(queries) == {"ListQuery", "ListMoreQuery", "ListUserQuery"}
    linked = await graph.link(BIG)
    first = (await graph.query(queries["ListQuery"], id=linked.id))["connection"]
    emails, page = [], first["users"]
    while True:
        emails += [edge["node"]["email"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
        page = (await graph.query(queries["ListMoreQuery"], id=linked.id, first=100, after=after))["node"]["users"]
    assert len(emails) == len(set(emails)) > 200
    again = (await graph.query(queries["ListUserQuery"], id=page["edges"][0]["node"]["id"]))["node"]
    assert again["email"] == page["edges"][0]["node"]["email"]
