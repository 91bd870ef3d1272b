"""What came of sending: the receiver's answer, or why there is none, in a word and in a sentence. Pure."""

import enum
from dataclasses import dataclass

LONGEST_ANSWER = 1024
"""Bytes of an answer that are read and kept."""

GONE = 410
"""The status by which a receiver says that it wants no more (Standard Webhooks)."""


class Problem(enum.StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    CERTIFICATE = "certificate"
    LOST = "lost"
    GARBLED = "garbled"
    INTERRUPTED = "interrupted"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - no password
    OTHER_CONNECTION = "other_connection"
    INTERNAL = "internal"


OURS = frozenset({Problem.INTERRUPTED, Problem.SECRET_UNREADABLE, Problem.OTHER_CONNECTION, Problem.INTERNAL})
"""Problems that tell nothing about the endpoint."""

_EXPLAINED: dict[str, str] = {
    Problem.TIMEOUT: "The endpoint took too long to answer.",
    Problem.UNREACHABLE: "No connection could be made to the endpoint.",
    Problem.REFUSED: "This service may not call the endpoint's address, unless the operator adds its origin to "
    "SENTRY_GRAPH_FORWARD_ALLOW.",
    Problem.CERTIFICATE: "The endpoint's certificate is not of a trusted authority, not for its name, or has expired.",
    Problem.LOST: "The connection to the endpoint broke before there was an answer.",
    Problem.GARBLED: "What the endpoint answered is not HTTP.",
    Problem.INTERRUPTED: "This service stopped before there was an answer; it is tried again at once.",
    Problem.SECRET_UNREADABLE: "No key opens the endpoint's secret: the operator has to restore the keyring.",
    Problem.OTHER_CONNECTION: "The endpoint is limited to other connections by now: nothing was sent.",
    Problem.INTERNAL: "Something unforeseen went wrong in this service; its log tells more.",
}

_STATUSES = {
    401: "it wants credentials, which webhooks do not carry: check the signature instead",
    403: "something refuses the request before or in the endpoint",
    404: "there is nothing at this path",
    405: "it takes no POST at this path",
    410: "it wants no more webhooks",
    413: "it takes no body of this size",
    429: "it gets more requests than it wants",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt: a ``status``, or a ``problem``. ``text`` is the beginning of the answer's body.

    ``asked`` are the seconds that a 429 or 503 asked to wait.
    """

    status: int | None = None
    problem: Problem | None = None
    text: str | None = None
    asked: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it: only a status of 2xx says so."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def word(self) -> str:
        """The status or problem as a word, for :func:`explain`."""
        return str(self.status) if self.problem is None else self.problem.value


def explain(word: str | None) -> str | None:
    """Why an attempt failed, in a sentence, by the word of its answer; None where it did not."""
    if word is None:
        return None
    if not word.isdigit():
        return _EXPLAINED.get(word)
    status = int(word)
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The endpoint answered {status}, a redirect: none is followed. Give the address that it leads to."
    known = _STATUSES.get(status, "it fails" if status >= 500 else "only 2xx says that it was received")
    return f"The endpoint answered {status}: {known}."


def clean_answer(body: bytes) -> str | None:
    """The beginning of an answer as a text that any database can hold; None where there is none."""
    text = body[:LONGEST_ANSWER].decode(errors="replace").replace("\0", "\ufffd")
    return text or None
