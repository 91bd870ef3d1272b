import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """A folder with a database and a keyring."""
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", f"sqlite:///{tmp_path}/graph.db")
    monkeypatch.setenv("SENTRY_GRAPH_KEYRING_FILE", str(tmp_path / "keyring.json"))
    assert run("migrate")[0] == 0
    assert run("keys", "init")[0] == 0
    return tmp_path


def status(run: Run) -> dict[str, tuple[str, int]]:
    code, output, _ = run("keys", "status", "--json")
    assert code == 0
    return {row["key"]: (row["state"], row["secrets"]) for row in json.loads(output)}


def test_a_keyring_is_made_once(run: Run, folder: Path):
    before = (folder / "keyring.json").read_bytes()
    code, _, error = run("keys", "init")
    assert code == 1
    assert "already" in error
    assert (folder / "keyring.json").read_bytes() == before


def test_commands_say_how_to_make_a_keyring(run: Run, folder: Path):
    (folder / "keyring.json").unlink()
    for command in (["rotate"], ["rewrap"], ["status"], ["retire", "x"]):
        code, _, error = run("keys", *command)
        assert code == 1
        assert "keys init" in error


def test_rotate_and_retire(run: Run, folder: Path):
    [(old, state)] = status(run).items()
    assert state == ("active", 0)
    assert run("keys", "rotate")[0] == 0
    assert status(run)[old] == ("old", 0)
    code, _, error = run("keys", "rewrap")
    assert code == 0
    assert "Sealed 0 secrets" in error
    assert run("keys", "retire", old)[0] == 0
    [(new, state)] = status(run).items()
    assert (new != old, state) == (True, ("active", 0))
    code, _, error = run("keys", "retire", new)
    assert code == 1
    assert "active key" in error


def test_no_command_shows_a_key(run: Run, folder: Path):
    shown = "".join(output + error for _, output, error in (run("keys", "rotate"), run("keys", "status")))
    kept = json.loads((folder / "keyring.json").read_text())
    for secret in [*kept["keys"].values(), kept["apiKeyPepper"], kept["cursorKey"]]:
        assert secret not in shown


def test_a_secret_that_no_key_opens_is_told(run: Run, folder: Path):
    with sqlite3.connect(folder / "graph.db") as database:
        database.execute("INSERT INTO tenants VALUES ('t', 'T', '2030-01-01')")
        row = {"id": "con_x", "tenant_id": "t", "external_id": "x", "name": "x", "status": "active", "profile": "full"}
        row |= {
            "authentication": "user_token",
            "scopes": "[]",
            "control_origin": "https://a",
            "api_origin": "https://a",
        }
        row |= {
            "organization_slug": "x",
            "organization_name": "x",
            "created_at": "2030-01-01",
            "updated_at": "2030-01-01",
        }
        marks = ", ".join(f":{name}" for name in row)
        database.execute(f"INSERT INTO connections ({', '.join(row)}) VALUES ({marks})", row)
        database.execute(
            "INSERT INTO credentials (connection_id, tenant_id, version, key_id, access_token, fingerprint, failures, "
            "updated_at) VALUES ('con_x', 't', 1, 'key_lost', X'01', 'f', 0, '2030-01-01')"
        )
    database.close()
    assert status(run)["key_lost"] == ("MISSING", 1)
    code, _, error = run("keys", "rewrap")
    assert code == 1
    assert "opens 1 other" in error
