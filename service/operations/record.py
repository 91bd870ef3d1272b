"""What is known of one HTTP request: filled in while it runs, written down at its end."""

import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field

UNMATCHED = "(unmatched)"


@dataclass(slots=True)
class RequestRecord:
    """One request. ``route`` is the template of its path; ``seconds`` run to the end of the answer.

    For a GraphQL request ``is_graphql``, and as far as it got: the operation's ``kind`` (query, mutation) and ``name``,
    the ``codes`` of its errors, and whether it ``has_run`` or was refused as a whole.
    """

    method: str
    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
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
        """``query Users``, or only the type where the operation has no name."""
        return f"{self.kind} {self.name}" if self.kind and self.name else self.kind


current: ContextVar[RequestRecord | None] = ContextVar("current_request", default=None)
"""The request that the present task works for."""
