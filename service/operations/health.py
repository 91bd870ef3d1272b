"""``/health``: the process lives. ``/ready``: it can serve, and wants to."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.errors import ServiceError, StorageUnavailable
from service.tasks import Coalescer, together

Check = Callable[[], Awaitable[None]]
"""Returns where all is well; raises a :class:`ServiceError`, whose message is shown, where not."""

_REMEMBER_SECONDS = 1.0
_NO_STORE = {"cache-control": "no-store"}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """The findings of all checks: what is wrong, by the check's name; None where nothing is."""

    findings: Mapping[str, str | None]
    is_draining: bool

    @property
    def is_ready(self) -> bool:
        """Whether requests should come here."""
        return not self.is_draining and not any(self.findings.values())


class ReadinessProbe:
    """Runs named checks at once, each for ``seconds`` at most. Its findings are remembered for a second."""

    def __init__(self, checks: Mapping[str, Check], *, seconds: float = 2.0) -> None:
        self._checks = dict(checks)
        self._seconds = seconds
        self._is_draining = False
        self._found: tuple[float, dict[str, str | None]] | None = None
        self._running: Coalescer[None, dict[str, str | None]] = Coalescer()

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to stop."""
        return self._is_draining

    def drain(self) -> None:
        """Say from now on that requests should go elsewhere."""
        self._is_draining = True

    async def look(self) -> Readiness:
        """The findings, of now or of a moment ago."""
        if self._found is None or time.monotonic() - self._found[0] > _REMEMBER_SECONDS:
            self._found = (time.monotonic(), await self._running.run(None, self._run_all))
        return Readiness(self._found[1], self._is_draining)

    async def _run_all(self) -> dict[str, str | None]:
        found = await together([self._run(name, check) for name, check in self._checks.items()])
        return dict(zip(self._checks, found, strict=True))

    async def _run(self, name: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._seconds):
                await check()
        except TimeoutError:
            finding = f"no answer within {self._seconds:g} s"
        except ServiceError as error:
            finding = error.message
        except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
            _log.error("check_failed", check=name, exc_info=error)
            return "failed; see the log"
        else:
            return None
        _log.warning("not_ready", check=name, reason=finding)
        return finding


def remember(check: Check, *, seconds: float) -> Check:
    """The check, run anew only ``seconds`` after it last passed: for one that is costly and seldom fails."""
    passed_at = -math.inf

    async def run() -> None:
        nonlocal passed_at
        if time.monotonic() - passed_at >= seconds:
            await check()
            passed_at = time.monotonic()

    return run


def check_disk(free_bytes: Callable[[], int | None], least: int) -> Check:
    """A check that the database's disk has ``least`` bytes free; ``free_bytes`` gives None where that is unknown."""

    async def check() -> None:
        free = await asyncio.to_thread(free_bytes)
        if free is not None and free < least:
            raise StorageUnavailable(f"The database's disk has {free:,} bytes free; {least:,} are needed.")

    return check


def create_health_routes(probe: ReadinessProbe, *, version: str) -> list[Route]:
    """``GET /health`` is 200 while the event loop turns; ``GET /ready`` is 503 while a check fails, or draining."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "alive", "version": version}, headers=_NO_STORE)

    async def ready(_: Request) -> Response:
        found = await probe.look()
        body = {
            "status": "draining" if found.is_draining else "ready" if found.is_ready else "unready",
            "checks": {
                name: {"status": "ok"} if reason is None else {"status": "failed", "reason": reason}
                for name, reason in found.findings.items()
            },
        }
        return JSONResponse(body, 200 if found.is_ready else 503, headers=_NO_STORE)

    return [
        Route("/health", health, methods=["GET"], include_in_schema=False),
        Route("/ready", ready, methods=["GET"], include_in_schema=False),
    ]
