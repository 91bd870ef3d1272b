import asyncio
import json
from pathlib import Path

import pytest
from sqlmodel import select

from service.connections.keyring import Keyring
from service.db import Database
from service.ids import new_id
from service.tenants.keys import is_key, parse_prefix
from service.tenants.models import ApiKeyRecord
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def keyring(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", database_url)
    monkeypatch.setenv("SENTRY_GRAPH_KEYRING_FILE", str(tmp_path / "keyring.json"))
    return Keyring.init(tmp_path / "keyring.json")


def test_tenants_are_created_and_listed(run: Run):
    code, output, _ = run("tenants", "create", "Acme & Co", "--id", "acme")
    assert code == 0
    assert output.splitlines()[0].split("  ")[0] == "ID"
    assert output.splitlines()[1].startswith("acme  Acme & Co  2")
    code, output, _ = run("tenants", "list", "--json")
    assert code == 0
    (tenant,) = json.loads(output)
    assert (tenant["id"], tenant["name"], tenant["created_at"][-1]) == ("acme", "Acme & Co", "Z")


def test_no_tenants(run: Run):
    code, output, error = run("tenants", "list")
    assert (code, output) == (0, "")
    assert "tenants create" in error
    assert run("tenants", "list", "--json")[1] == "[]\n"


def test_a_key_is_shown_once(run: Run):
    run("tenants", "create", "Acme", "--id", "acme")
    code, output, error = run("api-keys", "create", "acme", "gateway", "--role", "write")
    shown = output.strip()
    assert code == 0
    assert parse_prefix(shown)
    assert "shown only now" in error
    code, output, error = run("api-keys", "list", "acme")
    assert code == 0
    assert "gateway" in output
    assert "write" in output
    assert shown.rpartition("_")[2] not in output + error


def test_a_key_is_made_under_the_keyrings_pepper(run: Run, keyring: Keyring, database_url: str):
    run("tenants", "create", "Acme", "--id", "acme")
    code, output, _ = run("api-keys", "create", "acme", "gateway", "--json")
    made = json.loads(output)
    assert code == 0
    assert made["id"].startswith("key_")
    assert is_key(made["key"], _read_digest(database_url), keyring.api_key_pepper)


def _read_digest(url: str) -> bytes:
    async def read() -> bytes:
        database = Database(url)
        async with database.session() as session:
            digest = (await session.exec(select(ApiKeyRecord.digest))).one()
        await database.dispose()
        return digest

    return asyncio.run(read())


def test_a_key_is_narrowed_and_expires(run: Run):
    run("tenants", "create", "Acme", "--id", "acme")
    connection_id = new_id("con")
    options = ["--connection", connection_id, "--external-id", "shop", "--external-id", "blog"]
    code, _, _ = run("api-keys", "create", "acme", "customer", *options, "--expires", "2999-01-31T00:00:00Z")
    assert code == 0
    (key,) = json.loads(run("api-keys", "list", "acme", "--json")[1])
    assert (key["connection_ids"], key["external_ids"]) == ([connection_id], ["blog", "shop"])
    assert (key["expires_at"], key["role"], key["revoked_at"]) == ("2999-01-31T00:00:00Z", "read", None)
    assert "blog, shop" in run("api-keys", "list", "acme")[1]


def test_a_key_is_revoked(run: Run):
    run("tenants", "create", "Acme", "--id", "acme")
    key_id = json.loads(run("api-keys", "create", "acme", "gateway", "--json")[1])["id"]
    code, output, _ = run("api-keys", "revoke", "acme", key_id, "--json")
    assert code == 0
    assert json.loads(output)[0]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tenants", "create", " "], "name"),
        (["tenants", "create", "Acme", "--id", "a b"], "id"),
        (["api-keys", "list", "nobody"], "no such tenant"),
        (["api-keys", "create", "nobody", "key"], "no such tenant"),
        (["api-keys", "revoke", "nobody", "key_1"], "no such API key"),
        (["api-keys", "create", "nobody", "key", "--expires", "tomorrow"], "2030-01-31T00:00:00Z"),
        (["api-keys", "create", "nobody", "key", "--expires", "2030-01-31"], "2030-01-31T00:00:00Z"),
        (["api-keys", "create", "nobody", "key", "--connection", "x"], "connection"),
    ],
)
def test_wrong_input_is_one_line(run: Run, arguments: list[str], said: str):
    code, output, error = run(*arguments)
    assert (code, output) == (1, "")
    assert error.startswith("Error: ")
    assert said in error
    assert "Traceback" not in error


def test_a_database_that_was_not_migrated(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    code, _, error = run("tenants", "list")
    assert (code, error.splitlines()[1]) == (1, "Run `python -m service migrate` to make it.")
    assert run("migrate")[0] == 0
    assert run("tenants", "list")[0] == 0
    assert run("migrate", "--down", "base")[0] == 0
    assert run("tenants", "list")[0] == 1
