"""The product as a benchmark runs it: an empty database, tenants, and the process itself."""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.client import ask

REPOSITORY = Path(__file__).parent.parent
_TOKEN = f"sntryu_{'b' * 64}"
_AT_ONCE = 20


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    *command: str, port: int, env: dict[str, str] | None = None, program: str = sys.executable
) -> Iterator[psutil.Process]:
    """A child process that listens on ``port``, ended afterwards."""
    env = {**os.environ, **(env or {})}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # a start in production finds its modules compiled: the image's are
    child = subprocess.Popen([program, *command], cwd=REPOSITORY, env=env)
    try:
        for _ in range(12000):
            if child.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.005)
        else:
            raise SystemExit(f"{' '.join(command)} does not listen")
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(20)


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process so far, of all its threads, in the kernel too; to the nanosecond on Linux."""
    if platform.system() == "Linux":
        return time.clock_gettime(~process.pid << 3 | 2)  # what clock_getcpuclockid(3) gives
    times = process.cpu_times()
    return times.user + times.system


@dataclass(frozen=True)
class Tenant:
    """A caller of a product that serves at a port, and its connection."""

    port: int
    key: str
    connection_id: str


@dataclass(frozen=True)
class Setup:
    """The product's folder, prepared by its own command line."""

    env: dict[str, str]

    def command(self, *arguments: str, token: str = "") -> Any:
        """Run a command of the product; its JSON where it prints some."""
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **self.env},
            input=token,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout) if "--json" in arguments else None

    def add_key(self, tenant: str) -> str:
        """An API key of a new tenant."""
        self.command("tenants", "create", tenant, "--id", tenant)
        return _find(self.command("api-keys", "create", tenant, "bench", "--role", "admin", "--json"), "key")

    def add_tenant(self, name: str, upstream: str, port: int) -> Tenant:
        """A tenant with a key and an upstream linked."""
        key = self.add_key(name)
        linked = self.command("link", "--tenant", name, "--origin", upstream, "--json", token=f"{_TOKEN}\n")
        return Tenant(port, key, _find(linked, "id"))

    def link(self, key: str, upstream: str, organizations: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
        """Link organizations (slug and customer) of an upstream, in a process that serves for so long only."""
        wanted = [
            {"origin": upstream, "token": _TOKEN, "organization": slug, "customerId": customer}
            for slug, customer in organizations
        ]
        found: list[dict[str, str]] = []
        port = free_port()
        with running("-m", "service", "serve", "--port", str(port), port=port, env=self.env):
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                declared = ", ".join(f"$i{number}: LinkConnectionInput!" for number in range(len(part)))
                fields = " ".join(
                    f"l{number}: linkConnection(input: $i{number}) {{ id name customerId organization {{ slug }} }}"
                    for number in range(len(part))
                )
                inputs = {f"i{number}": each for number, each in enumerate(part)}
                data = asyncio.run(ask(port, key, f"mutation ({declared}) {{ {fields} }}", **inputs))
                found += [row | {"organization": row["organization"]["slug"]} for row in data.values()]
        return found


def set_up_product(upstreams: list[str], folder: Path, *, database_url: str | None = None, **settings: str) -> Setup:
    """A keyring and an empty database (SQLite unless its URL is given) that may call the upstreams."""
    setup = Setup(build_env(upstreams, folder, database_url=database_url, **settings))
    setup.command("keys", "init")
    setup.command("migrate")
    return setup


def build_env(
    upstreams: list[str], folder: Path, *, database_url: str | None = None, **settings: str
) -> dict[str, str]:
    """The environment of a product with its data in a folder."""
    return {
        "SENTRY_GRAPH_DATABASE_URL": database_url or f"sqlite:///{folder}/bench.db",
        "SENTRY_GRAPH_KEYRING_FILE": f"{folder}/keyring.json",
        "SENTRY_GRAPH_EGRESS_ALLOW": json.dumps(upstreams),
        "SENTRY_GRAPH_LOG_LEVEL": "warning",
        **{f"SENTRY_GRAPH_{name.upper()}": value for name, value in settings.items()},
    }


def _find(answer: Any, name: str) -> str:
    row = answer[0] if isinstance(answer, list) else answer
    return str(row[name])
