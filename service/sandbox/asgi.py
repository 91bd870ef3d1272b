"""Between the sandbox and ASGI: what arrives, and how an answer is sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from starlette.types import Message, Receive, Send

from service.sandbox.faults import ConnectionAborted
from service.sandbox.responses import Answer


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A call that arrived.

    ``path`` is decoded, ``target`` as sent with its query; ``headers`` have lower-case names; ``at`` is seconds on the
    sandbox's clock.
    """

    method: str
    path: str
    target: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    at: float


def date_answers(send: Send, clock: Callable[[], float]) -> Send:
    """Sends with a ``Date`` by the sandbox's clock, so that a client can see how far off its own is."""

    async def dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"date", _write_date(int(clock()))))
        await send(message)

    return dated


@lru_cache(maxsize=8)
def _write_date(second: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True).encode()


async def respond(send: Send, method: str, answer: Answer, more: Mapping[str, str]) -> None:
    """Sends a whole answer, with more headers than its own; of those of one name its own win."""
    headers = [(b"content-length", str(len(answer.body)).encode())]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**more, **answer.headers}.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Starts and stops, with nothing to do for either."""
    while True:
        message: Message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


def break_off() -> None:
    """Ends a call where the server lends no connection to reset."""
    raise ConnectionAborted("the sandbox broke the connection, as it was told to")


def resolve_dots(path: str) -> str:
    """The path without ``.`` and ``..``, as servers resolve what clients leave in: ``..`` reaches a neighbour."""
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            found = found[:-1] or [""]
        elif segment != ".":
            found.append(segment)
    return "/".join(found)
