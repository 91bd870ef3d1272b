"""Webhook signatures: what proves that a body comes from Sentry. Pure.

``Sentry-Hook-Signature`` is lower-case hex HMAC-SHA256 under the integration's client secret, over the raw bytes of the
body: decoded and encoded again they are others. ``X-ServiceHook-Signature`` is the same under a service hook's own
secret. Headers are not signed, so nothing of them may be believed.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

_HEX = re.compile(r"[0-9a-f]{64}")


def verify_signature(body: bytes, signature: str | None, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets has signed the body. Compares with all of them, in constant time.

    An empty secret signs nothing: anybody could.
    """
    if signature is None or _HEX.fullmatch(signature) is None:
        return False
    matches = [hmac.compare_digest(sign(body, secret), signature) for secret in secrets if secret]
    return any(matches)


def sign(body: bytes, secret: str) -> str:
    """The signature of a body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
