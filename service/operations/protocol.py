"""uvicorn's HTTP/1.1, with an answer's head and the beginning of its body in one write.

uvicorn writes them one after the other, and uvloop hands each write to the kernel at once: two system calls, two
packets and a client that is woken twice, which is a twelfth of a small request's CPU.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoiningTransport(asyncio.Transport):
    """Passes everything on, but holds a piece until the next one or the end of the loop's turn, whichever is first."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.inner = transport
        self._held: bytes | None = None
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any) -> None:
        """Send bytes, with those held before; or else soon."""
        held, self._held = self._held, None
        if held is not None:
            self.inner.writelines((held, data) if data else (held,))
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.inner.write(held)

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self.inner.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = None
        self.inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self.inner.is_closing()

    def pause_reading(self) -> None:
        """Take no more of what comes."""
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        """Take it again."""
        self.inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""
        return self.inner.get_extra_info(name, default)


class Protocol(HttpToolsProtocol):
    """One client's connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client has come."""
        super().connection_made(JoiningTransport(transport))

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over: a frame is written whole, and need not wait."""
        if isinstance(self.transport, JoiningTransport):
            self.transport = self.transport.inner
        super().handle_websocket_upgrade()


def open_websocket(**parts: Any) -> asyncio.Protocol:
    """One client's WebSocket, by uvicorn: imported with the first, since it takes a hundredth of the start."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: PLC0415

    return WebSocketsSansIOProtocol(**parts)
