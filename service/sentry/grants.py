"""Tokens for a code, a refresh token or an app's signature: what is asked, and what Sentry's answers mean.

Sentry has two manners: OAuth's (``oauth/token/``, RFC 6749) and that of the integration platform
(``sentry-app-installations/{}/authorizations/``). Nothing in a request or an answer of these may be logged or quoted.
A grant is sent once. Where its answer is lost it may be spent: Sentry replaces both tokens before it answers.
"""

import enum
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from service.errors import GrantProblem, GrantRefused, OutcomeUnknown, RateLimited, UpstreamInvalid, UpstreamTooLarge
from service.sentry.calls import Response
from service.sentry.client import SentryClient
from service.sentry.headers import find_request_id
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from service.sentry.payloads import Instant, Payload
from service.sentry.retry import server_time, told_wait

__all__ = ["Grant", "GrantProblem", "GrantRequest", "GrantType", "classify", "fetch_grant"]


_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,36}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What Sentry gave. ``expires_in`` is in seconds from when the answer came; None where it does not expire.

    ``organization_id`` is the only one that the token is for, where Sentry says so. ``refresh_token`` is None where the
    server gives none.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: float | None
    scopes: tuple[str, ...]
    organization_id: str | None = None


class GrantType(enum.StrEnum):
    """What a token is asked for with, as it is sent."""

    CODE = "authorization_code"
    REFRESH = "refresh_token"
    ASSERTION = "urn:sentry:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A grant as it is sent to a client's own ``origin``; ``path`` is None for OAuth's token endpoint."""

    origin: Origin
    client_id: str
    type: GrantType
    path: ApiPath | None
    body: bytes = field(repr=False)
    content_type: str
    assertion: str | None = field(default=None, repr=False)


async def fetch_grant(sentry: SentryClient, request: GrantRequest, *, tenant_id: str, ca: str | None) -> Grant:
    """Send it, once.

    Raises :class:`GrantRefused`; :class:`OutcomeUnknown` where it may have been spent; :class:`RateLimited`,
    :class:`UpstreamUnavailable` and :class:`EgressRefused` where it was not.
    """
    try:
        response = await sentry.post_grant(
            request.origin,
            request.path,
            tenant_id=tenant_id,
            client_id=request.client_id,
            body=request.body,
            content_type=request.content_type,
            assertion=request.assertion,
            ca=ca,
        )
    except (OutcomeUnknown, UpstreamTooLarge) as error:
        raise _explain_lost(error.upstream_status, error.request_id) from None
    return _read(response, request, now=time.time())


def _read(response: Response, request: GrantRequest, *, now: float) -> Grant:
    status, request_id = response.status, _find_request_id(response, request)
    if status in {200, 201}:
        read = _read_oauth if request.path is None else _read_installation
        try:
            return read(response, now)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            raise _explain_lost(status, request_id) from None
    if status == 429:
        raise RateLimited(
            "Sentry's rate limit is used up.",
            upstream_status=status,
            request_id=request_id,
            retry_after=told_wait(response.headers, now),
        )
    if status < 300 or status >= 500:
        raise _explain_lost(status, request_id)
    if status < 400:
        raise UpstreamInvalid(
            "Sentry answered with a redirect, which is not followed.",
            cure="Configure the client with the address that Sentry's own interface shows.",
            upstream_status=status,
            request_id=request_id,
        )
    problem = classify(status, response.body, request.type, is_oauth=request.path is None)
    message, cure = _EXPLANATIONS[problem]
    raise GrantRefused(message, problem=problem, cure=cure, upstream_status=status, request_id=request_id)


def _find_request_id(response: Response, request: GrantRequest) -> str | None:
    """As elsewhere, unless it may be a part of what was sent: no header of such an answer is quoted unseen."""
    found = find_request_id(response.headers)
    if found is None or _REQUEST_ID.fullmatch(found) is None or found.encode() in request.body:
        return None
    return found


# --- what was given ---


class _OAuthGrant(Payload, frozen=True, rename=None):
    access_token: str
    refresh_token: str | None = None
    expires_in: float | None = None
    expires_at: Instant | None = None
    scope: str | None = None
    organization_id: str | int | None = None


class _InstallationGrant(Payload, frozen=True):
    token: str
    refresh_token: str | None = None
    expires_at: Instant | None = None
    date_created: Instant | None = None
    scopes: tuple[str, ...] = ()


_OAUTH = msgspec.json.Decoder(_OAuthGrant)
_INSTALLATION = msgspec.json.Decoder(_InstallationGrant)


def _read_oauth(response: Response, now: float) -> Grant:
    given = _OAUTH.decode(response.body)
    expires_in = given.expires_in
    if expires_in is None and given.expires_at is not None:
        expires_in = _seconds_until(given.expires_at, None, response.headers, now)
    return Grant(
        access_token=_check_token(given.access_token),
        refresh_token=_check_token(given.refresh_token) if given.refresh_token else None,
        expires_in=None if expires_in is None else max(expires_in, 0.0),
        scopes=tuple((given.scope or "").split()),
        organization_id=None if given.organization_id is None else str(given.organization_id),
    )


def _read_installation(response: Response, now: float) -> Grant:
    given = _INSTALLATION.decode(response.body)
    return Grant(
        access_token=_check_token(given.token),
        refresh_token=_check_token(given.refresh_token) if given.refresh_token else None,
        expires_in=(
            None
            if given.expires_at is None
            else _seconds_until(given.expires_at, given.date_created, response.headers, now)
        ),
        scopes=given.scopes,
    )


def _seconds_until(moment: datetime, made: datetime | None, headers: Mapping[str, str], now: float) -> float:
    """How long until a moment of the server's clock, by that clock: its ``Date``, else when it says the token was made.

    Only where it tells neither is it ours.
    """
    epoch = made.timestamp() if made is not None and "date" not in headers else server_time(headers, now)
    return max(moment.timestamp() - epoch, 0.0)


def _check_token(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError
    return text


# --- what was refused ---

# Sentry's own words, compared exactly here and nowhere else: `error` of OAuth and of Sentry 23.7's installations,
# `detail` of newer ones'.
_PROBLEMS = {
    "invalid_grant": GrantProblem.INVALID_GRANT,
    "Unauthorized": GrantProblem.INVALID_GRANT,
    "Given refresh token does not exist": GrantProblem.INVALID_GRANT,
    "Token does not belong to the application": GrantProblem.INVALID_GRANT,
    "Could not find grant for given code": GrantProblem.INVALID_GRANT,
    "Forbidden grant": GrantProblem.INVALID_GRANT,
    "Grant has already expired": GrantProblem.INVALID_GRANT,
    "Installation not found": GrantProblem.INVALID_GRANT,
    "Installation does not have a token": GrantProblem.INVALID_GRANT,
    # The installation is another app's.
    "You do not have permission to perform this action.": GrantProblem.INVALID_GRANT,
    "invalid_client": GrantProblem.INVALID_CLIENT,
    "invalid_credentials": GrantProblem.INVALID_CLIENT,
    "unauthorized_client": GrantProblem.INVALID_CLIENT,
    "missing_client_id": GrantProblem.INVALID_CLIENT,
    "missing_client_secret": GrantProblem.INVALID_CLIENT,
    "Application is not active": GrantProblem.INVALID_CLIENT,
    "Could not validate JWT": GrantProblem.INVALID_CLIENT,
    "JWT is not valid for this application": GrantProblem.INVALID_CLIENT,
    "JWT has already been used": GrantProblem.INVALID_REQUEST,
    "invalid_request": GrantProblem.INVALID_REQUEST,
    "invalid_scope": GrantProblem.INVALID_REQUEST,
    "unsupported_grant_type": GrantProblem.UNSUPPORTED,
    "Invalid grant_type": GrantProblem.UNSUPPORTED,
}
# What a server that knows no assertions says to one, since it looks for a client's secret in the body.
_ASKS_FOR_SECRET = "Invalid Client ID / Secret pair"  # noqa: S105 - no secret
_LARGEST_BODY = 65536


def classify(status: int, body: bytes, kind: GrantType, *, is_oauth: bool) -> GrantProblem:
    """What an answer from 400 to 499, but not 429, says of a grant.

    What is not known word for word never means that the grant is dead: a proxy or firewall may have said it.
    """
    word = _find_word(body)
    if word == _ASKS_FOR_SECRET and kind is GrantType.ASSERTION:
        return GrantProblem.UNSUPPORTED
    if word in _PROBLEMS:
        return _PROBLEMS[word]
    if status == 405:
        return GrantProblem.UNSUPPORTED
    if status == 404:
        is_gone = not is_oauth and kind is not GrantType.ASSERTION and word is not None
        return GrantProblem.INVALID_GRANT if is_gone else GrantProblem.UNSUPPORTED
    return GrantProblem.INVALID_CLIENT if status == 401 else GrantProblem.INVALID_REQUEST


def _find_word(body: bytes) -> str | None:
    """``error`` or ``detail`` of a refusal; None where it is none of Sentry's."""
    if len(body) > _LARGEST_BODY:
        return None
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    word: Any = payload.get("error", payload.get("detail"))
    return word if isinstance(word, str) else None


_EXPLANATIONS = {
    GrantProblem.INVALID_GRANT: (
        "Sentry no longer accepts this code or refresh token: it is spent, expired or revoked.",
        "Link the account again.",
    ),
    GrantProblem.INVALID_CLIENT: (
        "Sentry does not accept this service's client id and secret.",
        "Ask the operator to compare the configured client with the application in Sentry, and the two clocks.",
    ),
    GrantProblem.INVALID_REQUEST: (
        "Sentry refuses the request for a token.",
        "Ask the operator to check the client's redirect address and scopes in Sentry, and what stands before Sentry.",
    ),
    GrantProblem.UNSUPPORTED: (
        "This Sentry does not give tokens in this way.",
        "Ask the operator to check the client's address; or link by pasting a token.",
    ),
}


def _explain_lost(status: int | None, request_id: str | None) -> OutcomeUnknown:
    return OutcomeUnknown(
        "A token was asked for and Sentry's answer was lost: the code or refresh token may be spent.",
        cure="Link the account again if the connection does not recover by itself.",
        upstream_status=status,
        request_id=request_id,
    )
