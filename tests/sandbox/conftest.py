from collections.abc import AsyncIterator

import httpx
import pytest

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.world import DEMO_TOKENS


@pytest.fixture
def app() -> Sandbox:
    """A sandbox that is not served: it answers in this process."""
    return create_sandbox(SandboxConfig(rate_limit=10_000, endpoint_limits=False, control=True))


def client_of(app: Sandbox, token: str = DEMO_TOKENS.admin) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://sandbox/api/0/",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


@pytest.fixture
async def client(app: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as found:
        yield found
