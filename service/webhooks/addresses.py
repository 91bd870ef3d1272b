"""The addresses that Sentry sends webhooks to: each has a part that nobody can guess, made of what it is for.

It is derived from the keyring, so that an address can be shown again, stands in no database, and is the same after a
restart. What is sent to a made-up address is known for that without asking the database.
"""

import base64
import hashlib
import hmac

from service.connections.keyring import Keyring
from service.errors import AddressUnavailable


class Addresses:
    """Makes and recognizes addresses. ``public_url`` is where Sentry reaches this service; None if that is unknown."""

    def __init__(self, keyring: Keyring, *, public_url: str | None) -> None:
        self._key = keyring.derive("webhook address")
        self._public_url = None if public_url is None else public_url.rstrip("/")

    def of_app(self, client_id: str) -> str:
        """The address of a public app, which all its installations send to. Raises :class:`AddressUnavailable`."""
        return f"{self._require_url()}/webhooks/sentry/{client_id}/{self._token('app', client_id)}"

    def of_receiver(self, receiver_id: str) -> str:
        """The address of one connection's receiver. Raises :class:`AddressUnavailable`."""
        return f"{self._require_url()}/webhooks/in/{receiver_id}/{self._token('receiver', receiver_id)}"

    def is_app(self, client_id: str, token: str) -> bool:
        """Whether these are the parts of an app's address."""
        return _are_equal(token, self._token("app", client_id))

    def is_receiver(self, receiver_id: str, token: str) -> bool:
        """Whether these are the parts of a receiver's address; the receiver may be gone."""
        return _are_equal(token, self._token("receiver", receiver_id))

    def check(self) -> None:
        """Raise :class:`AddressUnavailable` where there are none."""
        self._require_url()

    def _token(self, kind: str, name: str) -> str:
        digest = hmac.new(self._key, f"{kind} {name}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _require_url(self) -> str:
        if self._public_url is None:
            raise AddressUnavailable("This service does not know the address that Sentry reaches it by.")
        return self._public_url


def _are_equal(token: str, expected: str) -> bool:
    return hmac.compare_digest(token.encode(errors="replace"), expected.encode())
