"""The JWT by which an app proves to newer servers that it knows its client secret (HS256; no library, on purpose)."""

import hashlib
import hmac
from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Any

import msgspec

from service.sandbox.responses import Refused, unauthorized

MAX_LIFE = 60
"Seconds that an assertion may be valid for at most."


def read_claims(header: str) -> dict[str, Any]:
    """The claims of ``Bearer <JWT>``, unverified. Raises a 401 answer where there is no JWT."""
    if not header:
        raise unauthorized("Header is in invalid form")
    scheme, _, assertion = header.partition(" ")
    if scheme.lower() != "bearer":
        raise unauthorized("Bearer not present in token")
    parts = assertion.split(".")
    try:
        algorithm, claims = (msgspec.json.decode(_decode(part)) for part in parts[:2])
    except (ValueError, msgspec.MsgspecError):
        raise _refused() from None
    if len(parts) != 3 or not isinstance(algorithm, dict) or algorithm.get("alg") != "HS256":
        raise _refused()
    if not isinstance(claims, dict):
        raise _refused()
    return claims


def verify_assertion(header: str, client_id: str, client_secret: str, now: datetime) -> str:
    """The id of a valid assertion. Raises a 401 answer for a wrong client, key, or time: its clock counts."""
    claims = read_claims(header)
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise unauthorized("JWT is not valid for this application")
    signed, _, signature = header.partition(" ")[2].rpartition(".")
    expected = hmac.digest(client_secret.encode(), signed.encode(), hashlib.sha256)
    issued, expires, name = claims.get("iat"), claims.get("exp"), claims.get("jti")
    if not isinstance(issued, int) or not isinstance(expires, int) or not isinstance(name, str) or not name:
        raise _refused()
    at = now.timestamp()
    # What is issued in the future, or is valid for longer than it may, comes from a clock that is off.
    if not (issued <= at + 1 and at < expires <= at + 1 + MAX_LIFE):
        raise _refused()
    try:
        is_signed = hmac.compare_digest(_decode(signature), expected)
    except ValueError:
        is_signed = False
    if not is_signed:
        raise _refused()
    return name


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _refused() -> Refused:
    return unauthorized("Could not validate JWT")
