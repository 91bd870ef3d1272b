"""Python enums as GraphQL enums, each value described."""

import enum
from typing import TypeVar

import strawberry

from service.connections.diagnosis import Severity
from service.connections.link_models import LinkMethod
from service.connections.models import ConnectionProblem, ConnectionStatus, CredentialKind
from service.connections.receiver_models import QuarantineReason, ReceiverKind
from service.directory.query import UserOrderField
from service.directory.user import UserStatus
from service.events.models import DeliveryStatus, EndpointPayload, EndpointStatus
from service.journal import Outcome
from service.sentry.profiles import Profile
from service.tenants.caller import Role

E = TypeVar("E", bound=enum.EnumMeta)


def _describe(kind: E, name: str, description: str, values: dict[str, str]) -> E:
    strawberry.enum(kind, name=name, description=description)
    for value in kind.__strawberry_definition__.values:  # type: ignore[attr-defined]  # set by the line above
        value.description = values[value.name]
    return kind


_describe(
    UserStatus,
    "UserStatus",
    "Where a person stands in the organization. Sentry does not list people whose account is deactivated.",
    {
        "ACTIVE": "Joined.",
        "INVITED": "Invited, and not yet joined: there is no user behind the invitation.",
        "EXPIRED": "Invited, and the invitation has expired.",
        "RESTRICTED": "Joined, but shut out by the plan's limit of members.",
    },
)
_describe(
    UserOrderField,
    "UserOrderField",
    "What users can be ordered by.",
    {
        "NAME": "The display name.",
        "EMAIL": "The primary address.",
        "CREATED_AT": "When the person was added or invited.",
        "LAST_LOGIN_AT": "When the person last logged in.",
        "LAST_ACTIVE_AT": "When the person last used Sentry.",
    },
)
_describe(
    ConnectionStatus,
    "ConnectionStatus",
    "Whether a connection can be used.",
    {
        "ACTIVE": "It can be used.",
        "NEEDS_REAUTH": "Its credential is no longer valid: link the account again with the same externalId.",
        "UNLINKED": "It was unlinked and its credential destroyed; linking again with the same externalId revives it.",
    },
)
_describe(
    ConnectionProblem,
    "ConnectionProblem",
    "Why a connection cannot be used, or soon will not be.",
    {
        "TOKEN_REVOKED": "Sentry no longer knows the token.",
        "TOKEN_EXPIRED": "The token has expired, and cannot be renewed.",
        "REFRESH_LOST": "Sentry renewed the token, and its answer never arrived.",
        "REFRESH_REFUSED": "Sentry refuses to renew the token, which works until it expires.",
        "APPLICATION_DISABLED": "The application that the account was linked through is switched off or deleted.",
        "CLIENT_REFUSED": "Sentry refuses this service's client id or secret: for the operator.",
        "USER_INACTIVE": "The user whom the token acts as is deactivated or deleted.",
        "SSO_REQUIRED": "The organization asks its user for single sign-on.",
        "TWO_FACTOR_REQUIRED": "The organization asks its user for two-factor authentication.",
        "ORGANIZATION_GONE": "Sentry no longer shows the organization to the credential.",
        "INSTALLATION_GONE": "The application was uninstalled.",
        "CLOCK_SKEWED": "This service's clock and Sentry's differ by too much: for the operator.",
        "SENTRY_UNAVAILABLE": "Sentry fails or cannot be reached; it is tried again.",
        "SECRET_UNREADABLE": "No key opens the stored token: for the operator.",
        "UNLINKED": "The account was unlinked.",
    },
)
_describe(
    Profile,
    "ConnectionProfile",
    "How much of a Sentry account a connection may use, whatever its credential could do.",
    {
        "READ": "Reading.",
        "TRIAGE": "Also changing issues: their status, assignee, comments and links; not deleting them.",
        "FULL": "All that the proxy lets through.",
    },
)
_describe(
    Severity,
    "ConnectionDiagnosisSeverity",
    "How much a problem matters.",
    {
        "ERROR": "The connection does not work.",
        "WARNING": "A part of it does not work, or it will stop working.",
    },
)
_describe(
    LinkMethod,
    "LinkMethod",
    "A way to link an account.",
    {
        "OAUTH": "Approving an OAuth application in Sentry.",
        "INSTALL": "Installing an application in an organization of Sentry.",
        "TOKEN": "Pasting a token.",
    },
)
_describe(
    EndpointStatus,
    "WebhookEndpointStatus",
    "Whether events are delivered to a webhook endpoint.",
    {
        "ENABLED": "They are.",
        "DISABLED": "None are, and what waits for it is given up: enable it, and replay what it missed.",
    },
)
_describe(
    EndpointPayload,
    "WebhookPayload",
    "What a webhook endpoint is sent.",
    {
        "EVENT": "An event of this service: what it is about, and as its `data` the body that Sentry sent.",
        "SENTRY": "The body that Sentry sent, byte by byte, with Sentry's headers but its signature. Events that are "
        "this service's own are not sent.",
    },
)
_describe(
    DeliveryStatus,
    "WebhookDeliveryStatus",
    "How far a delivery has come.",
    {
        "PENDING": "It is to be tried, for the first time or again.",
        "DELIVERED": "The endpoint answered 2xx.",
        "DEAD": "It was given up: after ten attempts, or since the endpoint was disabled.",
        "REPLAYED": "It was given up, and another delivery repeats it.",
    },
)
_describe(
    ReceiverKind,
    "WebhookReceiverKind",
    "What sends to a webhook receiver.",
    {
        "INTERNAL_INTEGRATION": "An internal integration: signs with its Client Secret.",
        "SERVICE_HOOK": "A service hook of one project: signs with the secret that Sentry gave when it was made.",
        "LEGACY_PLUGIN": "The legacy WebHooks plugin of one project: signs nothing, so that its address is its secret.",
    },
)
_describe(
    QuarantineReason,
    "WebhookQuarantineReason",
    "Why a webhook that was genuine is not an event.",
    {
        "UNKNOWN_INSTALLATION": "It names an installation that is not linked.",
        "OTHER_INSTALLATION": "It names another installation than the connection's.",
        "OTHER_PROJECT": "It is of a project that the connection is not limited to, or of another organization.",
        "UNLINKED": "The connection is unlinked.",
    },
)
_describe(
    Outcome,
    "AuditOutcome",
    "How an audited action ended.",
    {"SUCCEEDED": "It was done.", "FAILED": "It was refused or went wrong."},
)
_describe(
    CredentialKind,
    "ConnectionAuthentication",
    "The kind of credential a connection authenticates with.",
    {
        "USER_TOKEN": "A user auth token: acts as the user who made it.",
        "OAUTH_TOKEN": "A token of an OAuth application: acts as the user who approved it.",
        "APP_TOKEN": "A token of a public integration's installation.",
        "INTERNAL_TOKEN": "A token of an internal integration.",
        "ORGANIZATION_TOKEN": "An organization auth token: for releases and source maps only.",
        "UNKNOWN_TOKEN": "A token whose form does not tell its kind.",
    },
)
_describe(
    Role,
    "ApiKeyRole",
    "What a caller may do; each role includes the ones before it.",
    {
        "READ": "Query.",
        "WRITE": "Also proxy writes and changes of data in Sentry.",
        "ADMIN": "Also link and unlink accounts and manage API keys.",
    },
)
