"""What is known of one HTTP request: filled in while it runs, written down at its end."""

import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field

UNMATCHED = "(unmatched)"


def new_request_id() -> str:
    """What finds the log lines of one request, or of one WebSocket."""
    return secrets.token_hex(8)


def describe_operation(kind: str | None, name: str | None) -> str | None:
    """``query Users``, or only the type where the operation has no name."""
    return f"{kind} {name}" if kind and name else kind


@dataclass(slots=True)
class RequestRecord:
    """One request. ``route`` is the template of its path; ``seconds`` run to the end of the answer.

    For a GraphQL request ``is_graphql``, and as far as it got: the operation's ``kind`` (query, mutation) and ``name``,
    the ``codes`` of its errors, and whether it ``has_run`` or was refused as a whole.
    """

    method: str
    request_id: str = field(default_factory=new_request_id)
    route: str = UNMATCHED
    status: int = 500  # until an answer says otherwise
    seconds: float = 0.0
    tenant: str | None = None
    is_graphql: bool = False
    kind: str | None = None
    name: str | None = None
    codes: tuple[str, ...] = ()
    has_run: bool = False

    @property
    def operation(self) -> str | None:
        """The operation, as :func:`describe_operation` has it."""
        return describe_operation(self.kind, self.name)


current: ContextVar[RequestRecord | None] = ContextVar("current_request", default=None)
"""The request that the present task works for."""
