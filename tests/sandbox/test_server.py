import signal
import subprocess
import sys

import httpx
import pytest

from service.sandbox.app import Sandbox, create_sandbox
from service.sandbox.server import serve_in_thread
from service.sandbox.world import DEMO_TOKENS


async def test_is_served_over_a_real_socket(sandbox: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=sandbox.url) as client:
        response = await client.get("/api/0/", headers={"Authorization": f"Bearer {DEMO_TOKENS.admin}"})
    assert response.json()["user"]["email"] == "mara.quill@lumen-labs.example"
    assert sandbox.count("GET", r"^/api/0/$") == 1


def test_stops_taking_calls_when_the_block_ends() -> None:
    with serve_in_thread(create_sandbox()) as url:
        assert httpx.get(f"{url}/api/0/").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/api/0/")


def test_says_that_a_port_is_taken(sandbox: Sandbox) -> None:
    taken = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), serve_in_thread(create_sandbox(), taken):
        pass


def test_runs_as_a_process_until_it_is_told_to_stop() -> None:
    command = [
        sys.executable,
        "-m",
        "service.sandbox",
        "--port",
        "0",
        "--manner",
        "23.7",
        "--rate-limit",
        "0",
        "--control",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert httpx.get(f"{url}/__sandbox__/faults/").json() == []
            headers = {"Authorization": f"Bearer {DEMO_TOKENS.admin}"}
            assert httpx.get(f"{url}/api/0/users/me/regions/", headers=headers).status_code == 404
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
