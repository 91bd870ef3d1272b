"""The servers that the contract is held against: the sandbox in both manners always, a real one where it is named.

``SENTRY_TEST_URL``              its address
``SENTRY_TEST_TOKEN``            an owner's or manager's token with all the :read scopes
``SENTRY_TEST_ORG``              the organization's slug; by default the one with the most projects
``SENTRY_TEST_MANNER``           ``23.7`` or ``latest`` (the default)
``SENTRY_TEST_LIMITED_TOKEN``    a token without member:read
``SENTRY_TEST_EXPIRED_TOKEN``    a token that has expired
``SENTRY_TEST_INTERNAL_TOKEN``   a token of an internal integration of that organization, with member:read

``SENTRY_TEST_LOGIN``            a person's login, an owner of that organization
``SENTRY_TEST_PASSWORD``         the person's password
``SENTRY_TEST_SEND_EVENT``       a command that sends an error to ``SENTRY_DSN``: ``sentry-cli send-event -m``

Nothing is written to a real server, except where a login is given: then the tests of linking sign in as that person,
make an OAuth application and an app of their own, install the app in the organization and in another one of the
person's, and remove all of it at the end; and those of webhooks resolve, archive, assign and comment on an issue that
nobody is assigned to, and leave it unresolved. The token must then have org:write, org:integrations, event:write and
project:write, too, and be that person's. With Chromium, they also link through a service of ours, by that Sentry's own
pages; the server must reach this machine's loopback address, to which it sends webhooks.
"""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, DEMO_PASSWORD, DEMO_TOKENS, Manner
from tests.browser.conftest import browser, context, page, program, watch
from tests.contract.linking import APP_REDIRECT, OTHER_REDIRECT, REDIRECT, Bench, Client
from tests.contract.receiver import Receiver, receiving
from tests.contract.registration import registered
from tests.contract.server import Kind, Server
from tests.contract.service import Service, serve_service

__all__ = ["browser", "context", "page", "program", "watch"]

_URL = os.environ.get("SENTRY_TEST_URL", "").rstrip("/")
_TOKEN = os.environ.get("SENTRY_TEST_TOKEN", "")
if _URL and not _TOKEN:
    raise pytest.UsageError("SENTRY_TEST_URL is set: set SENTRY_TEST_TOKEN, too.")
_SERVERS = ["sandbox-23.7", "sandbox-latest", *(["real"] if _URL else [])]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "contract" in item.path.parts:
            item.add_marker("contract")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _URL:
        terminalreporter.write_line("No real Sentry was asked: set SENTRY_TEST_URL and SENTRY_TEST_TOKEN to ask one.")


def _of_sandbox(sandbox: Sandbox, manner: Manner, *, is_strict: bool = False) -> Server:
    sandbox.manner = manner
    tokens: dict[Kind, str] = {
        "admin": DEMO_TOKENS.admin,
        "limited": DEMO_TOKENS.limited,
        "expired": DEMO_TOKENS.expired,
        "internal": DEMO_TOKENS.internal,
    }
    return Server(sandbox.url, manner, tokens, "lumen-labs", is_strict)


@pytest.fixture(scope="session")
def real_server() -> Server:
    tokens: dict[Kind, str] = {"admin": _TOKEN}
    others: tuple[Kind, ...] = ("limited", "expired", "internal")
    tokens |= {kind: value for kind in others if (value := os.environ.get(f"SENTRY_TEST_{kind.upper()}_TOKEN"))}
    manner = os.environ.get("SENTRY_TEST_MANNER", "latest")
    assert manner in {"23.7", "latest"}, "SENTRY_TEST_MANNER must be 23.7 or latest"
    server = Server(_URL, "23.7" if manner == "23.7" else "latest", tokens, os.environ.get("SENTRY_TEST_ORG", ""))
    if server.organization:
        return server
    slugs = [organization["slug"] for organization in server.rows("organizations/")]
    return replace(
        server, organization=max(slugs, key=lambda slug: len(server.rows(f"organizations/{slug}/projects/")))
    )


@pytest.fixture(params=_SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "real":
        found: Server = request.getfixturevalue("real_server")
        return found
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    return _of_sandbox(sandbox, "23.7" if request.param == "sandbox-23.7" else "latest")


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="session")
def real_bench(real_server: Server, receiver: Receiver) -> Iterator[Bench]:
    login, password = os.environ.get("SENTRY_TEST_LOGIN"), os.environ.get("SENTRY_TEST_PASSWORD")
    if not login or not password:
        pytest.skip("SENTRY_TEST_LOGIN and SENTRY_TEST_PASSWORD are not set")
    with registered(real_server, login, password, receiver.url) as bench:
        yield bench


@pytest.fixture
def bench(request: pytest.FixtureRequest, server: Server, receiver: Receiver) -> Bench:
    """A server to link with: a person who can sign in, an OAuth application, an app."""
    if request.node.callspec.params["server"] == "real":
        found: Bench = request.getfixturevalue("real_bench")
        return found
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    sandbox.register_redirects(oauth=[REDIRECT, OTHER_REDIRECT], install=APP_REDIRECT, webhook=receiver.url)
    oauth = Client(DEMO_OAUTH_CLIENT.client_id, DEMO_OAUTH_CLIENT.client_secret)
    app = Client(DEMO_APP.client_id, DEMO_APP.client_secret, DEMO_APP.slug)

    def register(redirect_uris: Sequence[str], install: str, webhook: str) -> None:
        sandbox.register_redirects(oauth=redirect_uris, install=install, webhook=webhook)

    def withdraw() -> None:
        world = sandbox.world
        given = [token.value for token in world.tokens.values() if token.application in world.oauth_applications]
        for value in given[:1]:
            sandbox.revoke(value)

    login = sandbox.world.users[0].email
    return Bench(server, login, DEMO_PASSWORD, oauth, app, register, withdraw, sandbox.expire)


@pytest_asyncio.fixture(loop_scope="session")
async def service(bench: Bench, tmp_path: Path, sqlite_url: str, receiver: Receiver) -> AsyncIterator[Service]:
    """Our own service on data of its own, registered with the server; the app's webhooks go elsewhere."""
    async with serve_service(tmp_path, sqlite_url, bench) as served:
        bench.register([REDIRECT, OTHER_REDIRECT, *served.redirect_uris], served.install_url, receiver.url)
        bench.withdraw()
        yield served
        bench.register([REDIRECT, OTHER_REDIRECT], APP_REDIRECT, receiver.url)
        for installation in bench.installations():
            bench.uninstall(installation["uuid"])


@pytest.fixture
def installation(bench: Bench) -> Iterator[dict[str, Any]]:
    """The app, installed for this test: what the API answered, with the code."""
    found = bench.install()
    yield found
    assert bench.uninstall(found["uuid"]).status_code in {204, 404}


@pytest.fixture(params=_SERVERS)
def strict_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with Sentry's own limits, and a client that does not wait."""
    if request.param == "real":
        real: Server = request.getfixturevalue("real_server")
        yield replace(real, is_strict=True)
        return
    sandbox = create_sandbox(SandboxConfig())
    with serve_in_thread(sandbox):
        yield _of_sandbox(sandbox, "23.7" if request.param == "sandbox-23.7" else "latest", is_strict=True)
