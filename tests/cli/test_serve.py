"""What stops a start: one line that says what to change, and no traceback."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.databases import PostgresServer


@pytest.fixture(autouse=True)
def keyring(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder of its own, like all that a start could make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTRY_GRAPH_PORT", "0")
    assert run("keys", "init")[0] == 0
    return tmp_path / "data/keyring.json"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def check_refused(answer: tuple[int, str, str], name: str) -> None:
    code, output, error = answer
    assert (code, output) == (1, "")
    first, *rest = error.splitlines()
    assert first.startswith("Error: ")
    assert name in error
    assert len(rest) <= 1, error  # the cure


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EGRESS_ALLOW", '["sentry.internal"]'),
        ("FORWARD_ALLOW", '["consumer.internal"]'),
        ("EGRESS_ALLOW", '["https://user:hunter2@sentry.internal"]'),
        ("TRUSTED_DOCUMENTS", "missing.json"),
        ("JWT_ISSUERS", json.dumps([{"issuer": "i", "audience": "a", "tenants": ["t"], "jwks_file": "missing.json"}])),
        ("HOST", "999.1.1.1"),
        ("DATABASE_URL", "sqlite:////dev/null/graph.db"),
        ("PUBLIC_URL", "graph.example"),
    ],
)
def test_a_setting_that_cannot_be_used_names_its_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(f"SENTRY_GRAPH_{name}", value)
    check_refused(answer := run("serve"), f"SENTRY_GRAPH_{name}")
    assert "hunter2" not in answer[2]


def test_a_port_that_is_taken(run: Run, taken_port: int):
    check_refused(run("serve", "--port", str(taken_port)), str(taken_port))


def test_a_keyring_that_is_missing(run: Run, keyring: Path):
    keyring.unlink()
    check_refused(run("serve"), "keys init")


def test_a_keyring_that_is_broken(run: Run, keyring: Path):
    keyring.write_text("{")
    check_refused(run("serve"), "keyring.json")


def test_a_postgresql_without_tables(run: Run, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer):
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", postgres.url("postgres"))
    check_refused(run("serve"), "python -m service migrate")


def test_a_postgresql_that_is_not_there_is_told_with_the_reason(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", "postgresql://user:hunter2@127.0.0.1:1/name")
    check_refused(answer := run("serve"), "The database cannot be reached: ")
    assert "hunter2" not in answer[2]
