import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from service.sentry.refusals import explain_failure, explain_status, is_cured_by_token, is_gateway_failure
from service.sentry.retry import Failure

NOW = 1_795_000_000.0


def explain(
    status: int, payload: Any = None, *, method: str = "GET", headers: dict[str, str] | None = None
) -> UpstreamError:
    return explain_status(status, headers or {}, json.dumps(payload).encode(), method=method, now=NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamError),
        (401, UpstreamUnauthorized),
        (403, MissingScope),
        (404, UpstreamNotFound),
        (409, UpstreamError),
        (429, RateLimited),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[UpstreamError]) -> None:
    error = explain(status, headers={"x-request-id": "r1"})
    assert type(error) is kind
    assert error.extensions()["upstream"] == {"status": status, "requestId": "r1"}


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_a_gateways_failure_leaves_a_write_open(status: int) -> None:
    assert type(explain(status, method="PUT")) is OutcomeUnknown
    assert type(explain(status, method="GET")) is UpstreamUnavailable
    assert is_gateway_failure(status)


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_an_answer_of_sentrys_own_is_no_gateway_failure(status: int) -> None:
    assert not is_gateway_failure(status)


CODES = [
    "sso-required",
    "2fa-required",
    "member-disabled-over-limit",
    "email-verification-required",
    "sudo-required",
    "data-secrecy",
]


@pytest.mark.parametrize("code", CODES)
def test_a_401_that_no_token_cures_says_what_does(code: str) -> None:
    payload = {"detail": {"code": code, "message": "…", "extra": {"loginUrl": "/auth/login/"}}}
    assert not is_cured_by_token(json.dumps(payload).encode())
    error = explain(401, payload)
    assert error.cure != UpstreamUnauthorized.cure
    assert "Sentry refuses the credential" not in error.message


REASONS = [
    ({"detail": "Invalid token"}, "INVALID_TOKEN"),
    ({"detail": "Invalid org token"}, "INVALID_TOKEN"),
    ({"detail": "Token expired"}, "TOKEN_EXPIRED"),
    ({"detail": "User inactive or deleted"}, "USER_INACTIVE"),
    ({"detail": "UserApplication inactive or deleted"}, "APPLICATION_INACTIVE"),
    ({"detail": {"code": "sso-required", "message": "x"}}, "SSO_REQUIRED"),
    ({"detail": {"code": "2fa-required", "message": "x"}}, "TWO_FACTOR_REQUIRED"),
    ({"detail": {"code": "member-disabled-over-limit"}}, "MEMBER_DISABLED"),
    ({"detail": {"code": "email-verification-required"}}, "EMAIL_UNVERIFIED"),
    ({"detail": {"code": "sudo-required"}}, "SUDO_REQUIRED"),
    ({"detail": {"code": "data-secrecy"}}, "DATA_SECRECY"),
    ({"detail": "Authentication credentials were not provided."}, "UNKNOWN"),
    ({"detail": "invalid token"}, "UNKNOWN"),
    ({"detail": "Invalid token."}, "UNKNOWN"),
    ({"detail": {"code": "SSO-required"}}, "UNKNOWN"),
    ({"detail": {"code": "new", "message": "Something"}}, "UNKNOWN"),
    ({}, "UNKNOWN"),
    (None, "UNKNOWN"),
]


@pytest.mark.parametrize(("payload", "reason"), REASONS)
def test_a_401_has_a_reason(payload: Any, reason: str) -> None:
    error = explain(401, payload)
    assert isinstance(error, UpstreamUnauthorized)
    assert error.reason is UnauthorizedReason[reason]
    assert error.cure


def test_every_reason_is_in_the_table() -> None:
    assert {reason for _, reason in REASONS} == set(UnauthorizedReason)


@pytest.mark.parametrize(
    "payload",
    [{"detail": "Invalid token"}, {"detail": "Token expired"}, {"detail": {"code": "new"}}, [], "x", None, {}],
)
def test_other_401s_may_be_cured_by_a_token(payload: Any) -> None:
    assert is_cured_by_token(json.dumps(payload).encode())
    assert isinstance(explain(401, payload), UpstreamUnauthorized)


def test_a_challenge_names_the_missing_scopes() -> None:
    challenge = 'Bearer realm="api", error="insufficient_scope", scope="member:read org:read"'
    error = explain(403, {"detail": "No."}, headers={"www-authenticate": challenge})
    assert error.missing_scopes == ["member:read", "org:read"]
    assert error.message == "The credential does not allow this in Sentry. It says: No."


@pytest.mark.parametrize("challenge", ["", 'xBasic realm="api"', 'Bearer error="invalid_token", scope="x"'])
def test_other_challenges_name_none(challenge: str) -> None:
    assert explain(403, headers={"www-authenticate": challenge}).missing_scopes == []


def test_a_429s_body_is_opaque_and_its_wait_is_told() -> None:
    headers = {"x-sentry-rate-limit-reset": "1795000002", "x-sentry-rate-limit-remaining": "0"}
    error = explain(429, "You are attempting to use this endpoint too frequently.", headers=headers)
    assert error.retry_after == 2.0
    assert "frequently" not in error.message


def test_a_503s_retry_after_is_handed_on() -> None:
    assert explain(503, headers={"retry-after": "30"}).retry_after == 30.0


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"detail": "Invalid cursor parameter."}, "Invalid cursor parameter."),
        ({"detail": {"message": "Nope"}}, "Nope"),
        ({"version": ["This field may not be blank."], "x": []}, "version: This field may not be blank."),
    ],
)
def test_sentrys_own_words_are_handed_on(payload: Any, said: str) -> None:
    assert explain(400, payload).message == f"Sentry refused the request with status 400. It says: {said}"


def test_sentrys_words_are_kept_short_and_on_one_line() -> None:
    message = explain(400, {"detail": "a\r\n\x1b[31m" + "b" * 5000}).message
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize("secret", ["a1" * 32, "sntrys_eyJpYXQiOjE_abcdef", "sntryu_" + "f" * 64, "AB" * 32])
def test_what_looks_like_a_credential_is_removed(secret: str) -> None:
    for detail in (f"token {secret} is bad", "x" * 280 + " " + secret):
        assert secret not in explain(400, {"detail": detail}).message


def test_a_large_body_is_not_looked_into() -> None:
    assert explain(400, {"detail": "x" * 70_000}).message.endswith("status 400.")


@given(status=st.integers(400, 599), body=st.binary(max_size=200) | st.from_regex(rb'\{"detail":.*\}'))
def test_any_body_is_explained(status: int, body: bytes) -> None:
    error = explain_status(status, {}, body, method="GET", now=NOW)
    assert error.message
    assert error.upstream_status == status


@pytest.mark.parametrize(
    ("failure", "method", "kind"),
    [
        (Failure.UNSENT, "GET", UpstreamUnavailable),
        (Failure.UNSENT, "POST", UpstreamUnavailable),
        (Failure.DISTRUSTED, "GET", UpstreamUnavailable),
        (Failure.DISTRUSTED, "POST", UpstreamUnavailable),
        (Failure.LOST, "GET", UpstreamUnavailable),
        (Failure.LOST, "POST", OutcomeUnknown),
        (Failure.GARBLED, "GET", UpstreamInvalid),
        (Failure.GARBLED, "DELETE", OutcomeUnknown),
    ],
)
def test_each_failure_has_its_error(failure: Failure, method: str, kind: type[UpstreamError]) -> None:
    assert type(explain_failure(failure, method=method)) is kind
