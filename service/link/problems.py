"""Why something on the link page did not work, in words that the page, the status and the audit log share."""

import enum

from service.errors import GrantProblem, GrantRefused, ServiceError


class LinkProblem(enum.StrEnum):
    """A failure after which the person can go on in another way."""

    DENIED = "denied"
    STATE_EXPIRED = "state_expired"
    GRANT_REFUSED = "grant_refused"
    GRANT_LOST = "grant_lost"
    CLIENT_REFUSED = "client_refused"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a word
    MISSING_SCOPES = "missing_scopes"
    ADDRESS_REFUSED = "address_refused"
    INVALID_INPUT = "invalid_input"
    NO_ORGANIZATION = "no_organization"
    OTHER_ORGANIZATION = "other_organization"
    INSTALLATION_TAKEN = "installation_taken"
    INSTALLATION_MISMATCH = "installation_mismatch"
    INSTALLATION_UNUSABLE = "installation_unusable"
    CONNECTION_GONE = "connection_gone"
    SENTRY_UNAVAILABLE = "sentry_unavailable"
    RATE_LIMITED = "rate_limited"
    CHANGED = "changed"
    OTHER = "other"


class StepRefused(Exception):
    """What was asked for on a page cannot be done; the session stays as it is. ``details`` is what Sentry said."""

    def __init__(self, problem: LinkProblem, details: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.details = details


class SessionEnded(Exception):
    """The session was completed, cancelled, or started in another browser, or has expired, just before."""


_PROBLEMS = {
    "UPSTREAM_UNAUTHORIZED": LinkProblem.TOKEN_REFUSED,
    "LINK_REFUSED": LinkProblem.TOKEN_REFUSED,
    "MISSING_SCOPE": LinkProblem.MISSING_SCOPES,
    "EGRESS_REFUSED": LinkProblem.ADDRESS_REFUSED,
    "BAD_USER_INPUT": LinkProblem.INVALID_INPUT,
    "ORGANIZATION_REQUIRED": LinkProblem.NO_ORGANIZATION,
    "CONFLICT": LinkProblem.OTHER_ORGANIZATION,
    "NOT_FOUND": LinkProblem.CONNECTION_GONE,
    "FORBIDDEN": LinkProblem.CONNECTION_GONE,
    "OUTCOME_UNKNOWN": LinkProblem.GRANT_LOST,
    "RATE_LIMITED": LinkProblem.RATE_LIMITED,
    "UPSTREAM_UNAVAILABLE": LinkProblem.SENTRY_UNAVAILABLE,
    "UPSTREAM_TIMEOUT": LinkProblem.SENTRY_UNAVAILABLE,
    "UPSTREAM_INVALID": LinkProblem.SENTRY_UNAVAILABLE,
    "UPSTREAM_TOO_LARGE": LinkProblem.SENTRY_UNAVAILABLE,
    "UPSTREAM_ERROR": LinkProblem.SENTRY_UNAVAILABLE,
    "UPSTREAM_NOT_FOUND": LinkProblem.SENTRY_UNAVAILABLE,
    "SECRET_UNREADABLE": LinkProblem.OTHER,
}


def find_problem(error: ServiceError) -> LinkProblem:
    """What an error means to the person at the page."""
    if isinstance(error, GrantRefused):
        is_code = error.problem is GrantProblem.INVALID_GRANT
        return LinkProblem.GRANT_REFUSED if is_code else LinkProblem.CLIENT_REFUSED
    return _PROBLEMS.get(error.code, LinkProblem.OTHER)
