"""A receiver of webhooks that answers as it is told, for the tests beside."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Event, Thread
from typing import Any

import msgspec

from service.sandbox.deliveries import sign


@dataclass(frozen=True)
class Heard:
    """A webhook as it arrived."""

    headers: Message
    body: bytes

    @property
    def payload(self) -> Any:
        """What it says."""
        return msgspec.json.decode(self.body)

    @property
    def name(self) -> str:
        """``resource.action``."""
        return f"{self.headers['Sentry-Hook-Resource']}.{self.payload['action']}"

    def is_signed_by(self, secret: str) -> bool:
        """Whether the signature is that of the body."""
        return self.headers["Sentry-Hook-Signature"] == sign(secret, self.body)


@dataclass
class Ear:
    """Takes webhooks at ``url``; the next are answered with ``answers``, then all with 204.

    A status of None is an answer that does not come until the block ends.
    """

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    heard: "Queue[Heard]" = field(default_factory=Queue)
    ends: Event = field(default_factory=Event)

    def next(self) -> Heard:
        """The next webhook; fails where none comes."""
        return self.heard.get(timeout=5)

    def names(self, count: int) -> list[str]:
        """The names of the next webhooks."""
        return [self.next().name for _ in range(count)]


@contextmanager
def listening() -> Iterator[Ear]:
    """An ear while the block runs."""
    ear = Ear()

    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            ear.heard.put(Heard(self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            status = ear.answers.pop(0) if ear.answers else 204
            if status is None:
                ear.ends.wait(10)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class _Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = _Server(("127.0.0.1", 0), _Handler)
    ear.url = f"http://127.0.0.1:{server.server_address[1]}/webhook"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield ear
    finally:
        ear.ends.set()
        server.shutdown()
        server.server_close()
        thread.join()
