"""Real `serve` processes over one database, with an account of the stand-in Sentry linked."""

import asyncio
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx

from service.app import Runtime
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.settings import Settings
from service.tenants.caller import Caller, Role
from tests.canary import find_canary
from tests.processes import ServiceProcess, build_environment, start_service
from tests.scale import scaled
from tests.serving import NO_TLS

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
        settings = self.settings | settings | {"port": port}
        url, headers = f"http://127.0.0.1:{port}", {"authorization": f"Bearer {self.key}"}
        with TemporaryFile() as output, TemporaryFile() as errors:
            process = await start(wrapper, "serve", output=output, errors=errors, **settings)
            async with httpx.AsyncClient(base_url=url, timeout=30, headers=headers, verify=NO_TLS) as http:
                replica = Replica(process, http, output, errors)
                try:
                    await until(replica.is_ready)
                    yield replica
                finally:
                    await replica.kill()

    async def run(self, *arguments: str, **settings: Any) -> tuple[int, str, str]:
        """A command beside the replicas: its exit code, output and errors."""
        with TemporaryFile() as output, TemporaryFile() as errors:
            process = await start_service(*arguments, output=output, errors=errors, **self.settings | settings)
            async with asyncio.timeout(30):
                code = await process.wait()
            return code, read(output).decode(), read(errors).decode()


async def start(
    wrapper: Sequence[str], *arguments: str, output: IO[bytes], errors: IO[bytes], **settings: Any
) -> ServiceProcess | Process:
    """Start a command of the service, from nothing where a ``wrapper`` is to run it."""
    if not wrapper:
        return await start_service(*arguments, output=output, errors=errors, **settings)
    command, environment = [*wrapper, sys.executable, "-m", "service", *arguments], build_environment(**settings)
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=errors)


def read(file: IO[bytes]) -> bytes:
    """All that was written to it."""
    file.seek(0)
    return file.read()


@dataclass
class Replica:
    """One serving process, asked as an admin."""

    process: ServiceProcess | Process
    http: httpx.AsyncClient
    output: IO[bytes]
    errors: IO[bytes]
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
        self.process.terminate()

    async def wait_until_ended(self) -> int:
        """The exit code; what was logged is in ``log`` then."""
        async with asyncio.timeout(30):
            code = await self.process.wait()
        errors = read(self.errors)
        assert read(self.output) == b""
        assert find_canary(DEMO_TOKENS.admin, errors) == find_canary(self.http.headers["authorization"], errors) == []
        self.log = [json.loads(line) for line in errors.decode().splitlines()]
        return code

    async def kill(self) -> None:
        """End it now."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def prepare(database_url: str, folder: Path, sandbox: Sandbox) -> Service:
    """Fill a migrated database."""
    keyring_file = folder / "keyring.json"
    Keyring.init(keyring_file)
    common: dict[str, Any] = {"database_url": database_url, "keyring_file": keyring_file, "shutdown_seconds": 10}
    common["repair_seconds"] = 0  # calls by the service itself would be counted with those that a test makes
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
