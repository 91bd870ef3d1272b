"""Takes secrets out of whatever is about to be written. A net under the rule that nobody logs one on purpose.

A value goes by the name it stands under, a text by what a secret in it looks like. The work for one value is bounded.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MASK = "[redacted]"

_MAX_TEXT = 16_384
_MAX_DEPTH = 8
_MAX_ITEMS = 1_000
_MAX_CHARACTERS = 65_536
# What is cut off a text may have been the end of a secret, by which it would have been known for one.
_LONGEST_SECRET = 1_024

_SECRET_NAME = re.compile(
    r"token|secret|passw|pwd|passphrase|authorization|cookie|credential|bearer|jwt|pepper|keys?\Z"
)
# `key_id`, `token_version` or `secret_name` tell of a secret, but are none.
_METADATA_NAME = re.compile(r"_(?:ids?|kind|type|version|count|name|prefix|path|file|at|seconds|status|length)\Z")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

# Between a name and its value in headers, assignments, JSON, JSON inside of a string, and reprs of pairs.
_IS = r"(\\*[\"']?\s*(?:[:=]|(?<=[\"']),)\s*[bu]?\\*)"
_QUOTED = r"\"[^\"]*\"?|'[^']*'?"
_NAMED = (
    r"(?:token|secret|passw(?:or)?d|pwd|passphrase|credential|jwt|"
    r"(?:api|secret|private|access|signing|encryption)[_-]?key)s?"
)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What a secret looks like. A text with none of the ``hints``, in lower case, cannot match, and is not searched."""

    hints: tuple[str, ...]
    secret: re.Pattern[str]
    replacement: str

    def apply(self, text: str, lowered: str) -> str:
        if not any(hint in lowered for hint in self.hints):
            return text
        return self.secret.sub(self.replacement, text)


_PATTERNS = tuple(
    _Pattern(hints, re.compile(secret, re.IGNORECASE | re.ASCII), replacement)
    for hints, secret, replacement in (
        # https://docs.sentry.io/account/auth-tokens/: user, integration, organization and app tokens
        (("sntry",), r"sntry[a-z]{1,4}_[a-z0-9+/=_.%-]+", MASK),
        # our API keys
        (("sg_",), r"sg_[a-z0-9]{4,}_[a-z0-9]+", MASK),
        # Secrets of webhook endpoints (Standard Webhooks)
        (("whsec_",), r"whsec_[a-z0-9+/=_-]+", MASK),
        # RFC 7519, 3, or its first part alone
        (("eyj",), r"eyJ[a-z0-9_=-]{8,}(?:\.[a-z0-9_=-]*){0,4}", MASK),
        # RFC 7468, 10
        (("private key",), r"-----BEGIN [a-z ]{0,30}PRIVATE KEY-----(?:(?!-----END )[\s\S])*", f"{MASK} "),
        # RFC 6750, 2.1 and RFC 7617, 2
        (("bearer", "basic"), r"\b(bearer|basic)(?:\s|%20|\+)+[a-z0-9._~+/%=-]{4,}", rf"\1 {MASK}"),
        # A database's password may hold any character, unescaped ones too: all up to the last `@`
        (("@",), r"\b((?:postgres(?:ql)?|mysql|redis|amqp)[a-z0-9+]*://)[^\s\"'<>]*@", rf"\1{MASK}@"),
        # RFC 3986, 3.2.1; a Sentry DSN has its key there
        (("@",), r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s/?#@\"'<>]*@", rf"\1{MASK}@"),
        # RFC 9110, 11.6.2 and RFC 6265, 4: secrets to the end of the line
        (
            ("cookie", "authorization"),
            rf"\b((?:set-)?cookie|(?:proxy-)?authorization)\b{_IS}(?:{_QUOTED}|[^\r\n]+)",
            rf"\1\2{MASK}",
        ),
        # `password=…`, `"client_secret": "…"`, `?token=…`
        (
            ("token", "secret", "pass", "pwd", "credential", "jwt", "key"),
            rf"\b([a-z0-9_.-]{{0,40}}{_NAMED}){_IS}(?!\[redacted)(?:{_QUOTED}|[^\s\"'&,;)}}\]]+)",
            rf"\1\2{MASK}",
        ),
    )
)
_ANY_HINT = re.compile("|".join({re.escape(hint) for pattern in _PATTERNS for hint in pattern.hints}))
# What is known for a secret by its length alone. Old Sentry tokens and client secrets have 64 digits, where ids of
# events and traces have 32; a key of the keyring is 256 bits in base 64.
_BY_LENGTH = re.compile(r"[0-9a-fA-F]{40,}|(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{43}=")
_SHORTEST_BY_LENGTH = 40


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name (of a header, field or variable, in any case) is a secret."""
    return _is_secret_name(name[:200])


@lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    words = _WORD_START.sub("_", name).strip("_").lower()
    return _SECRET_NAME.search(words) is not None and _METADATA_NAME.search(words) is None


def redact_text(text: str, *, limit: int = _MAX_TEXT) -> str:
    """The text with whatever looks like a secret masked; at most ``limit`` characters of it."""
    window = text[: limit + _LONGEST_SECRET]
    lowered = window.lower()
    if _ANY_HINT.search(lowered):
        for pattern in _PATTERNS:
            window = pattern.apply(window, lowered)
    if len(window) >= _SHORTEST_BY_LENGTH:
        window = _BY_LENGTH.sub(MASK, window)
    if len(text) <= limit:
        return window
    kept = window[:-_LONGEST_SECRET] if len(text) > limit + _LONGEST_SECRET else window
    return f"{kept[:limit]}… ({len(text)} characters)"


def redact(value: Any) -> Any:
    """A copy of the value for writing: JSON's own types only, without secrets, bounded in depth and size."""
    return _Redaction().copy(value, depth=0)


class _Redaction:
    """One value's copy, and how much more may go into it."""

    def __init__(self) -> None:
        self._items = _MAX_ITEMS
        self._characters = _MAX_CHARACTERS

    def copy(self, value: Any, *, depth: int) -> Any:
        if value is None or isinstance(value, int | float):
            return _copy_number(value)
        if isinstance(value, str | bytes | bytearray):
            return self._copy_text(_as_text(value))
        if isinstance(value, Mapping | list | tuple | AbstractSet):
            return self._copy_container(value, depth) if depth < _MAX_DEPTH else "…"
        return self._copy_text(_describe(value))

    def _copy_container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return dict(self._copy_pairs(value.items(), depth))
        found = list(self._bounded(value))
        # A pair such as (b"authorization", b"Bearer …"), in which ASGI and HTTP libraries keep headers.
        if len(found) == 2 and isinstance(found[0], str | bytes):
            return [self.copy(found[0], depth=depth + 1), self._copy_named(_as_text(found[0]), found[1], depth)]
        return [self.copy(each, depth=depth + 1) for each in found]

    def _copy_text(self, text: str) -> str:
        limit = min(_MAX_TEXT, self._characters)
        self._characters -= min(len(text), limit)
        return redact_text(text, limit=limit) if limit else "…"

    def _copy_pairs(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> Iterator[tuple[str, Any]]:
        for name, value in self._bounded(pairs):
            text = _as_text(name)
            yield redact_text(text, limit=200), self._copy_named(text, value, depth)

    def _copy_named(self, name: str, value: Any, depth: int) -> Any:
        if is_secret_name(name) and value is not None and not isinstance(value, bool):
            return MASK
        return self.copy(value, depth=depth + 1)

    def _bounded(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            if self._items <= 0:
                return
            self._items -= 1
            yield value


def _copy_number(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):  # also an enum's member; and larger ones are no numbers of ours
        return int(value) if -(2**63) <= value < 2**63 else MASK
    return value if math.isfinite(value) else repr(value)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value[: _MAX_TEXT + _LONGEST_SECRET].decode(errors="backslashreplace")
    return str(value) if isinstance(value, str) else _describe(value)


def _describe(value: Any) -> str:
    try:
        return str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:  # noqa: BLE001 - a broken repr must not lose the log line
        return f"<{type(value).__name__}>"
