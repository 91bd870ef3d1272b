"""Cursors: opaque to callers, bound by a keyed hash to the tenant and the list they came from, and good for a day.

A cursor is ``base64url(payload ‖ tag)``. The payload is msgpack of ``[version, expiry, position]``; the tag is 16
bytes of keyed BLAKE2b (RFC 7693, a quarter of HMAC-SHA256's time) under a key used for nothing else, over the list's
scope, which always has 32 bytes, and the payload. The scope (tenant, list, arguments) is not stored in the cursor:
whoever walks a list knows it.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from service.errors import InvalidCursor

_VERSION = 1
_LIFETIME = 24 * 3600
_TAG = 16
_MAX_LENGTH = 2000
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

T = TypeVar("T")


class CursorCodec:
    """Seals positions into cursors and opens them again. ``clock`` gives epoch seconds."""

    def __init__(self, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._keyed = hashlib.blake2b(key=key, digest_size=_TAG)
        self._clock = clock
        self._encoder = msgspec.msgpack.Encoder()

    def scope(self, *parts: Any) -> bytes:
        """The digest of what a list is: its tenant, name and arguments (anything that msgspec encodes)."""
        return hashlib.sha256(self._encoder.encode(parts)).digest()

    def seal_all(self, scope: bytes, positions: Iterable[Any]) -> list[str]:
        """The cursors of positions (anything that msgspec encodes) in the list that ``scope`` names, in order."""
        encode, expiry, tags = self._encoder.encode, int(self._clock()) + _LIFETIME, self._tags(scope)
        sealed = []
        for position in positions:
            payload = encode((_VERSION, expiry, position))
            tag = tags.copy()
            tag.update(payload)
            sealed.append(payload + tag.digest())
        return _spell(sealed)

    def seal(self, scope: bytes, position: Any) -> str:
        """The cursor of one position."""
        return self.seal_all(scope, [position])[0]

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
        expected = self._tags(scope)
        expected.update(payload)
        # One spelling a cursor: base64 ignores the spare bits of its last digit, so they must come back the same.
        if _spell([sealed]) != [cursor] or not hmac.compare_digest(tag, expected.digest()):
            raise InvalidCursor("The cursor does not belong to this list.")
        version, expiry, raw = msgspec.msgpack.decode(payload, type=tuple[int, int, msgspec.Raw])
        if version != _VERSION or expiry < self._clock():
            raise InvalidCursor("The cursor has expired.")
        return msgspec.msgpack.decode(raw, type=position)

    def _tags(self, scope: bytes) -> "hashlib.blake2b":
        tags = self._keyed.copy()  # what is the same for all cursors, and all of a list, is hashed once
        tags.update(scope)
        return tags


def _spell(sealed: Iterable[bytes]) -> list[str]:
    """Each as base64url without padding: written one to a line, so that all are translated and cut at once."""
    lines = b"".join([binascii.b2a_base64(each) for each in sealed])
    return lines.translate(_URL_SAFE, b"=").decode().splitlines()
