"""What a webhook is on its way: its body, how its headers are made anew for each attempt, and what became of it."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

State = Literal["sending", "resting", "delivered", "failed", "missed"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient Sentry is with a receiver.

    ``timeout`` in seconds, for the connection and for each read. ``retries`` beyond the first attempt, after time-outs
    and broken connections, and with ``retries_statuses`` after a 5xx, too.
    """

    timeout: float
    retries: int = 0
    retries_statuses: bool = False

    def retries_after(self, attempt: "Attempt") -> bool:
        """Whether an attempt that ended so is made again, if any are left."""
        return attempt.status is None or (self.retries_statuses and attempt.status >= 500)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: when it was made by the sandbox's clock, and the answer's ``status`` or the ``error`` instead."""

    at: float
    headers: Mapping[str, str]
    status: int | None = None
    error: str = ""


@dataclass(slots=True, eq=False)
class Delivery:
    """A webhook for one receiver.

    ``sign`` makes the headers of an attempt: a real server builds a retried webhook anew, so that its ``Request-ID``
    and timestamp are new, too, and only the body is the same. ``rests_until`` is on the monotonic clock.
    """

    url: str
    resource: str
    action: str
    body: bytes
    sign: Callable[[bytes], dict[str, str]]
    policy: Policy
    state: State = "sending"
    attempts: list[Attempt] = field(default_factory=list)
    rests_until: float = 0.0

    @property
    def payload(self) -> dict[str, Any]:
        """The body, decoded."""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the last attempt; empty before the first."""
        return self.attempts[-1].headers if self.attempts else {}

    @property
    def status(self) -> int | None:
        """The receiver's last answer."""
        return self.attempts[-1].status if self.attempts else None

    @property
    def error(self) -> str:
        """Why the last attempt had no answer."""
        return self.attempts[-1].error if self.attempts else ""

    def again(self) -> "Delivery":
        """The same once more, for a receiver that is told twice."""
        return Delivery(self.url, self.resource, self.action, self.body, self.sign, self.policy)

    def show(self) -> dict[str, Any]:
        """As the control endpoint lists it; ``digest`` is the SHA-256 of the body."""
        return {
            "url": self.url,
            "resource": self.resource,
            "action": self.action,
            "state": self.state,
            "status": self.status,
            "error": self.error,
            "digest": hashlib.sha256(self.body).hexdigest(),
            "attempts": [
                {"at": a.at, "requestId": a.headers.get("request-id"), "status": a.status, "error": a.error}
                for a in list(self.attempts)
            ],
        }


def sign(secret: str, body: bytes) -> str:
    """The signature: lower-case hexadecimal HMAC-SHA256 of the body."""
    return hmac.digest(secret.encode(), body, hashlib.sha256).hex()
