"""API keys: ``sg_<prefix>_<secret>``, where the prefix is public and finds the row, and the secret proves the key.

Stored is an HMAC-SHA-256 of the whole key under a pepper that is not in the database: a dump of the database neither
holds a key nor can be turned into one. The secret has 256 bits, so a slow hash would add nothing.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from service.errors import Unauthenticated

_PREFIX_CHARACTERS = 12
_SECRET_BYTES = 32
_KEY = re.compile(rf"sg_([a-z2-7]{{{_PREFIX_CHARACTERS}}})_[a-z2-7]{{52}}\Z")
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``shown`` is the key itself: shown once, never stored."""

    prefix: str
    shown: str = field(repr=False)


def new_key() -> NewKey:
    """A key with a random prefix (60 bits) and a random secret (256 bits), both in lower-case base 32 (RFC 4648)."""
    prefix = _encode(secrets.token_bytes(8))[:_PREFIX_CHARACTERS]
    return NewKey(prefix=prefix, shown=f"sg_{prefix}_{_encode(secrets.token_bytes(_SECRET_BYTES))}")


def parse_prefix(text: str) -> str | None:
    """The public prefix of a key, or None where the text has another form."""
    found = _KEY.match(text)
    return found[1] if found else None


def digest_key(shown: str, pepper: bytes) -> bytes:
    """The 32 bytes that are stored of a key."""
    return hmac.digest(pepper, shown.encode(), hashlib.sha256)


def is_key(shown: str, digest: bytes | None, pepper: bytes) -> bool:
    """Whether the key has that digest; None (no such prefix) takes as long as a wrong secret."""
    return hmac.compare_digest(digest_key(shown, pepper), digest or _NO_DIGEST)


def not_valid() -> Unauthenticated:
    """What is said of every API key and JWT that proves nothing: no more than that."""
    return Unauthenticated("The API key or JWT is not valid.")


def _encode(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()
