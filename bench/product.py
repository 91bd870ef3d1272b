"""The product as a benchmark runs it: an empty database, tenants, and the process itself."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.neighbours import Tenant

REPOSITORY = Path(__file__).parent.parent


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: str, port: int, env: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """A child process that listens on ``port``, ended afterwards."""
    child = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env={**os.environ, **(env or {})})
    try:
        for _ in range(1200):
            if child.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(f"{' '.join(command)} does not listen")
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(20)


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

    def add_tenant(self, name: str, upstream: str, port: int) -> Tenant:
        """A tenant with a key and an upstream linked."""
        self.command("tenants", "create", name, "--id", name)
        key = self.command("api-keys", "create", name, "bench", "--role", "admin", "--json")
        linked = self.command("link", "--tenant", name, "--origin", upstream, "--json", token=f"sntryu_{'b' * 64}\n")
        return Tenant(port, _find(key, "key"), _find(linked, "id"))


def set_up_product(upstreams: list[str], folder: Path, *, database_url: str | None = None, **settings: str) -> Setup:
    """A keyring and an empty database (SQLite unless its URL is given) that may call the upstreams."""
    setup = Setup(
        {
            "SENTRY_GRAPH_DATABASE_URL": database_url or f"sqlite:///{folder}/bench.db",
            "SENTRY_GRAPH_KEYRING_FILE": f"{folder}/keyring.json",
            "SENTRY_GRAPH_EGRESS_ALLOW": json.dumps(upstreams),
            "SENTRY_GRAPH_LOG_LEVEL": "warning",
            **{f"SENTRY_GRAPH_{name.upper()}": value for name, value in settings.items()},
        }
    )
    setup.command("keys", "init")
    setup.command("migrate")
    return setup


def _find(answer: Any, name: str) -> str:
    row = answer[0] if isinstance(answer, list) else answer
    return str(row[name])
