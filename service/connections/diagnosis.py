"""What a look at a connection finds: the rights that its credential has, and what is wrong with it. Values only."""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from service.connections.models import ConnectionProblem
from service.connections.problems import explain
from service.sentry.limits import RateLimitState


class Severity(enum.StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. ``code`` is a stable word."""

    code: str
    severity: Severity
    message: str
    cure: str


@dataclass(frozen=True, slots=True)
class Feature:
    """Whether a feature is reached; where it is not, ``any_of`` are scopes any one of which would do.

    ``is_limited_by_role``: the token holds one of them, and its user's role does not allow it.
    """

    name: str
    is_available: bool
    any_of: tuple[str, ...]
    is_limited_by_role: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a look at a connection found; no findings is healthy.

    ``is_live`` tells whether Sentry was asked. ``scopes`` are the token's and ``access`` what it may do with them in
    the organization, None where Sentry did not tell; ``role`` is the user's there. ``clock_skew`` is the seconds that
    Sentry's clock is ahead of ours. Findings are sorted, the worst first.
    """

    checked_at: datetime
    is_live: bool
    is_refreshable: bool
    findings: list[Finding]
    scopes: list[str] | None = None
    access: list[str] | None = None
    role: str | None = None
    features: list[Feature] | None = None
    clock_skew: float | None = None
    rate_limit: RateLimitState | None = None


def find_problem(problem: ConnectionProblem, severity: Severity = Severity.ERROR) -> Finding:
    """A connection's problem as a finding: its code is the word that ``Connection.problem`` has."""
    explanation = explain(problem)
    return Finding(problem.value.upper(), severity, explanation.reason, explanation.cure)


def sort_findings(findings: Collection[Finding]) -> list[Finding]:
    """Each once, errors first, then by code."""
    order = list(Severity)
    return sorted(set(findings), key=lambda each: (order.index(each.severity), each.code, each.message))
