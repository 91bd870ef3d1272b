"""A way to a server that can hold up what carries a mark: before it arrives, or its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.tcp import answering


@dataclass
class Stop:
    """A request with a mark waits where it is until it passes; then ``keeps_answer`` keeps what comes back."""

    mark: bytes
    keeps_answer: bool
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    passes: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    is_dropped: bool = False

    def drop(self) -> None:
        """Never let it arrive."""
        self.is_dropped = True
        self.passes.set()


class Relay:
    """Passes bytes on to ``url``, and back."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        self._host, self._port = place.hostname, place.port
        self._stops: list[Stop] = []
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        """Serve on loopback while the block runs; ``url`` is known then."""
        async with answering(self._serve) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    def stop(self, mark: str, *, keeps_answer: bool = False) -> Stop:
        """Hold up the next request that has the mark in it."""
        stop = Stop(mark.encode(), keeps_answer)
        self._stops.append(stop)
        return stop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        stopped: list[Stop] = []

        async def forth() -> None:
            while data := await reader.read(65536):
                found = next((stop for stop in self._stops if stop.mark in data), None)
                if found is not None:
                    self._stops.remove(found)
                    stopped.append(found)
                    found.arrived.set()
                    await found.passes.wait()
                if found is None or not found.is_dropped:
                    back.write(data)
            back.close()

        async def return_() -> None:
            while data := await there.read(65536):
                if not any(stop.keeps_answer for stop in stopped):
                    writer.write(data)
                    await writer.drain()
                for stop in stopped:
                    stop.answered.set()

        tasks = [asyncio.create_task(forth()), asyncio.create_task(return_())]
        try:
            with contextlib.suppress(OSError):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            back.close()
