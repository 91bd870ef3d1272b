"""Cursors: opaque to callers, bound by an HMAC to the tenant and the list they came from, and good for a day.

A cursor is ``base64url(payload ‖ tag)``. The payload is msgpack of ``[version, expiry, position]``; the tag is the
first 16 bytes of HMAC-SHA256 under a key used for nothing else, over the list's scope and the payload. The scope
(tenant, list, arguments) is not stored in the cursor: whoever walks a list knows it.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from service.errors import InvalidCursor

_VERSION = 1
_LIFETIME = 24 * 3600
_TAG = 16
_MAX_LENGTH = 2000

T = TypeVar("T")


class CursorCodec:
    """Seals positions into cursors and opens them again. ``clock`` gives epoch seconds."""

    def __init__(self, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._encoder = msgspec.msgpack.Encoder()

    def scope(self, *parts: Any) -> bytes:
        """The digest of what a list is: its tenant, name and arguments (anything that msgspec encodes)."""
        return hashlib.sha256(self._encoder.encode(parts)).digest()

    def seal(self, scope: bytes, position: Any) -> str:
        """The cursor of a position (anything that msgspec encodes) in the list that ``scope`` names."""
        payload = self._encoder.encode([_VERSION, int(self._clock()) + _LIFETIME, position])
        return base64.urlsafe_b64encode(payload + self._tag(scope, payload)).rstrip(b"=").decode()

    def open(self, scope: bytes, cursor: str, position: type[T]) -> T:
        """The position in a cursor of the list that ``scope`` names.

        Raises :class:`InvalidCursor` where the cursor is not ours, belongs to another tenant, list or arguments, or is
        over a day old.
        """
        if len(cursor) > _MAX_LENGTH:
            raise InvalidCursor("The cursor is too long to be one of ours.")
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidCursor("The cursor is malformed.") from None
        payload, tag = sealed[:-_TAG], sealed[-_TAG:]
        # One spelling a cursor: base64 ignores the spare bits of its last digit, so they must come back the same.
        respelled = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        if respelled != cursor or not hmac.compare_digest(tag, self._tag(scope, payload)):
            raise InvalidCursor("The cursor does not belong to this list.")
        version, expiry, raw = msgspec.msgpack.decode(payload, type=tuple[int, int, msgspec.Raw])
        if version != _VERSION or expiry < self._clock():
            raise InvalidCursor("The cursor has expired.")
        return msgspec.msgpack.decode(raw, type=position)

    def _tag(self, scope: bytes, payload: bytes) -> bytes:
        return hmac.digest(self._key, scope + payload, "sha256")[:_TAG]
