"""A caller's request body on its way up, and the moment the caller goes away."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Receive

from service.errors import RequestTooLarge
from service.sentry.methods import SAFE_METHODS


class Upload:
    """A request's body, read once; a read has none. ``limit`` is in bytes.

    ``is_too_large`` is known from the start where the request announces its length; otherwise reading raises
    :class:`RequestTooLarge` at the first byte over the limit.
    """

    def __init__(self, request: Request, receive: Receive, *, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._over = asyncio.Event()
        self._is_gone = False
        length = request.headers.get("content-length", "0")
        self.is_empty = request.method in SAFE_METHODS or (length == "0" and "transfer-encoding" not in request.headers)
        self.is_too_large = length.isdigit() and int(length) > limit
        if self.is_empty:
            self._over.set()

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        left = self._limit
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_gone = True
                self._over.set()
                await asyncio.Future()  # until wait_for_disconnect() has this cancelled: the body never ends well
            left -= len(message.get("body", b""))
            if left < 0:
                self.is_too_large = True
                raise self.too_large()
            yield message.get("body", b"")
            more = message.get("more_body", False)
        self._over.set()

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.stream()])

    def too_large(self) -> RequestTooLarge:
        """The error that says so."""
        return RequestTooLarge(f"The request's body is over {self._limit} bytes.", cure="Upload it in parts.")

    async def wait_for_disconnect(self) -> None:
        """Return once the caller has gone. What it still sends is its own affair until the body was read."""
        await self._over.wait()
        while not self._is_gone:
            self._is_gone = (await self._receive())["type"] == "http.disconnect"
