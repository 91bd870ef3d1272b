"""`serve` and `demo` as real processes, and all that they write."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.processes import ServiceProcess, start_service
from tests.serving import NO_TLS


async def start(folder: Path, *command: str, **settings: Any) -> ServiceProcess:
    """A process whose output goes to ``folder``: ``output`` and ``errors``."""
    with (folder / "output").open("ab") as output, (folder / "errors").open("ab") as errors:
        return await start_service(*command, output=output, errors=errors, **settings)


@asynccontextmanager
async def running(
    folder: Path, *command: str, headers: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A serving process, and a client of it; stopped by SIGTERM at the end."""
    process = await start(folder, *command, **settings)
    url = f"http://127.0.0.1:{settings['port']}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30, headers=headers, trust_env=False, verify=NO_TLS) as http:
            async with asyncio.timeout(30):
                while not await _is_alive(http):
                    assert process.returncode is None, (folder / "errors").read_text()
                    await asyncio.sleep(0.05)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def _is_alive(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).status_code == 200
    except httpx.TransportError:
        return False
