"""Answers as Sentry gives them: JSON, and the bodies of its errors word by word."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

JSON = "application/json"


@dataclass(slots=True)
class Answer:
    """A whole response; header names are lower case."""

    status: int
    body: bytes = b""
    content_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Ends a call with an error's answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answer_json(payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON answer."""
    return Answer(status, msgspec.json.encode(payload), JSON, dict(headers or {}))


def no_content(status: int = 204) -> Answer:
    """An empty answer."""
    return Answer(status, content_type=None)


def detail(status: int, text: str) -> Refused:
    """An error in the form ``{"detail": text}``."""
    return Refused(answer_json({"detail": text}, status))


def invalid(**fields: str) -> Refused:
    """A 400 that maps each wrong field to what is wrong with it."""
    return Refused(answer_json({name: [text] for name, text in fields.items()}, 400))


def not_found() -> Refused:
    """404 for what is missing, and for what the token may not know of."""
    return detail(404, "The requested resource does not exist")


def unauthorized(text: str = "Authentication credentials were not provided.") -> Refused:
    """401; the challenge is one that makes no browser ask for a password."""
    return Refused(answer_json({"detail": text}, 401, {"www-authenticate": 'xBasic realm="api"'}))


def forbidden(needed: frozenset[str] = frozenset(), *, challenge: bool = False) -> Refused:
    """403 for a missing scope or role; newer servers name the scopes (RFC 6750 section 3.1)."""
    headers = {}
    if challenge and needed:
        headers["www-authenticate"] = (
            f'Bearer realm="api", error="insufficient_scope", scope="{" ".join(sorted(needed))}"'
        )
    return Refused(answer_json({"detail": "You do not have permission to perform this action."}, 403, headers))


def method_not_allowed(method: str) -> Refused:
    """405, for a method whose scope the token has and whose handler does not exist."""
    return detail(405, f'Method "{method}" not allowed.')


def internal_error() -> Refused:
    """500, as Sentry answers what it failed to foresee."""
    return Refused(answer_json({"detail": "Internal Error", "errorId": "5a" * 16}, 500))


def no_route(path: str) -> Refused:
    """404 for a path that is none: an empty body, or a hint where only the final slash is missing."""
    if path.startswith("/api/0/") and not path.endswith("/"):
        hint = f"Route not found, did you forget a trailing slash?\n\ntry: {path}/\n{' ' * (5 + len(path))}^\n"
        return Refused(Answer(404, hint.encode(), "text/plain"))
    return Refused(Answer(404, content_type="text/html; charset=utf-8"))
