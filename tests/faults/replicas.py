"""Real `serve` processes over one database, with an account of the stand-in Sentry linked."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.app import Runtime
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.settings import PREFIX, Settings
from service.tenants.caller import Caller, Role
from tests.canary import find_canary
from tests.scale import scaled

TENANT = "acme"
USERS = "query Users { users(first: 1) { edges { node { id } } failures { message } } }"
CHEAP = "query Cheap { connections(first: 1) { edges { node { id } } } }"


@dataclass
class Service:
    """A database with a linked account and an API key, to be served by replicas."""

    settings: dict[str, Any]
    key: str
    connection_id: str

    @asynccontextmanager
    async def replica(self, port: int, *, wrapper: Sequence[str] = (), **settings: Any) -> AsyncIterator["Replica"]:
        """A serving process, perhaps started by a ``wrapper`` command; killed at the end where it still runs."""
        process = await self._start(*wrapper, sys.executable, "-m", "service", "serve", **settings, port=port)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=30, headers={"authorization": f"Bearer {self.key}"}) as http:
            replica = Replica(process, http)
            try:
                await until(replica.is_ready)
                yield replica
            finally:
                await replica.kill()

    async def run(self, *arguments: str, **settings: Any) -> tuple[int, str, str]:
        """A command beside the replicas: its exit code, output and errors."""
        process = await self._start(sys.executable, "-m", "service", *arguments, **settings)
        async with asyncio.timeout(30):
            output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def _start(self, *command: str, **settings: Any) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        ours = {f"{PREFIX}{name.upper()}": str(value) for name, value in (self.settings | settings).items()}
        return await asyncio.create_subprocess_exec(*command, env=inherited | ours, stdout=PIPE, stderr=PIPE)


@dataclass
class Replica:
    """One serving process, asked as an admin."""

    process: Process
    http: httpx.AsyncClient
    log: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, query: str, **variables: Any) -> httpx.Response:
        """The raw answer to an operation that has a name."""
        name = query.split()[1].partition("(")[0]
        return await self.http.post("/graphql", json={"query": query, "operationName": name, "variables": variables})

    async def codes(self, query: str, **variables: Any) -> list[str]:
        """The codes of an answer's errors."""
        answer = (await self.ask(query, **variables)).json()
        return [error["extensions"]["code"] for error in answer.get("errors", [])]

    async def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    async def is_ready(self) -> bool:
        """Whether it wants requests."""
        try:
            return (await self.http.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def is_unready(self) -> bool:
        """Whether it wants none, or is gone."""
        return not await self.is_ready()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def wait_until_ended(self) -> int:
        """The exit code; what was logged is in ``log`` then."""
        async with asyncio.timeout(30):
            output, errors = await self.process.communicate()
        assert output == b""
        assert find_canary(DEMO_TOKENS.admin, errors) == find_canary(self.http.headers["authorization"], errors) == []
        self.log = [json.loads(line) for line in errors.decode().splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode

    async def kill(self) -> None:
        """End it now."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


async def prepare(database_url: str, folder: Path, sandbox: Sandbox) -> Service:
    """Fill a migrated database."""
    keyring_file = folder / "keyring.json"
    Keyring.init(keyring_file)
    common: dict[str, Any] = {"database_url": database_url, "keyring_file": keyring_file, "shutdown_seconds": 10}
    runtime = Runtime.build(Settings(**common, egress_allow=(sandbox.url,)))
    async with runtime.started():
        await runtime.services.tenants.create_tenant("Acme", tenant_id=TENANT)
        _, key = await runtime.services.tenants.create_key(
            TENANT, name="test", role=Role.ADMIN, pepper=runtime.keyring.api_key_pepper
        )
        connection = await runtime.services.linker.link(
            Caller(TENANT, Role.ADMIN, "test"),
            LinkRequest(token=DEMO_TOKENS.admin, origin=sandbox.url, organization="lumen-labs"),
        )
    sandbox.requests.clear()
    return Service(common | {"egress_allow": json.dumps([sandbox.url])}, key, connection.id)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what happens in another process or thread, which sets no event here."""
    async with asyncio.timeout(scaled(test=30, soak=120)):  # a soak may share the machine
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
