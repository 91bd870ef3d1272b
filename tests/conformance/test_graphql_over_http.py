import json
import subprocess
from pathlib import Path

from service.schema.graphiql.node import find_node
from tests.conformance.npm import install
from tests.graphql_http.small_graph import make_app
from tests.serving import serve

HERE = Path(__file__).parent


def test_all_61_audits_of_graphql_http_pass() -> None:
    install(HERE)
    with serve(make_app(introspection=True)) as port:
        done = subprocess.run(
            [find_node(), HERE / "audit.mjs", f"http://127.0.0.1:{port}/graphql", "Bearer acme"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    results = json.loads(done.stdout)
    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == 61
