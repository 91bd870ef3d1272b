"""Faults around real `serve` processes: what is promised to their callers, and that nothing is left behind."""

import asyncio
import contextlib
import json
import shutil
import socket
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest

from service.sandbox.app import Sandbox, SandboxConfig, create_sandbox
from service.sandbox.faults import Delay, Fail
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_TOKENS
from tests.databases import PostgresServer
from tests.faults.replicas import CHEAP, TENANT, USERS, Replica, Service, prepare, until
from tests.scale import scaled
from tests.serving import free_port

GROUPS = "query Groups { users(first: 100) { nodes { id groups { slug } } failures { message } } }"
LINK = "mutation Link($input: LinkConnectionInput!) { linkConnection(input: $input) { id } }"
MAKE_KEY = 'mutation Make { createApiKey(input: {name: "made"}) { key apiKey { id } } }'
RESOLVE = """
mutation Resolve($connection: ID!, $key: String!) {
  proxy(connectionId: $connection, method: "PUT", path: "organizations/{organization}/issues/",
        query: [{name: "id", value: "1"}], body: {status: "resolved"}, idempotencyKey: $key) { statusCode }
}
"""

# --- client disconnects ---


def build_request(service: Service, number: int) -> bytes:
    """A request by GraphQL, by the streaming REST proxy, or of a write, in turn."""
    if number % 3 == 1:
        path, body = f"/proxy/{service.connection_id}/api/0/organizations/lumen-labs/members/", b""
    else:
        variables = {"connection": service.connection_id, "key": f"write {number}"}
        operation = {"query": GROUPS} if number % 3 == 0 else {"query": RESOLVE, "variables": variables}
        path, body = "/graphql", json.dumps(operation).encode()
    head = (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def leave(port: int, request: bytes, point: int, sandbox: Sandbox) -> None:
    """Send a request and go away: while sending it, while it is on its way to Sentry, or amid the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stage, fraction = point % 4, point / scaled(test=50, soak=1000)
    if stage == 0:
        writer.write(request[: 1 + int(len(request) * fraction)])
        await writer.drain()
    else:
        calls = len(sandbox.requests)
        writer.write(request)
        await writer.drain()
        if stage == 1:
            await asyncio.sleep(0.1 * fraction)
        elif stage == 2:
            await until(lambda: len(sandbox.requests) > calls)
        else:
            await reader.read(1 + int(20_000 * fraction))
    if point % 2:  # a reset instead of a farewell
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_clients_that_leave_at_any_point_leave_nothing_behind(sqlite_service: Service, sandbox: Sandbox):
    port = free_port()
    writes = [number for number in range(scaled(test=50, soak=1000)) if number % 3 == 2]
    # Two connections to Sentry: two that leaked would be the end.
    async with sqlite_service.replica(port, upstream_connections=2, upstream_deadline=10) as replica:
        await replica.ask(GROUPS)
        await replica.ask(USERS)
        files = await replica.metric("process_open_fds")
        sandbox.faults.add(Delay(seconds=0.03))
        for number in range(scaled(test=50, soak=1000)):
            await leave(port, build_request(sqlite_service, number), number, sandbox)

        async def is_idle() -> bool:
            return await replica.metric("sentry_graph_http_requests_open") == 1  # this one

        async def is_closed() -> bool:
            return await replica.metric("process_open_fds") <= files + 2  # kept connections to Sentry

        await until(is_idle)
        await until(is_closed)
        sandbox.faults.clear()
        # Each write happened or did not; repeated with its key it has happened once.
        for number in writes:
            variables = {"connection": sqlite_service.connection_id, "key": f"write {number}"}
            answer = (await replica.ask(RESOLVE, **variables)).json()
            assert answer == {"data": {"proxy": {"statusCode": 200}}}
        assert sandbox.count("PUT", "issues") == len(writes)
        answer = (await replica.ask(GROUPS)).json()
        assert len(answer["data"]["users"]["nodes"]) == 100

        replica.terminate()
        assert await replica.wait_until_ended() == 0
    assert [line for line in replica.log if line["level"] not in ("info", "debug")] == []


# --- Sentry down ---


async def test_a_sentry_that_is_down_leaves_the_neighbours_alone(sqlite_service: Service, sandbox: Sandbox):
    other = create_sandbox(SandboxConfig(rate_limit=None))
    with serve_in_thread(other):
        allowed = json.dumps([sandbox.url, other.url])
        async with sqlite_service.replica(free_port(), egress_allow=allowed) as replica:
            link = {"token": DEMO_TOKENS.admin, "origin": other.url, "organization": "paper-boat"}
            assert await replica.codes(LINK, input=link) == []
            other.requests.clear()
            other.faults.add(Fail(status=503))

            both = "query Both { users(first: 1000) { nodes { id } failures { code message } } }"
            for _ in range(20):
                users = (await replica.ask(both)).json()["data"]["users"]
                assert len(users["nodes"]) > 250
                assert [failure["code"] for failure in users["failures"]] == ["UPSTREAM_UNAVAILABLE"]

            # The breaker opened, and from then on one call a pause tries again.
            assert 8 <= len(other.requests) < 20
            other.faults.clear()

            async def is_back() -> bool:
                answer = (await replica.ask(both)).json()
                return not answer["data"]["users"]["failures"]

            await until(is_back)


# --- the database ---


async def test_a_locked_sqlite_file_delays_writes_and_no_reads(sqlite_service: Service, tmp_path: Path):
    async with sqlite_service.replica(free_port()) as replica:
        with contextlib.closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(replica.ask(MAKE_KEY))
            for _ in range(5):
                assert await replica.codes(CHEAP) == await replica.codes(USERS) == []
            assert not writing.done()
            holder.execute("COMMIT")
        assert "errors" not in (await writing).json()


async def test_a_postgresql_that_restarts_is_an_error_meanwhile_and_no_more(
    crashing_postgres: PostgresServer, tmp_path: Path, sandbox: Sandbox
):
    service = await prepare(crashing_postgres.url("migrated"), tmp_path, sandbox)
    async with service.replica(free_port()) as replica:
        assert await replica.codes(USERS) == []
        for _ in range(scaled(test=1, soak=10)):
            await asyncio.to_thread(crashing_postgres.stop)
            await until(replica.is_unready)
            assert await replica.codes(CHEAP) == ["STORAGE_UNAVAILABLE"]
            assert (await replica.http.get("/health")).status_code == 200

            await asyncio.to_thread(crashing_postgres.start)
            await until(replica.is_ready)
            assert await replica.codes(CHEAP) == await replica.codes(MAKE_KEY) == []


async def test_a_full_disk_fails_readiness_and_writes_and_loses_nothing(sqlite_service: Service, tmp_path: Path):
    unshare = [shutil.which("unshare") or "false", "--mount"]
    script = 'mount -t tmpfs -o size=8m tmpfs "$0/disk" && cp "$0/test.db" "$0/disk/" && exec "$@"'
    (tmp_path / "disk").mkdir()
    wrapper = [*unshare, "sh", "-c", script, str(tmp_path)]
    if (await asyncio.to_thread(subprocess.run, [*wrapper, "true"], check=False, capture_output=True)).returncode:
        pytest.skip("NOT TESTED: a full disk. This machine does not let us mount a small tmpfs in a namespace.")
    database_url = f"sqlite:///{tmp_path}/disk/test.db"
    small = {"database_url": database_url, "min_free_bytes": 2**20}
    async with sqlite_service.replica(free_port(), wrapper=wrapper, **small) as replica:
        made = (await replica.ask(MAKE_KEY)).json()["data"]["createApiKey"]["key"]
        filler = Path(f"/proc/{replica.process.pid}/root{tmp_path}/disk/filler")
        with contextlib.suppress(OSError):
            await asyncio.to_thread(filler.write_bytes, bytes(100 * 2**20))

        await until(replica.is_unready)
        checks = (await replica.http.get("/ready")).json()["checks"]
        assert checks["disk"]["status"] == "failed"
        codes: list[str] = []
        while not codes:  # until what was still free is used up
            codes = await replica.codes(MAKE_KEY)
        assert codes == ["STORAGE_UNAVAILABLE"]
        assert await replica.codes(USERS) == []

        await asyncio.to_thread(filler.unlink)
        await until(replica.is_ready)
        assert await replica.codes(MAKE_KEY) == []
        # What was acknowledged before is still there.
        headers = {"authorization": f"Bearer {made}"}
        answer = await replica.http.post("/graphql", json={"query": CHEAP}, headers=headers)
        assert answer.status_code == 200
        replica.terminate()
        assert await replica.wait_until_ended() == 0


# --- the command line beside serving processes ---


async def test_a_second_process_is_refused_in_a_line_and_the_first_serves_on(sqlite_service: Service):
    async with sqlite_service.replica(free_port()) as replica:
        code, output, errors = await sqlite_service.run("serve", port=free_port())

        assert (code, output) == (1, "")
        assert errors.splitlines()[0].startswith(f"Error: Process {replica.process.pid} already serves ")
        assert len(errors.splitlines()) == 2  # and the cure
        assert await replica.codes(CHEAP) == []


async def test_what_the_command_line_changes_takes_effect(sqlite_service: Service):
    async with sqlite_service.replica(free_port()) as replica:
        made = (await replica.ask(MAKE_KEY)).json()["data"]["createApiKey"]
        headers = {"authorization": f"Bearer {made['key']}"}

        async def is_refused() -> bool:
            return (await replica.http.post("/graphql", json={"query": CHEAP}, headers=headers)).status_code == 401

        assert not await is_refused()
        assert await replica.codes(USERS) == []
        assert (await sqlite_service.run("api-keys", "revoke", TENANT, made["apiKey"]["id"]))[0] == 0
        await until(is_refused)

        async def is_unlinked() -> bool:
            failures = (await replica.ask(USERS)).json()["data"]["users"]["failures"]
            return len(failures) == 1

        assert (await sqlite_service.run("connections", "unlink", sqlite_service.connection_id))[0] == 0
        await until(is_unlinked)


async def ask_on(replica: Replica, stop: asyncio.Event) -> list[str]:
    """Ask until told to stop; the codes of all errors."""
    found = []
    while not stop.is_set():
        found += await replica.codes(USERS)
        await asyncio.sleep(0.1)
    return found


async def test_keys_are_rotated_and_retired_beside_two_replicas_under_load(postgres_service: Service):
    async with postgres_service.replica(free_port()) as one, postgres_service.replica(free_port()) as two:
        stop = asyncio.Event()
        asking = [asyncio.create_task(ask_on(replica, stop)) for replica in (one, two)]
        try:
            [old] = json.loads((await postgres_service.run("keys", "status", "--json"))[1])
            for command in (["rotate"], ["rewrap"], ["retire", old["key"]]):
                code, _, errors = await postgres_service.run("keys", *command)
                assert code == 0, errors
        finally:
            stop.set()
            found = await asyncio.gather(*asking)
        assert found == [[], []]
        [new] = json.loads((await postgres_service.run("keys", "status", "--json"))[1])
        assert (new["state"], new["secrets"]) == ("active", 1)
        # Both still open what is stored, also what they would seal now.
        for replica in (one, two):
            assert await replica.codes(USERS) == []
