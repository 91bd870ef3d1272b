"""Python enums as GraphQL enums, each value described."""

import enum
from typing import TypeVar

import strawberry

from service.connections.models import ConnectionStatus, CredentialKind
from service.directory.query import UserOrderField
from service.directory.user import UserStatus
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
