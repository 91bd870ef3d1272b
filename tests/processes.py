"""`python -m service …` as real processes, each forked from one that has imported the service already.

Importing it takes two seconds of CPU, and the tests start and kill some sixty. A process so made has an id, an exit
code, an environment and signals like any other; only its import is shared. ``tests.cli.test_main``, the demo's tests
and the example of a gateway start theirs from nothing.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import IO, Any

from service.settings import PREFIX


class ServiceProcess:
    """A process of the service; as far as it goes, an :class:`asyncio.subprocess.Process`."""

    def __init__(self, pid: int, status: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ending = asyncio.create_task(self._wait(status, pipe))

    async def _wait(self, status: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> int:
        self.returncode = int(await status.readline())
        pipe.close()
        return self.returncode

    async def wait(self) -> int:
        """The exit code, negative where a signal ended it."""
        return await asyncio.shield(self._ending)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def build_environment(**settings: Any) -> dict[str, str]:
    """This process's environment with these settings of the service, and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}


async def start_service(*arguments: str, output: IO[bytes], errors: IO[bytes], **settings: Any) -> ServiceProcess:
    """Start a command of the service, writing to these files."""
    request = json.dumps([arguments, build_environment(**settings)]).encode()
    ours, theirs = os.pipe()
    status = asyncio.StreamReader()
    try:
        socket.send_fds(_server(), [request], [output.fileno(), errors.fileno(), theirs])
    finally:
        os.close(theirs)
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(status), os.fdopen(ours, "rb", buffering=0)
    )
    return ServiceProcess(int(await status.readline()), status, pipe)


@cache
def _server() -> socket.socket:
    """The way to this test process's server, which ends with it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "tests.process_server"]
    with theirs:
        process = subprocess.Popen(
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1]
        )
    _started.append(process)
    return ours


_started: list[subprocess.Popen[bytes]] = []  # Python would warn of a process that nobody knows any more
