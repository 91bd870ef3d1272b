"""No token comes out anywhere: not in a repr, an error, its traceback, a log line, or the database's files."""

import logging
import traceback
from pathlib import Path

import httpx
import pytest
import structlog

from service.connections.keyring import Keyring
from service.connections.linking import Linker, LinkRequest
from service.connections.rewrap import rewrap
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.errors import ServiceError
from service.journal import Journal
from service.sentry.egress import EgressPolicy
from tests.canary import find_canary
from tests.connections.factory import add_tenant, build_accounts
from tests.connections.upstream import ROOT, Upstream, client_of, organization

TOKENS = [
    "sntryu_" + "5f0c9a3b1d2e4f60" * 4,
    "sntryi_" + "6a1d0b4c2e3f5071" * 4,
    "7b2e1c5d3f4061829b3c4d5e6f708192" * 2,
]
GOOD = {
    "sentry.io/": ROOT,
    "sentry.io/organizations/": [organization("acme")],
    "us.sentry.io/organizations/acme/projects/": [{"id": "1", "slug": "web"}],
}


def echo(request: httpx.Request) -> httpx.Response:
    """A server that repeats what it was sent."""
    return httpx.Response(401, json={"detail": f"Bad header {request.headers['authorization']}"})


def refuse(request: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"field": [request.headers["authorization"]]})


def read_files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("token", TOKENS)
async def test_no_token_comes_out(token, sqlite_url, tmp_path: Path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    database = Database(sqlite_url)
    keyring = Keyring.init(tmp_path / "keyring.json")
    vault, store, policy = Vault(keyring), ConnectionStore(database), EgressPolicy()
    admin = await add_tenant(database, "ten_1")
    written: list[str] = []

    with structlog.testing.capture_logs() as logged:
        for answers in (
            GOOD,
            GOOD | {"sentry.io/": echo},
            GOOD | {"sentry.io/": refuse},
            GOOD | {"sentry.io/": httpx.ReadError(f"Bearer {token}")},
            GOOD | {"sentry.io/": 403},
            GOOD | {"sentry.io/organizations/": [organization("acme", "https://evil.example")]},
            GOOD | {"sentry.io/organizations/": echo},
        ):
            client = client_of(Upstream(answers), policy)
            accounts = build_accounts(database, store, vault, client)
            linker = Linker(client, policy, store, vault, accounts, Journal(database))
            for pasted in (
                token,
                f"Bearer {token}",
                f"Cookie: sid={token}",
                f"https://{token}@sentry.io/1",
                token + "é",
            ):
                request = LinkRequest(pasted, external_id="cust", projects=["web"])
                written.append(repr(request))
                try:
                    connection = await linker.link(admin, request)
                    written.append(repr(connection) + connection.model_dump_json())
                except ServiceError as error:
                    written += [repr(error), str(error.extensions()), *traceback.format_exception(error)]

        [connection] = await store.page(admin, limit=9)
        linked = await store.get_linked(admin, connection.id)
        _, account = await accounts.account(admin, connection.id)
        used = await account.tokens.token()
        assert used.value == token
        keyring.rotate()
        await rewrap(database, vault)
        written += [repr(each) for each in (linked, account, account.tokens, used, vault, store, accounts, linker)]
        try:
            await account.tokens.fresh_token(used)
        except ServiceError as error:
            written += [repr(error), *traceback.format_exception(error)]

    written += [record.getMessage() for record in caplog.records] + [str(line) for line in logged]
    written += list(capfd.readouterr())
    files = read_files(tmp_path)  # with SQLite's write-ahead log
    await database.dispose()
    files += read_files(tmp_path)
    assert any(b"acme" in content for content in files)
    for content in [*(text.encode("utf-8", "surrogatepass") for text in written), *files]:
        assert find_canary(token, content) == []
