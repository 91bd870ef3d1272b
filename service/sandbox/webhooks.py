"""Webhooks as Sentry sends them: signed over the raw body, tried once, and nobody waits for them."""

import hashlib
import hmac
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import httpx
import msgspec

from service.sandbox.world import App

_KEPT = 1000
_TIMEOUT = 5.0


@dataclass(slots=True)
class Delivery:
    """A webhook that was sent. ``status`` is the receiver's answer, or None with the ``error`` where it gave none."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    payload: Mapping[str, Any]
    status: int | None = None
    error: str = ""
    thread: Thread | None = field(default=None, repr=False)


class Webhooks:
    """Sends webhooks from threads of its own, and keeps what was sent in :attr:`deliveries`, the oldest first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.deliveries: deque[Delivery] = deque(maxlen=_KEPT)

    def send(self, app: App, resource: str, payload: Mapping[str, Any]) -> None:
        """Sends a payload to an app that has a URL for it; returns at once."""
        if app.webhook_url is None:
            return
        body = msgspec.json.encode(payload)
        headers = {
            "content-type": "application/json",
            "request-id": uuid.uuid4().hex,
            "sentry-hook-resource": resource,
            "sentry-hook-timestamp": str(int(self.clock())),
            "sentry-hook-signature": sign(app.client_secret, body),
            "user-agent": "sentry/sandbox (made up)",
        }
        delivery = Delivery(app.webhook_url, headers, body, payload)
        delivery.thread = Thread(target=_deliver, args=(delivery,), name="sandbox webhook", daemon=True)
        self.deliveries.append(delivery)
        delivery.thread.start()

    def wait(self, seconds: float = _TIMEOUT) -> None:
        """Waits until all that was sent so far was answered or given up."""
        for delivery in list(self.deliveries):
            if delivery.thread:
                delivery.thread.join(seconds)


def sign(client_secret: str, body: bytes) -> str:
    """The signature: lower-case hexadecimal HMAC-SHA256 of the body."""
    return hmac.digest(client_secret.encode(), body, hashlib.sha256).hex()


def _deliver(delivery: Delivery) -> None:
    try:
        # A stand-in on a loopback port may send to one with a certificate of its own.
        answer = httpx.post(
            delivery.url,
            content=delivery.body,
            headers=dict(delivery.headers),
            timeout=_TIMEOUT,
            trust_env=False,
            verify=False,  # noqa: S501
        )
        delivery.status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        delivery.error = f"{type(error).__name__}: {error}"
