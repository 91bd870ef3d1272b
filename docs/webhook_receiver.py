"""A receiver of events, with nothing but Python: ``WEBHOOK_SECRET=whsec_… python docs/webhook_receiver.py [port]``.

It checks what https://www.standardwebhooks.com asks for; there are libraries for it in most languages. Each event is
printed once, however often it is sent.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8800
TOLERANCE = 300  # seconds
seen: set[str] = set()  # in earnest: a column of a table


def is_genuine(message: str, sent_at: str, signatures: str, body: bytes) -> bool:
    """Whether one of the signatures is the secret's, over what came within five minutes."""
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > TOLERANCE:
        return False
    signed = f"{message}.{sent_at}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(each.encode(), expected.encode()) for each in signatures.split())


class Receiver(BaseHTTPRequestHandler):
    """Takes events."""

    def do_POST(self) -> None:
        """One event."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message = self.headers.get("webhook-id", "")
        names = ("webhook-timestamp", "webhook-signature")
        if not is_genuine(message, *(self.headers.get(name, "") for name in names), body):
            self.send_error(401)
            return
        if message not in seen:
            seen.add(message)
            event = json.loads(body)
            print(event["timestamp"], event["type"], event.get("projectSlug") or "", message, flush=True)
        self.send_response(204)  # only now: what is not answered with 2xx is sent again
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
