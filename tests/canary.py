"""Finds a secret in whatever was written: logs, answers, database files. Raw and in the encodings that hide it."""

import base64
import urllib.parse
from collections.abc import Iterator

_PART = 16  # a secret cut in two by a page, a column's limit or a line break is still a leak


def find_canary(secret: str, haystack: bytes) -> list[str]:
    """The names of the encodings under which the secret, or a 16-character part of it, stands in the haystack."""
    folded = haystack.lower()
    found = []
    for name, needles in _encodings(secret.encode()).items():
        folds = name in {"hex", "url", "url-every-byte"}
        if any((needle.lower() in folded) if folds else (needle in haystack) for needle in needles):
            found.append(name)
    return found


def _encodings(secret: bytes) -> dict[str, list[bytes]]:
    parts = [secret[start : start + _PART] for start in range(0, max(len(secret) - _PART, 0) + 1, _PART)]
    return {
        "raw": parts,
        "utf-16": [part.decode().encode("utf-16-le") for part in parts],
        "hex": [part.hex().encode() for part in parts],
        "url": [urllib.parse.quote(part, safe="").encode() for part in parts],
        "url-every-byte": ["".join(f"%{byte:02x}" for byte in part).encode() for part in parts],
        "base64": [needle for part in parts for needle in _base64_inside(part, b"+/")],
        "base64url": [needle for part in parts for needle in _base64_inside(part, b"-_")],
    }


def _base64_inside(part: bytes, altchars: bytes) -> Iterator[bytes]:
    """The characters that the part becomes wherever it begins within a longer encoded text (three alignments)."""
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + part, altchars=altchars)
        usable = (lead + len(part)) // 3 * 4  # the rest mixes with what follows
        yield encoded[(lead * 8 + 5) // 6 : usable]
