"""Where a credential is removed by hand: unlinking destroys our copy of it, and only Sentry can revoke it. Pure.

Pages are those of Sentry's own interface (the routes of its ``static/app/routes.tsx``), and are found at the control
origin; they open after a login there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from service.connections.models import CredentialKind


@dataclass(frozen=True, slots=True)
class Removal:
    """The page, and in a sentence what to do there and who can."""

    url: str
    instructions: str


_PAGES: Mapping[CredentialKind, tuple[str, str]] = {
    CredentialKind.USER_TOKEN: (
        "settings/account/api/auth-tokens/",
        "Whoever made the token logs in, finds it under User Auth Tokens, and removes it.",
    ),
    CredentialKind.OAUTH_TOKEN: (
        "settings/account/authorizations/",
        "Whoever approved the application logs in, finds it under Authorized Applications, and revokes it.",
    ),
    CredentialKind.APP_TOKEN: (
        "settings/{organization}/integrations/",
        "An owner or manager of the organization opens the application there, and uninstalls it.",
    ),
    CredentialKind.INTERNAL_TOKEN: (
        "settings/{organization}/developer-settings/",
        "An owner or manager of the organization opens the internal integration, and removes the token or all of it.",
    ),
    CredentialKind.ORGANIZATION_TOKEN: (
        "settings/{organization}/auth-tokens/",
        "An owner or manager of the organization finds the token under Auth Tokens, and revokes it.",
    ),
    # Bare hex that Sentry names no owner of: most likely an older user token.
    CredentialKind.UNKNOWN_TOKEN: (
        "settings/account/api/auth-tokens/",
        "Whoever made the token logs in, finds it under User Auth Tokens, and removes it.",
    ),
}


def find_removal(kind: CredentialKind, control_origin: str, organization_slug: str) -> Removal:
    """Where a credential of this kind is removed; ``control_origin`` is a URL without a trailing slash."""
    path, instructions = _PAGES[kind]
    return Removal(f"{control_origin}/{path.format(organization=quote(organization_slug, safe=''))}", instructions)
