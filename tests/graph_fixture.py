"""The whole service over HTTP, in process, with the stand-in Sentry linked: for the tests of the graph.

``graph.query(text, **variables)`` asks as an admin of the tenant; ``graph.as_(key)`` gives the same service asked by
another caller. ``graph.link(organization)`` links another organization.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from service.app import Runtime, create_app
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.connections.models import ConnectionRecord
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.settings import Settings
from service.tenants.caller import Caller, Role

BIG, MIDDLE, SMALL = "lumen-labs", "northwind-rail", "paper-boat"


@dataclass(frozen=True)
class Graph:
    """The service, and one caller of it."""

    runtime: Runtime
    app: ASGIApp
    http: httpx.AsyncClient
    sandbox: Sandbox
    tenant_id: str
    key: str

    @property
    def caller(self) -> Caller:
        """An admin of the tenant, for calling the parts directly."""
        return Caller(self.tenant_id, Role.ADMIN, "test")

    async def make_key(self, role: Role = Role.READ, tenant_id: str | None = None, **narrowing: Any) -> str:
        """A new API key."""
        _, key = await self.runtime.services.tenants.create_key(
            tenant_id or self.tenant_id, name="test", role=role, pepper=self.runtime.keyring.api_key_pepper, **narrowing
        )
        return key

    async def as_role(self, role: Role, **narrowing: Any) -> "Graph":
        """The same service asked with another key of the tenant."""
        return replace(self, key=await self.make_key(role, **narrowing))

    async def as_tenant(self, name: str, role: Role = Role.ADMIN) -> "Graph":
        """The same service asked by another, new tenant."""
        tenant = await self.runtime.services.tenants.create_tenant(name)
        return replace(self, tenant_id=tenant.id, key=await self.make_key(role, tenant.id))

    async def link(self, organization: str, token: str = DEMO_TOKENS.admin, **options: Any) -> ConnectionRecord:
        """Link an organization of the sandbox."""
        request = LinkRequest(token=token, origin=self.sandbox.url, organization=organization, **options)
        connection = await self.runtime.services.linker.link(self.caller, request)
        self.sandbox.requests.clear()
        return connection

    async def send(self, text: str, **variables: Any) -> httpx.Response:
        """The raw answer to an operation."""
        return await self.http.post(
            "/graphql",
            json={"query": text, "variables": variables},
            headers={"authorization": f"Bearer {self.key}"},
        )

    async def ask(self, text: str, **variables: Any) -> dict[str, Any]:
        """The decoded answer, errors and all."""
        answer: dict[str, Any] = (await self.send(text, **variables)).json()
        return answer

    async def query(self, text: str, **variables: Any) -> Any:
        """The data of an answer that must have no errors."""
        answer = await self.ask(text, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def error(self, text: str, **variables: Any) -> dict[str, Any]:
        """The one error of an answer."""
        answer = await self.ask(text, **variables)
        (error,) = answer["errors"]
        return {"message": error["message"], "path": error.get("path"), **error["extensions"]}

    def calls(self, path: str = "") -> int:
        """How many calls reached Sentry."""
        return self.sandbox.count("", path)


@asynccontextmanager
async def serve_graph(folder: Path, sandbox: Sandbox, **settings: Any) -> AsyncIterator[Graph]:
    """A service of its own in ``folder``, with one tenant."""
    keyring_file = folder / "keyring.json"
    Keyring.init(keyring_file)
    options: dict[str, Any] = {
        "database_url": f"sqlite:///{folder / 'graph.db'}",
        "egress_allow": (sandbox.url,),
        "public_url": "http://service.test",
        "repair_seconds": 0,  # or else the service would call Sentry by itself, while a test counts the calls
    } | settings
    runtime = Runtime.build(Settings(keyring_file=keyring_file, **options))
    app = create_app(runtime)
    async with runtime.started():
        tenant = await runtime.services.tenants.create_tenant("Acme")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as http:
            graph = Graph(runtime, app, http, sandbox, tenant.id, "")
            yield replace(graph, key=await graph.make_key(Role.ADMIN))


@pytest.fixture
async def graph(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Graph]:
    """The service with nothing linked."""
    async with serve_graph(tmp_path, sandbox, introspection=True, database_url=sqlite_url) as served:
        yield served
