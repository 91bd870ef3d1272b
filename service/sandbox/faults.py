"""Ways in which an upstream misbehaves, switched on for a path while tests or a demo want them.

Each is a small record, so that it can come as JSON through the control endpoint:
``{"kind": "fail", "status": 503, "times": 2}``.
"""

import gzip
import re
from asyncio import sleep
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Send

from service.sandbox.responses import JSON, Answer, answer_json

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Wire:
    """The connection that a fault plays on.

    ``abort`` resets it, where the server can; ``answer`` is the true one, where the call was carried out.
    """

    send: Send
    respond: Callable[[Answer], Awaitable[None]]
    abort: Callable[[], None]
    answer: Answer | None = None

    def true_answer(self) -> Answer:
        """The true answer; ValueError where a fault that needs it was told not to commit."""
        if self.answer is None:
            raise ValueError("this fault needs the call carried out: leave `commits` true")
        return self.answer

    async def start(self, status: int, headers: dict[str, str]) -> None:
        """Sends a status line and headers."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def body(self, data: bytes, *, more: bool = True) -> None:
        """Sends a piece of the body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.lower):
    """A fault on calls in whose path the pattern is found, for so many calls; None is for ever.

    ``commits``: the call is carried out before the fault hits, so that a write happens and its answer is lost.
    """

    path: str = ""
    method: str | None = None
    times: int | None = None
    commits: bool = False

    async def play(self, wire: Wire) -> None:
        """Misbehaves."""
        raise NotImplementedError


class Fail(Fault, frozen=True, kw_only=True):
    """An error status with Sentry's body."""

    status: int = 503
    headers: dict[str, str] = {}

    async def play(self, wire: Wire) -> None:
        """Answers the status."""
        await wire.respond(answer_json({"detail": "Internal Error", "errorId": "0" * 32}, self.status, self.headers))


class Throttle(Fault, frozen=True, kw_only=True):
    """A 429 storm that the limiter knows nothing of."""

    reset: int = 0
    headers: dict[str, str] = {}

    async def play(self, wire: Wire) -> None:
        """Answers 429 with a reset time (epoch seconds) where given."""
        headers = {
            "x-sentry-rate-limit-remaining": "0",
            "x-sentry-rate-limit-concurrentremaining": "None",
            **self.headers,
        }
        if self.reset:
            headers["x-sentry-rate-limit-reset"] = str(self.reset)
        text = b'"You are attempting to use this endpoint too frequently. Limit is 3 requests in 1 seconds"'
        await wire.respond(Answer(429, text, "text/html; charset=utf-8", headers))


class Delay(Fault, frozen=True, kw_only=True):
    """The true answer, late."""

    commits: bool = True
    seconds: float = 1.0

    async def play(self, wire: Wire) -> None:
        """Waits, then answers."""
        await sleep(self.seconds)
        await wire.respond(wire.true_answer())


class Drip(Fault, frozen=True, kw_only=True):
    """The true answer, in small pieces with pauses: no single read times out."""

    commits: bool = True
    seconds: float = 0.05
    piece: int = 64

    async def play(self, wire: Wire) -> None:
        """Sends piece by piece."""
        true = wire.true_answer()
        await wire.start(true.status, _headers(true))
        for start in range(0, len(true.body), self.piece):
            await wire.body(true.body[start : start + self.piece])
            await sleep(self.seconds)
        await wire.body(b"", more=False)


class Reset(Fault, frozen=True, kw_only=True):
    """The connection breaks before a byte is answered."""

    async def play(self, wire: Wire) -> None:
        """Aborts."""
        wire.abort()


class Truncate(Fault, frozen=True, kw_only=True):
    """The true answer, cut in its middle: by the promised length, or in the middle of a chunked body."""

    commits: bool = True
    chunked: bool = False

    async def play(self, wire: Wire) -> None:
        """Sends half and aborts."""
        true = wire.true_answer()
        headers = _headers(true)
        if self.chunked:
            del headers["content-length"]
        await wire.start(true.status, headers)
        await wire.body(true.body[: len(true.body) // 2])
        # What was written is on its way before the connection breaks.
        await sleep(0.01)
        wire.abort()


class Garble(Fault, frozen=True, kw_only=True):
    """A 200 whose body is not what it says: broken JSON by default."""

    body: str = '[{"id": "1", "na'
    content_type: str = JSON

    async def play(self, wire: Wire) -> None:
        """Answers the body."""
        await wire.respond(Answer(200, self.body.encode(), self.content_type))


class Huge(Fault, frozen=True, kw_only=True):
    """An endless-looking body of valid JSON."""

    size: int = 64 * 1024 * 1024

    async def play(self, wire: Wire) -> None:
        """Sends so many bytes."""
        await wire.start(200, {"content-type": JSON})
        await wire.body(b"[")
        for _ in range(self.size // _CHUNK):
            await wire.body(b'"' + b"x" * (_CHUNK - 3) + b'",')
        await wire.body(b"null]", more=False)


class Bomb(Fault, frozen=True, kw_only=True):
    """A small gzip body that unpacks to ``size`` bytes, about a thousandfold."""

    size: int = 64 * 1024 * 1024

    async def play(self, wire: Wire) -> None:
        """Answers it, labelled as it should be."""
        packed = gzip.compress(b'["' + b"x" * self.size + b'"]')
        await wire.respond(Answer(200, packed, JSON, {"content-encoding": "gzip"}))


class Redirect(Fault, frozen=True, kw_only=True):
    """A redirect, to wherever one wants to lure a credential."""

    location: str
    status: int = 302

    async def play(self, wire: Wire) -> None:
        """Answers it."""
        await wire.respond(Answer(self.status, b"", None, {"location": self.location}))


AnyFault = Fail | Throttle | Delay | Drip | Reset | Truncate | Garble | Huge | Bomb | Redirect


class Faults:
    """The faults that are switched on; the latest that matches plays."""

    def __init__(self) -> None:
        self._active: list[tuple[Fault, re.Pattern[str], list[int | None]]] = []

    def add(self, fault: Fault) -> None:
        """Switches a fault on."""
        self._active.append((fault, re.compile(fault.path), [fault.times]))

    def clear(self) -> None:
        """Switches all off."""
        self._active.clear()

    def take(self, method: str, path: str, *, needs_path: bool = False) -> Fault | None:
        """The fault to play on this call, counted down; with ``needs_path`` none that strikes whatever path."""
        for fault, pattern, left in reversed(self._active):
            if needs_path and not fault.path:
                continue
            if left[0] != 0 and fault.method in {None, method} and pattern.search(path):
                if left[0] is not None:
                    left[0] -= 1
                return fault
        return None

    def listed(self) -> list[dict[str, Any]]:
        """What is switched on, with the calls left."""
        return [msgspec.to_builtins(fault) | {"times": left[0]} for fault, _, left in self._active]


class ConnectionAborted(ConnectionResetError):
    """Raised where a connection cannot be reset from inside: it ends the call instead."""


def _headers(answer: Answer) -> dict[str, str]:
    return {"content-type": answer.content_type or JSON, "content-length": str(len(answer.body)), **answer.headers}
