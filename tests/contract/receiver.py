"""A receiver of webhooks on a loopback port."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread
from typing import Any


@dataclass(frozen=True)
class Hook:
    """A webhook as it arrived."""

    headers: Message
    body: bytes

    @property
    def payload(self) -> Any:
        """What it says."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """Takes webhooks at ``url``."""

    url: str = ""
    hooks: "Queue[Hook]" = field(default_factory=Queue)

    def wait_for(self, action: str, installation_uuid: str, seconds: float = 5) -> Hook | None:
        """The next webhook with that action of that installation, or None where none comes in time."""
        try:
            while True:
                hook = self.hooks.get(timeout=seconds)
                if (hook.payload["action"], hook.payload["installation"]["uuid"]) == (action, installation_uuid):
                    return hook
        except Empty:
            return None


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver while the block runs."""
    receiver = Receiver()

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.hooks.put(Hook(self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/webhook"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
