"""The stand-in Sentry on a real socket, for the tests of every room: one server a session, as new for every test.

``sandbox.url`` is its address, ``sandbox.requests`` and ``sandbox.count(method, pattern)`` what arrived;
``sandbox.faults.add(...)`` breaks it, ``sandbox.manner = "23.7"`` makes it old, and ``sandbox.limiter.limit = 3``
strict (the headers are always sent, and the limit is high); ``sandbox.world`` is what it serves. The tokens are
``service.sandbox.world.DEMO_TOKENS``.
"""

from collections.abc import Iterator

import pytest

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.server import serve_in_thread


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    app = create_sandbox(SandboxConfig(rate_limit=10_000, concurrency=10_000, endpoint_limits=False, control=True))
    with serve_in_thread(app):
        yield app


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Iterator[Sandbox]:
    sandbox_server.reset()
    yield sandbox_server
    sandbox_server.reset()
