import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from service.schema.graphiql.node import find_node, npm_ci
from tests.schema.small_graph import make_app
from tests.serving import serve

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node_modules() -> Path:
    folder = HERE / "node_modules"
    stamp = folder / ".installed"
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        npm_ci(HERE)
        stamp.write_text(digest)
    return folder


@pytest.mark.usefixtures("node_modules")
def test_all_61_audits_of_graphql_http_pass() -> None:
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
