"""What a pasted text is: a credential's kind by its form, and what its scopes reach. Pure; never repeats the text.

Forms are those of Sentry's ``types/token.py`` and ``utils/security/orgauthtoken_token.py``.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.connections.models import CredentialKind
from service.errors import LinkRefused, MissingScope

FEATURES: Mapping[str, tuple[str, ...]] = {
    "organization": ("org:read", "org:write", "org:admin"),
    "users": ("member:read", "member:write", "member:admin"),
    "groups": ("team:read", "team:write", "team:admin"),
    "projects": ("project:read", "project:write", "project:admin"),
    "issues": ("event:read", "event:write", "event:admin"),
    "releases": ("project:releases", "project:read", "project:write", "project:admin", "org:ci"),
}
"""For each feature the scopes of which any one suffices, the least first."""

_USE_INSTEAD = (
    "Use the token of an internal integration (Settings > Developer Settings) or a user auth token (User settings)."
)
_PREFIXES = {
    "sntryu_": CredentialKind.USER_TOKEN,
    "sntryi_": CredentialKind.INTERNAL_TOKEN,
    "sntrya_": CredentialKind.OAUTH_TOKEN,
    "sntrys_": CredentialKind.ORGANIZATION_TOKEN,
}
_PASTED_HEADER = re.compile(r"(?:authorization\s*:\s*)?(?:bearer|token)\s+(?=\S+\Z)", re.IGNORECASE)
_BASIC = re.compile(r"(?:authorization\s*:\s*)?basic\s", re.IGNORECASE)
_DSN = re.compile(r"(?:authorization\s*:\s*)?dsn\s|[a-z]+://", re.IGNORECASE)
_COOKIE = re.compile(
    r"(?:set-)?cookie\s*:|[^=\s;]+=+[^=\s;]|[^\s;]+;", re.IGNORECASE
)  # name=value, unlike base64's end
_LEGACY_KEY = re.compile(r"[0-9a-f]{32}:?\Z", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{8,1000}=*\Z")  # RFC 6750, section 2.1
_ORGANIZATION_TOKEN = re.compile(r"sntrys_([A-Za-z0-9+/_=-]+)_([A-Za-z0-9+/=-]+)\Z")


@dataclass(frozen=True, slots=True)
class Credential:
    """A recognised token. ``kind`` is None where the form does not tell (bare hex).

    An organization token names its own organization (a slug), its Sentry (a URL) and that Sentry's region (a URL).
    """

    token: str = field(repr=False)
    kind: CredentialKind | None
    organization: str | None = None
    url: str | None = None
    region_url: str | None = None


def recognise(text: str) -> Credential:
    """What a pasted text is.

    A header's ``Authorization: Bearer`` before it is taken off. Raises :class:`LinkRefused` for what is no bearer
    token, by its name: legacy API keys, DSNs, cookies.
    """
    token = _PASTED_HEADER.sub("", text.strip())
    if _BASIC.match(token) or _LEGACY_KEY.match(token):
        raise LinkRefused("This is a legacy API key, which newer Sentrys no longer have.", cure=_USE_INSTEAD)
    if _DSN.match(token):
        raise LinkRefused("This is a DSN or an address: a DSN only sends events.", cure=_USE_INSTEAD)
    if token.startswith("sntrys_"):
        return _parse_organization_token(token)
    if _COOKIE.match(token):
        raise LinkRefused("This is a cookie of a browser session, which ends with it.", cure=_USE_INSTEAD)
    if not _TOKEN.match(token):
        raise LinkRefused("This is not a token: it is empty, too short or long, or has other characters.")
    return Credential(token, next((kind for prefix, kind in _PREFIXES.items() if token.startswith(prefix)), None))


def settle_kind(credential: Credential, *, has_user: bool, user_email: str | None, is_app: bool) -> CredentialKind:
    """The kind, with what Sentry's ``/api/0/`` says of the token's user where the form did not tell.

    An integration acts as a proxy user without an address. ``is_app``: an installation was named with the token;
    without one it is taken for an internal integration's, the only kind that people get to see. A person's bare token
    may be an older user token or an OAuth token; nothing tells which.
    """
    if credential.kind is not None:
        return credential.kind
    if is_app:
        return CredentialKind.APP_TOKEN
    if not has_user:
        return CredentialKind.UNKNOWN_TOKEN
    return CredentialKind.USER_TOKEN if user_email else CredentialKind.INTERNAL_TOKEN


def missing_scopes(scopes: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The features that these scopes do not reach, each with the scopes any one of which would do."""
    return {feature: any_of for feature, any_of in FEATURES.items() if not set(any_of) & set(scopes)}


def refuse_empty(feature: str, scopes: Collection[str]) -> None:
    """Raise :class:`MissingScope` for an empty list that these scopes do not reach: it may well be no empty list.

    Some of Sentry's lists answer ``[]`` instead of 403 to whom may not see what is in them.
    """
    any_of = missing_scopes(scopes).get(feature)
    if any_of is not None:
        raise MissingScope(
            f"Sentry lists nothing, and without one of the scopes {', '.join(any_of)} that says nothing.",
            missing_scopes=[any_of[0]],
        )


def _parse_organization_token(token: str) -> Credential:
    """``sntrys_`` + base64 of ``{"iat", "url", "region_url", "org"}`` + ``_`` + secret."""
    found = _ORGANIZATION_TOKEN.match(token)
    if found is None or len(token) > 2000:
        raise LinkRefused("This organization token is cut off or changed.", cure="Copy it again, whole.")
    payload = _decode_payload(found[1])
    return Credential(
        token,
        CredentialKind.ORGANIZATION_TOKEN,
        organization=_text(payload.get("org")),
        url=_text(payload.get("url")),
        region_url=_text(payload.get("region_url")),
    )


def _decode_payload(text: str) -> dict[str, Any]:
    """What the token says of itself; nothing where it cannot be read, since Sentry then decides."""
    try:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        payload = json.loads(base64.b64decode(plain + "=" * (-len(plain) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
