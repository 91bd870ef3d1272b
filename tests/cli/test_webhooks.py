import asyncio
import json
from pathlib import Path

import pytest

from service.connections.keyring import Keyring
from service.db import Database
from tests.canary import find_canary
from tests.cli.conftest import Run
from tests.connections.factory import add_tenant
from tests.webhooks.receiving import OTHER_UUID, UUID, Receiving, issue

SECRET = "c5" * 32


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, sqlite_url: str) -> Keyring:
    apps = [{"slug": "linker", "client_id": "client-1", "client_secret": SECRET}]
    monkeypatch.setenv("SENTRY_GRAPH_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("SENTRY_GRAPH_KEYRING_FILE", str(tmp_path / "keyring.json"))
    monkeypatch.setenv("SENTRY_GRAPH_PUBLIC_URL", "https://graph.example")
    monkeypatch.setenv("SENTRY_GRAPH_SENTRY_APPS", json.dumps(apps))
    assert run("keys", "init")[0] == 0
    return Keyring.load(tmp_path / "keyring.json")


def test_the_addresses_of_public_integrations(keyring: Keyring, run: Run, monkeypatch: pytest.MonkeyPatch):
    code, output, error = run("webhooks", "urls", "--json")
    assert (code, error) == (0, "")
    [row] = json.loads(output)
    assert (row["integration"], row["origin"]) == ("linker", "https://sentry.io")
    assert row["webhook_url"].startswith("https://graph.example/webhooks/sentry/client-1/")
    assert row["webhook_url"] in run("webhooks", "urls")[1]
    assert find_canary(SECRET, output.encode()) == []
    monkeypatch.delenv("SENTRY_GRAPH_SENTRY_APPS")
    code, output, error = run("webhooks", "urls")
    assert (code, output) == (0, "")
    assert "SENTRY_GRAPH_SENTRY_APPS" in error


def test_the_quarantine_of_all_tenants(keyring: Keyring, run: Run, sqlite_url: str):
    assert run("webhooks", "quarantine")[2] == "Nothing is in quarantine.\n"

    async def receive() -> str:
        database = Database(sqlite_url)
        async with Receiving.build(database, keyring).running() as service:
            admin = await add_tenant(database, "ten_1")
            receiver = await service.receiver(admin, await service.link(admin))
            assert await service.send(issue(uuid=OTHER_UUID)) == 200
            assert await service.send_to(receiver, issue(uuid=OTHER_UUID)) == 200
        await database.dispose()
        return receiver.id

    receiver_id = asyncio.run(receive())
    code, output, _ = run("webhooks", "quarantine", "--json")
    assert code == 0
    found = {row["reason"]: row for row in json.loads(output)}
    assert set(found) == {"unknown_installation", "other_installation"}
    assert found["unknown_installation"]["integration"] == "linker"
    assert found["unknown_installation"]["tenant_id"] is None
    assert found["other_installation"]["receiver_id"] == receiver_id
    assert found["other_installation"]["tenant_id"] == "ten_1"
    assert {row["installation_id"] for row in found.values()} == {OTHER_UUID}
    assert UUID not in output
    assert "unknown_installation" in run("webhooks", "quarantine")[1]
