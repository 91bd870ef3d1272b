"""One tree of errors. Each knows its GraphQL code, its HTTP status, whether retrying helps, and its cure.

An error's message and cure are written for the caller and are shown to the caller: neither may ever hold a secret.
Whatever is not a :class:`ServiceError` is unforeseen: it is logged under a correlation id and masked.
"""

import enum
from collections.abc import Sequence
from typing import Any, ClassVar


class ServiceError(Exception):
    """The root of the tree.

    ``code`` is GraphQL's ``extensions.code``, ``status`` the HTTP status of the same error over REST,
    ``retryable`` says whether the same call may succeed later without being changed,
    ``cure`` what to do, in a sentence.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    cure: str | None = None

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if cure is not None:
            self.cure = cure

    def extensions(self) -> dict[str, Any]:
        """``extensions`` in a GraphQL answer: ``code``, ``retryable``, and ``cure`` and details where known."""
        found: dict[str, Any] = {"code": self.code, "retryable": self.retryable}
        if self.cure is not None:
            found["cure"] = self.cure
        return found | self.details()

    def details(self) -> dict[str, Any]:
        """What a kind of error adds to ``extensions``."""
        return {}


class ConfigurationError(ServiceError):
    """A wrong setting or a missing key: said in one line at start-up, which it stops."""

    code = "CONFIGURATION"


class StorageUnavailable(ServiceError):
    """The database cannot be reached, is locked for too long, or its disk is full. Nothing was stored."""

    code = "STORAGE_UNAVAILABLE"
    status = 503
    retryable = True
    cure = "Try again shortly; if it lasts, look at /ready and the database."


class StorageOutcomeUnknown(StorageUnavailable):
    """The database's answer to a commit was lost: the change may have been stored. It is never repeated by itself."""

    code = "STORAGE_OUTCOME_UNKNOWN"
    retryable = False
    cure = "Look whether the change is there before repeating it."


# --- the caller ---


class BadInput(ServiceError):
    """An argument that cannot be used; the message says what to change."""

    code = "BAD_USER_INPUT"
    status = 400


class InvalidCursor(BadInput):
    """A cursor that is not ours, is for another list, or is older than a day."""

    code = "INVALID_CURSOR"
    cure = "Start again without a cursor; keep the other arguments the same while walking a list."


class ScanLimitExceeded(BadInput):
    """A filter or order that Sentry cannot apply, over a list too long to read whole."""

    code = "SCAN_LIMIT_EXCEEDED"
    cure = "Add a filter by email, role or group, name fewer connections, or drop orderBy."


class Unauthenticated(ServiceError):
    """No valid API key or JWT came with the request."""

    code = "UNAUTHENTICATED"
    status = 401
    cure = "Send `Authorization: Bearer <API key or JWT>`."


class IssuerUnavailable(ServiceError):
    """The keys of a JWT's issuer have never been fetched, so that the JWT can neither be accepted nor refused."""

    code = "ISSUER_UNAVAILABLE"
    status = 503
    retryable = True
    cure = "Try again shortly; if it lasts, check jwks_url in SENTRY_GRAPH_JWT_ISSUERS."


class Forbidden(ServiceError):
    """The caller is known, but its role does not reach."""

    code = "FORBIDDEN"
    status = 403


class NotFound(ServiceError):
    """The object is missing, or not the caller's: the two answer byte-identically."""

    code = "NOT_FOUND"
    status = 404


class Conflict(ServiceError):
    """The change contradicts what is stored."""

    code = "CONFLICT"
    status = 409


class RequestTooLarge(ServiceError):
    """The request is over a limit of size, depth, breadth or cost."""

    code = "LIMIT_EXCEEDED"
    status = 413


class DeadlineExceeded(ServiceError):
    """The whole request took longer than it may."""

    code = "DEADLINE_EXCEEDED"
    status = 504
    retryable = True
    cure = "Ask for less at once, or try again."


# --- subscriptions ---


class UnknownEvent(BadInput):
    """A subscription is to go on after an event that is not in the log, or not the caller's."""

    code = "UNKNOWN_EVENT"
    cure = "Subscribe without `after`, and read what may be missing with `events`; events are kept for some weeks."


class TooManySubscriptions(ServiceError):
    """A process has as many subscriptions open as it may."""

    code = "TOO_MANY_SUBSCRIPTIONS"
    status = 503
    retryable = True
    cure = "Try again shortly: another replica may have room. The operator can raise SENTRY_GRAPH_SUBSCRIPTIONS."


class SubscriptionOverflow(ServiceError):
    """A subscriber read so slowly that more events waited for it than may. ``last_id`` is the last event it got."""

    code = "OVERFLOW"
    status = 503
    retryable = True

    def __init__(self, waiting: int, *, last_id: str | None) -> None:
        cure = "Read faster, or subscribe to less; then subscribe again"
        cure += (
            f' with `after: "{last_id}"`: nothing is lost.' if last_id else ", and read what is missing with `events`."
        )
        super().__init__(f"More than {waiting} events waited for this subscriber.", cure=cure)
        self.last_id = last_id

    def details(self) -> dict[str, Any]:
        """Adds ``lastEventId``: the event to go on after, where there was one."""
        return {"lastEventId": self.last_id}


# --- the proxy ---


class PathRefused(BadInput):
    """A proxy path that is malformed, leaves the connection's own roots, or reveals credentials."""

    code = "PATH_REFUSED"
    status = 403


class Constrained(ServiceError):
    """The connection is limited to some projects and this endpoint cannot be."""

    code = "CONSTRAINED"
    status = 403
    cure = "Use an endpoint below projects/{organization}/{project}/, or lift the connection's project constraint."


class ProfileRefused(ServiceError):
    """The connection's profile does not let this call through, whatever its credential could do."""

    code = "PROFILE_REFUSED"
    status = 403
    cure = (
        "Have the customer link the account again with a wider profile: what an account may be used for is theirs to "
        "allow."
    )


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for a different request."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    cure = "Use a new idempotencyKey for a new request."


class InProgress(Conflict):
    """A request with the same idempotency key is still running."""

    code = "IN_PROGRESS"
    retryable = True
    cure = "Repeat the same request with the same key in a few seconds."


# --- connections ---


class EgressRefused(BadInput):
    """An origin or address that this service may not call."""

    code = "EGRESS_REFUSED"
    status = 403


class LinkRefused(BadInput):
    """A credential that cannot be linked; the message names its kind and what to use instead."""

    code = "LINK_REFUSED"
    cure = "Make a user auth token or an internal integration in Sentry, and paste its token whole."


class LinkPageUnavailable(ServiceError):
    """Nothing can be linked by page: this service does not know the address that people reach it by."""

    code = "LINK_PAGE_UNAVAILABLE"
    status = 501
    cure = "Have the operator set SENTRY_GRAPH_PUBLIC_URL, or link with a token."


class AddressUnavailable(ServiceError):
    """Sentry cannot be told where to send webhooks: this service does not know the address that it is reached by."""

    code = "ADDRESS_UNAVAILABLE"
    status = 501
    cure = "Have the operator set SENTRY_GRAPH_PUBLIC_URL."


class OrganizationRequired(BadInput):
    """The credential reaches several organizations, or does not say which: the caller must name one."""

    code = "ORGANIZATION_REQUIRED"

    def __init__(self, message: str, *, organizations: Sequence[str], cure: str | None = None) -> None:
        super().__init__(message, cure=cure or "Repeat with `organization` set to one of the slugs.")
        self.organizations = list(organizations)

    def details(self) -> dict[str, Any]:
        """Adds ``organizations``: the slugs to choose from (empty where Sentry does not list them)."""
        return {"organizations": self.organizations}


class SecretUnreadable(ServiceError):
    """A sealed secret that no key of the keyring opens, or that was changed or moved in the database."""

    code = "SECRET_UNREADABLE"
    cure = "Restore the missing key in the keyring file, or link the account again with the same externalId."


class NeedsReauth(ServiceError):
    """The connection's credential is gone or no longer valid."""

    code = "NEEDS_REAUTH"
    status = 409
    cure = "Link the account again with the same externalId."


# --- Sentry ---


class UpstreamError(ServiceError):
    """Sentry, or the way to it, failed. ``upstream_status`` is Sentry's HTTP status where it answered."""

    code = "UPSTREAM_ERROR"
    status = 502

    def __init__(
        self,
        message: str,
        *,
        cure: str | None = None,
        upstream_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        missing_scopes: Sequence[str] = (),
    ) -> None:
        super().__init__(message, cure=cure)
        self.upstream_status = upstream_status
        self.request_id = request_id
        self.retry_after = retry_after
        self.missing_scopes = list(missing_scopes)

    def details(self) -> dict[str, Any]:
        """Adds ``upstream {status, requestId}``, ``retryAfter`` (seconds) and ``missingScopes`` where known."""
        found: dict[str, Any] = {}
        if self.upstream_status is not None or self.request_id is not None:
            found["upstream"] = {"status": self.upstream_status, "requestId": self.request_id}
        if self.retry_after is not None:
            found["retryAfter"] = round(self.retry_after, 3)
        if self.missing_scopes:
            found["missingScopes"] = self.missing_scopes
        return found


class UpstreamUnavailable(UpstreamError):
    """Sentry cannot be reached, answers 5xx, or its breaker is open."""

    code = "UPSTREAM_UNAVAILABLE"
    retryable = True
    cure = "Try again shortly; if it lasts, check that Sentry's address is right and up."


class UpstreamTimeout(UpstreamUnavailable):
    """Sentry did not answer within the call's total deadline."""

    code = "UPSTREAM_TIMEOUT"
    status = 504


class UpstreamInvalid(UpstreamError):
    """Sentry's answer was cut off, not JSON, or not of the documented shape."""

    code = "UPSTREAM_INVALID"
    retryable = True
    cure = "Try again; if it lasts, something between this service and Sentry rewrites its answers."


class UpstreamNotJson(UpstreamError):
    """Sentry's answer is a file, which has no place in a JSON answer."""

    code = "UPSTREAM_NOT_JSON"
    cure = "Fetch it through the streaming REST proxy, below /proxy/{connection id}/api/0/."


class UpstreamTooLarge(UpstreamError):
    """Sentry's answer is over the size cap."""

    code = "UPSTREAM_TOO_LARGE"
    cure = "Ask for a smaller page, or fetch it through the streaming REST proxy."


class RateLimited(UpstreamError):
    """Sentry's rate limit holds for longer than this call may wait."""

    code = "RATE_LIMITED"
    status = 429
    retryable = True
    cure = "Try again after `retryAfter` seconds."


class MissingScope(UpstreamError):
    """The credential's scopes, or its user's role, do not allow this."""

    code = "MISSING_SCOPE"
    status = 403
    cure = "Link again with a token that holds the missing scope, made by a user whose role allows it."


class UnauthorizedReason(enum.StrEnum):
    """Why Sentry answers 401, as far as it says so."""

    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105 - no password
    """Revoked, replaced by a later one, or never valid."""
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - no password
    USER_INACTIVE = "USER_INACTIVE"
    APPLICATION_INACTIVE = "APPLICATION_INACTIVE"
    SSO_REQUIRED = "SSO_REQUIRED"
    TWO_FACTOR_REQUIRED = "TWO_FACTOR_REQUIRED"
    MEMBER_DISABLED = "MEMBER_DISABLED"
    EMAIL_UNVERIFIED = "EMAIL_UNVERIFIED"
    SUDO_REQUIRED = "SUDO_REQUIRED"
    DATA_SECRECY = "DATA_SECRECY"
    UNKNOWN = "UNKNOWN"


class UpstreamUnauthorized(UpstreamError):
    """Sentry refuses the credential (401), and a fresh one is not to be had. ``reason`` is why."""

    code = "UPSTREAM_UNAUTHORIZED"
    status = 409
    cure = "Link the account again with a valid token and the same externalId."

    def __init__(
        self,
        message: str,
        *,
        cure: str | None = None,
        upstream_status: int | None = None,
        request_id: str | None = None,
        reason: UnauthorizedReason = UnauthorizedReason.UNKNOWN,
    ) -> None:
        super().__init__(message, cure=cure, upstream_status=upstream_status, request_id=request_id)
        self.reason = reason


class GrantProblem(enum.StrEnum):
    """Why Sentry gives no token."""

    INVALID_GRANT = "INVALID_GRANT"
    """The code or refresh token is spent, expired or revoked, or the installation is gone."""
    INVALID_CLIENT = "INVALID_CLIENT"
    """The client is not known by this id and secret, or is switched off. From a signed assertion: or clocks differ."""
    INVALID_REQUEST = "INVALID_REQUEST"
    """Sentry takes the request for malformed, or says nothing that we know."""
    UNSUPPORTED = "UNSUPPORTED"
    """This Sentry does not know the kind of grant, or not at this address."""


class GrantRefused(UpstreamError):
    """Sentry gives no token for a code, a refresh token or an app's signature. ``problem`` is why."""

    code = "GRANT_REFUSED"
    status = 409

    def __init__(
        self,
        message: str,
        *,
        problem: GrantProblem,
        cure: str,
        upstream_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, cure=cure, upstream_status=upstream_status, request_id=request_id)
        self.problem = problem

    def details(self) -> dict[str, Any]:
        """Adds ``problem``."""
        return super().details() | {"problem": self.problem.value}


class UpstreamNotFound(UpstreamError):
    """Sentry says 404: missing, not visible to the credential, or in another region."""

    code = "UPSTREAM_NOT_FOUND"
    status = 404


class OutcomeUnknown(UpstreamError):
    """A write was sent and its answer lost: it may have happened. It is never repeated by itself."""

    code = "OUTCOME_UNKNOWN"
    cure = "Look whether the change happened before repeating it."
