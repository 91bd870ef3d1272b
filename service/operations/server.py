"""uvicorn, ending so that no request is lost: first look away, then drain, then stop."""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn

_log = structlog.get_logger(__name__)


class GracefulServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT.

    After SIGTERM, ``drain`` is called (so that ``/ready`` fails) and requests are still taken for ``drain_seconds``: a
    load balancer needs these to look elsewhere. Then, and at once after SIGINT or a second signal, no connection is
    accepted any more, ``stop`` is called (so that what would stay open for hours ends), running requests have the
    configuration's ``timeout_graceful_shutdown`` to end, and :meth:`serve` returns. uvicorn itself would raise the
    signal once more there, and so end the process before what was opened for it is closed.
    """

    def __init__(
        self, config: uvicorn.Config, *, drain: Callable[[], None], drain_seconds: float, stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._stop = stop
        self._drain_seconds = drain_seconds
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for listener in (one for server in self.servers for one in server.sockets):
            host, port = listener.getsockname()[:2]
            _log.info("listening", host=host, port=port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests end, and ask those to that would run on."""
        _log.info("stopping", open_connections=len(self.server_state.connections))
        self._stop()
        await super().shutdown(sockets)
        _log.info("stopped")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """What a signal does."""
        self._drain()
        if sig == signal.SIGTERM and self._stop_at is None:
            self._stop_at = time.monotonic() + self._drain_seconds
        elif self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Look whether to stop; uvicorn does ten times a second."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
