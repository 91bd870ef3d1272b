"""What Sentry's refusals mean: from a status, headers and a body to an error with a cure. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from service.errors import (
    MissingScope,
    OutcomeUnknown,
    RateLimited,
    UnauthorizedReason,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from service.sentry.headers import find_request_id
from service.sentry.methods import SAFE_METHODS
from service.sentry.retry import Failure, read_retry_after, told_wait

_LONGEST_TEXT = 300
_LARGEST_BODY = 65536
_SECRET = re.compile(r"sntr[a-z]+_\S+|\b[0-9A-Fa-f]{40,}\b")
_CHALLENGE = re.compile(r'\bBearer\b.*\berror="?insufficient_scope"?', re.IGNORECASE)
_SCOPE = re.compile(r'\bscope="([^"]*)"', re.IGNORECASE)

# Sentry's own words for a 401, compared exactly here and nowhere else.
_REASONS = {
    "Invalid token": UnauthorizedReason.INVALID_TOKEN,
    "Invalid org token": UnauthorizedReason.INVALID_TOKEN,
    "Token expired": UnauthorizedReason.TOKEN_EXPIRED,
    "User inactive or deleted": UnauthorizedReason.USER_INACTIVE,
    "UserApplication inactive or deleted": UnauthorizedReason.APPLICATION_INACTIVE,
}
# A 401 with one of these codes concerns the user or the organization: no other token of the same user cures it.
_CODES = {
    "sso-required": UnauthorizedReason.SSO_REQUIRED,
    "2fa-required": UnauthorizedReason.TWO_FACTOR_REQUIRED,
    "member-disabled-over-limit": UnauthorizedReason.MEMBER_DISABLED,
    "email-verification-required": UnauthorizedReason.EMAIL_UNVERIFIED,
    "sudo-required": UnauthorizedReason.SUDO_REQUIRED,
    "data-secrecy": UnauthorizedReason.DATA_SECRECY,
}
_CURES = {
    UnauthorizedReason.USER_INACTIVE: (
        "The user whom this credential acts for is deactivated or deleted in Sentry.",
        "Link again with a credential of an active user, or of an integration.",
    ),
    UnauthorizedReason.APPLICATION_INACTIVE: (
        "The application that this credential was given to is deactivated or deleted in Sentry.",
        "Activate the application in Sentry, or link again.",
    ),
    UnauthorizedReason.SSO_REQUIRED: (
        "The organization requires single sign-on, which this credential's user has not completed.",
        "Sign in to Sentry through the organization's single sign-on, then link again; or link an integration's token.",
    ),
    UnauthorizedReason.TWO_FACTOR_REQUIRED: (
        "The organization requires two-factor authentication, which this credential's user has not set up.",
        "Set up two-factor authentication in Sentry, then try again; or link an integration's token.",
    ),
    UnauthorizedReason.MEMBER_DISABLED: (
        "This credential's user is disabled: the organization has more members than its plan allows.",
        "Link a token of an active member or of an integration, or change the organization's plan.",
    ),
    UnauthorizedReason.EMAIL_UNVERIFIED: (
        "This credential's user has not verified their email address in Sentry.",
        "Verify the email address in Sentry, then try again.",
    ),
    UnauthorizedReason.SUDO_REQUIRED: (
        "Sentry asks for the user's password for this, which an API credential cannot give.",
        "Do this in Sentry's own interface.",
    ),
    UnauthorizedReason.DATA_SECRECY: (
        "The organization has closed its data to this credential's user.",
        "Ask an owner of the organization to allow access, or link a credential of one of its members.",
    ),
}
_GATEWAY = frozenset({502, 504, 520, 524})
"""Answered by something before Sentry, which may have passed the request on."""


def is_gateway_failure(status: int) -> bool:
    """Whether a status says that Sentry itself was not heard, so that it counts as down."""
    return status in _GATEWAY or status == 503


def is_cured_by_token(body: bytes) -> bool:
    """Whether a 401 with this body may go away with a fresh token."""
    return _parse_detail(body)[0] not in _CODES


def explain_status(status: int, headers: Mapping[str, str], body: bytes, *, method: str, now: float) -> UpstreamError:
    """The error that an answer of 400 or more means. ``now`` is the epoch."""
    request_id = find_request_id(headers)
    code, text = _parse_detail(body) if status != 429 else ("", "")  # a 429's body is a bare string, or anything
    said = f" It says: {text}" if text else ""
    if status == 401:
        reason = _CODES.get(code) or _REASONS.get(text, UnauthorizedReason.UNKNOWN)
        message, cure = _CURES.get(reason, (f"Sentry refuses the credential.{said}", None))
        return UpstreamUnauthorized(message, cure=cure, upstream_status=status, request_id=request_id, reason=reason)
    if status == 403:
        return MissingScope(
            f"The credential does not allow this in Sentry.{said}",
            upstream_status=status,
            request_id=request_id,
            missing_scopes=_parse_challenge(headers.get("www-authenticate", "")),
        )
    if status == 404:
        return UpstreamNotFound(
            "Sentry has no such thing, or does not show it to this credential.",
            upstream_status=status,
            request_id=request_id,
        )
    if status == 429:
        return RateLimited(
            "Sentry's rate limit is used up.",
            upstream_status=status,
            request_id=request_id,
            retry_after=told_wait(headers, now),
        )
    if status >= 500:
        return _explain_breakdown(status, headers, said, method=method, now=now)
    return UpstreamError(
        f"Sentry refused the request with status {status}.{said}", upstream_status=status, request_id=request_id
    )


def _explain_breakdown(status: int, headers: Mapping[str, str], said: str, *, method: str, now: float) -> UpstreamError:
    if status in _GATEWAY and method not in SAFE_METHODS:
        return explain_lost_write(status, find_request_id(headers))
    return UpstreamUnavailable(
        f"Sentry failed with status {status}.{said}",
        upstream_status=status,
        request_id=find_request_id(headers),
        retry_after=read_retry_after(headers, now),
    )


def explain_failure(failure: Failure, *, method: str, status: int | None = None) -> UpstreamError:
    """The error that an attempt without a whole answer means; ``status`` is the answer's where that much came."""
    if failure is Failure.UNSENT:
        return UpstreamUnavailable("Sentry cannot be reached.")
    if failure is Failure.DISTRUSTED:
        return UpstreamUnavailable(
            "Sentry's certificate could not be verified, so nothing was sent.",
            cure="Check the address; where the certificate is of a private authority, give that authority's.",
        )
    if method not in SAFE_METHODS:
        return explain_lost_write(status, None)
    if failure is Failure.GARBLED:
        return UpstreamInvalid("Sentry's answer was cut off or is not HTTP.", upstream_status=status)
    return UpstreamUnavailable("The connection to Sentry was lost before it answered.", upstream_status=status)


def explain_lost_write(status: int | None, request_id: str | None) -> OutcomeUnknown:
    """A write was sent and nobody says what became of it."""
    return OutcomeUnknown(
        "The request was sent to Sentry and its answer was lost: the change may have happened.",
        upstream_status=status,
        request_id=request_id,
    )


def _parse_detail(body: bytes) -> tuple[str, str]:
    """``(code, text)`` of ``{"detail": text}``, ``{"detail": {code, message, extra}}`` or ``{field: [text]}``."""
    if len(body) > _LARGEST_BODY:
        return "", ""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ""
    if not isinstance(payload, dict):
        return "", ""
    detail = payload.get("detail")
    if isinstance(detail, str):
        return "", _clean(detail)
    if isinstance(detail, dict):
        code = detail.get("code")
        return code if isinstance(code, str) else "", _clean(detail.get("message"))
    fields = [f"{name}: {value[0]}" for name, value in payload.items() if isinstance(value, list) and value]
    return "", _clean("; ".join(fields))


def _clean(text: Any) -> str:
    """Sentry's own words, short, on one line and without anything that looks like a credential."""
    if not isinstance(text, str):
        return ""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _LONGEST_TEXT])
    return _SECRET.sub("[removed]", line)[:_LONGEST_TEXT].strip()


def _parse_challenge(header: str) -> list[str]:
    """The scopes of an ``insufficient_scope`` challenge (RFC 6750, section 3.1)."""
    scope = _SCOPE.search(header) if _CHALLENGE.search(header) else None
    return [_clean(name) for name in scope[1].split()[:20]] if scope else []
