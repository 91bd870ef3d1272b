"""What Sentry answers to a grant, and what becomes of it: given, refused, or nobody knows."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import (
    GrantProblem,
    GrantRefused,
    OutcomeUnknown,
    RateLimited,
    ServiceError,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from service.sentry.calls import CallObservation
from service.sentry.client import SentryClient
from service.sentry.fairness import ByteBudget, current
from service.sentry.grants import Grant, GrantType, classify
from service.sentry.installations import SentryApp, mint_installation_grant, refresh_installation_grant
from service.sentry.oauth import OAuthClient, fetch_code_grant, refresh_grant
from service.sentry.origin import Origin
from tests.canary import find_canary
from tests.sentry.upstream import Behave, Request, Upstream, answer, client_for, json_answer, serve, serve_silence

INSTALLATION = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
SECRETS = {
    "client secret": "5ec2e7c11e27" * 5,
    "refresh token": "0ef2e5f1704e" * 5,
    "access token": "acce5570ce42" * 5,
    "code": "c0dec0dec0de" * 5,
    "verifier": "-verifier-is-a-secret-until-it-is-used-" * 2,
}
OAUTH_GRANT = {
    "access_token": SECRETS["access token"],
    "refresh_token": SECRETS["refresh token"],
    "expires_in": 2591999,
    "expires_at": "2026-12-23T04:24:52.927681Z",
    "token_type": "bearer",
    "scope": "org:read event:write",
    "user": {"id": "1", "name": "", "email": "ada@example.com"},
}
APP_GRANT = {
    "id": "10",
    "token": SECRETS["access token"],
    "refreshToken": SECRETS["refresh token"],
    "dateCreated": "2026-11-23T04:24:52.242716Z",
    "expiresAt": "2026-11-23T12:24:52.242602Z",
    "scopes": ["org:read", "event:write"],
    "state": None,
    "application": None,
}
OAUTH_OK = json_answer(OAUTH_GRANT)


def client_of(origin: Origin) -> OAuthClient:
    return OAuthClient(origin, "1d" * 32, SECRETS["client secret"])


def app_of(origin: Origin) -> SentryApp:
    return SentryApp(origin, "graph", "1d" * 32, SECRETS["client secret"])


async def refresh(sentry: SentryClient, origin: Origin) -> Grant:
    return await refresh_grant(sentry, client_of(origin), tenant_id="tnt_1", refresh_token=SECRETS["refresh token"])


async def refresh_app(sentry: SentryClient, origin: Origin) -> Grant:
    return await refresh_installation_grant(
        sentry,
        app_of(origin),
        tenant_id="tnt_1",
        installation_id=INSTALLATION,
        refresh_token=SECRETS["refresh token"],
    )


@asynccontextmanager
async def sentry_that(behave: Behave | bytes, **given: Any) -> AsyncIterator[tuple[SentryClient, Upstream]]:
    async with serve(behave) as upstream, client_for(upstream.origin, **given) as client:
        yield client, upstream


# --- given ---


async def test_oauth() -> None:
    async with sentry_that(OAUTH_OK) as (client, upstream):
        assert await refresh(client, upstream.origin) == Grant(
            SECRETS["access token"], SECRETS["refresh token"], 2591999.0, ("org:read", "event:write")
        )


async def test_an_installation() -> None:
    headers = {"Date": "Mon, 23 Nov 2026 04:24:52 GMT"}
    async with sentry_that(json_answer(APP_GRANT, status="201 Created", headers=headers)) as (client, upstream):
        grant = await refresh_app(client, upstream.origin)
        assert (grant.access_token, grant.refresh_token) == (SECRETS["access token"], SECRETS["refresh token"])
        assert grant.scopes == ("org:read", "event:write")
        assert grant.expires_in == pytest.approx(28800.24, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "expires_in"),
    [
        ({}, 2591999.0),
        ({"expires_in": 5}, 5.0),
        ({"expires_in": 0.5}, 0.5),
        ({"expires_in": -3}, 0.0),
        ({"expires_in": None, "expires_at": None}, None),
        ({"expires_in": None, "expires_at": "2026-11-23T04:34:52Z"}, 600.0),
        ({"expires_in": None, "expires_at": "2026-11-23T04:24:00Z"}, 0.0),
    ],
)
async def test_when_an_oauth_token_expires(changes: dict[str, Any], expires_in: float | None) -> None:
    body = json_answer(OAUTH_GRANT | changes, headers={"Date": "Mon, 23 Nov 2026 04:24:52 GMT"})
    async with sentry_that(body) as (client, upstream):
        assert (await refresh(client, upstream.origin)).expires_in == expires_in


@pytest.mark.parametrize("skew", [-600, 0, 600, 10**8])
async def test_an_absolute_expiry_is_judged_by_the_servers_clock(skew: float) -> None:
    """Whatever its clock says: eight hours are eight hours."""
    now = time.time() + skew
    given = {"token": "t", "expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 28800))}
    async with sentry_that(json_answer(given, headers={"Date": formatdate(now, usegmt=True)})) as (client, upstream):
        assert (await refresh_app(client, upstream.origin)).expires_in == pytest.approx(28800, abs=3)


async def test_without_a_date_the_servers_clock_is_known_by_when_the_token_was_made() -> None:
    async with sentry_that(json_answer(APP_GRANT)) as (client, upstream):
        assert (await refresh_app(client, upstream.origin)).expires_in == pytest.approx(28800, abs=0.01)


async def test_without_either_our_clock_has_to_do() -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 100))
    async with sentry_that(json_answer({"token": "t", "expiresAt": soon})) as (client, upstream):
        grant = await refresh_app(client, upstream.origin)
        assert grant.expires_in == pytest.approx(100, abs=3)
        assert (grant.refresh_token, grant.scopes) == (None, ())


async def test_a_token_that_does_not_expire() -> None:
    async with sentry_that(json_answer({"token": "t", "expiresAt": None})) as (client, upstream):
        assert (await refresh_app(client, upstream.origin)).expires_in is None


@pytest.mark.parametrize(("given", "read"), [("42", "42"), (42, "42"), (None, None)])
async def test_the_newest_say_which_organization_the_token_is_for(given: Any, read: str | None) -> None:
    async with sentry_that(json_answer(OAUTH_GRANT | {"organization_id": given, "id_token": "x"})) as (
        client,
        upstream,
    ):
        assert (await refresh(client, upstream.origin)).organization_id == read


async def test_a_grant_is_read_whatever_its_caller_has_read_before() -> None:
    """A budget of bytes that is used up would lose a grant that Sentry has already given."""
    async with sentry_that(OAUTH_OK) as (client, upstream):
        unbound = current.set(ByteBudget(0))
        try:
            assert (await refresh(client, upstream.origin)).access_token
            assert current.get() is not None
        finally:
            current.reset(unbound)


# --- refused ---

REFUSALS = [
    # OAuth, any
    (GrantType.CODE, True, 400, {"error": "invalid_grant"}, "INVALID_GRANT"),
    (GrantType.REFRESH, True, 400, {"error": "invalid_grant"}, "INVALID_GRANT"),
    (GrantType.REFRESH, True, 400, {"error": "invalid_request"}, "INVALID_REQUEST"),
    (GrantType.CODE, True, 400, {"error": "unsupported_grant_type"}, "UNSUPPORTED"),
    (GrantType.CODE, True, 400, {"error": "unauthorized_client"}, "INVALID_CLIENT"),
    # OAuth, latest
    (GrantType.CODE, True, 401, {"error": "invalid_client"}, "INVALID_CLIENT"),
    (GrantType.REFRESH, True, 401, {"error": "invalid_client"}, "INVALID_CLIENT"),
    # OAuth, 23.7
    (GrantType.REFRESH, True, 401, {"error": "invalid_credentials"}, "INVALID_CLIENT"),
    (GrantType.CODE, True, 400, {"error": "missing_client_id"}, "INVALID_CLIENT"),
    (GrantType.CODE, True, 400, {"error": "missing_client_secret"}, "INVALID_CLIENT"),
    # OAuth, where there is none
    (GrantType.CODE, True, 404, {"detail": "The requested resource does not exist"}, "UNSUPPORTED"),
    (GrantType.CODE, True, 404, None, "UNSUPPORTED"),
    (GrantType.REFRESH, True, 405, {"detail": 'Method "POST" not allowed.'}, "UNSUPPORTED"),
    # an installation, 23.7
    (GrantType.CODE, False, 403, {"error": "Unauthorized"}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 403, {"error": "Unauthorized"}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 403, {"error": "Invalid grant_type"}, "UNSUPPORTED"),
    (GrantType.REFRESH, False, 401, {"detail": "Invalid Client ID / Secret pair"}, "INVALID_CLIENT"),
    (GrantType.ASSERTION, False, 401, {"detail": "Invalid Client ID / Secret pair"}, "UNSUPPORTED"),
    (GrantType.ASSERTION, False, 403, {"error": "Invalid grant_type"}, "UNSUPPORTED"),
    (GrantType.CODE, False, 404, {"detail": "Not found."}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 404, {"detail": "The requested resource does not exist"}, "INVALID_GRANT"),
    (GrantType.ASSERTION, False, 404, {"detail": "The requested resource does not exist"}, "UNSUPPORTED"),
    (GrantType.ASSERTION, False, 405, None, "UNSUPPORTED"),
    # an installation, latest
    (GrantType.CODE, False, 401, {"detail": "Could not find grant for given code"}, "INVALID_GRANT"),
    (GrantType.CODE, False, 401, {"detail": "Forbidden grant"}, "INVALID_GRANT"),
    (GrantType.CODE, False, 401, {"detail": "Grant has already expired"}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 401, {"detail": "Given refresh token does not exist"}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 400, {"detail": "Token does not belong to the application"}, "INVALID_GRANT"),
    (GrantType.REFRESH, False, 401, {"detail": "Application is not active"}, "INVALID_CLIENT"),
    (GrantType.REFRESH, False, 403, {"detail": "Invalid grant_type"}, "UNSUPPORTED"),
    (GrantType.CODE, False, 400, {"code": ["This field may not be blank."]}, "INVALID_REQUEST"),
    (
        GrantType.CODE,
        False,
        403,
        {"detail": "You do not have permission to perform this action."},
        "INVALID_GRANT",
    ),
    (GrantType.ASSERTION, False, 401, {"detail": "Could not validate JWT"}, "INVALID_CLIENT"),
    (GrantType.ASSERTION, False, 401, {"detail": "JWT is not valid for this application"}, "INVALID_CLIENT"),
    (GrantType.ASSERTION, False, 401, {"detail": "JWT has already been used"}, "INVALID_REQUEST"),
    (GrantType.ASSERTION, False, 401, {"detail": "Installation not found"}, "INVALID_GRANT"),
    (GrantType.ASSERTION, False, 401, {"detail": "Installation does not have a token"}, "INVALID_GRANT"),
    (GrantType.ASSERTION, False, 401, {"detail": "Something new"}, "INVALID_CLIENT"),
    # neither: a firewall, a proxy, something new
    (GrantType.REFRESH, False, 404, None, "UNSUPPORTED"),
    (GrantType.REFRESH, True, 403, None, "INVALID_REQUEST"),
    (GrantType.REFRESH, False, 403, {"error": {"code": "blocked"}}, "INVALID_REQUEST"),
    (GrantType.REFRESH, True, 401, None, "INVALID_CLIENT"),
    (GrantType.REFRESH, True, 413, None, "INVALID_REQUEST"),
    (GrantType.REFRESH, True, 400, {"error": "INVALID_GRANT"}, "INVALID_REQUEST"),
]


@pytest.mark.parametrize(("kind", "is_oauth", "status", "body", "problem"), REFUSALS)
def test_each_refusal_has_its_problem(
    kind: GrantType, is_oauth: bool, status: int, body: dict[str, Any] | None, problem: str
) -> None:
    raw = b"<html>no</html>" if body is None else json.dumps(body).encode()
    assert classify(status, raw, kind, is_oauth=is_oauth) is GrantProblem[problem]


WORD = st.text(max_size=20) | st.sampled_from(["invalid_grant ", "Invalid_Grant", "unauthorized"])


@given(
    kind=st.sampled_from(GrantType),
    is_oauth=st.booleans(),
    status=st.integers(400, 499).filter(lambda status: status != 404),
    body=st.binary(max_size=60)
    | st.fixed_dictionaries({}, optional={"error": WORD, "detail": WORD, "message": WORD}).map(
        lambda payload: json.dumps(payload).encode()
    ),
)
def test_what_is_not_known_word_for_word_never_means_a_dead_grant(
    kind: GrantType, is_oauth: bool, status: int, body: bytes
) -> None:
    assert classify(status, body, kind, is_oauth=is_oauth) is not GrantProblem.INVALID_GRANT


def test_a_huge_refusal_is_not_looked_into() -> None:
    body = json.dumps({"error": "invalid_grant", "more": "x" * 70_000}).encode()
    assert classify(400, body, GrantType.REFRESH, is_oauth=True) is GrantProblem.INVALID_REQUEST


@pytest.mark.parametrize("problem", GrantProblem)
async def test_a_refusal_says_what_to_do(problem: GrantProblem) -> None:
    _, is_oauth, status, body, _ = next(row for row in REFUSALS if row[4] == problem and row[3])
    raw = json_answer(body, status=f"{status} X", headers={"X-Request-Id": "r1"})
    async with sentry_that(raw) as (client, upstream):
        with pytest.raises(GrantRefused) as caught:
            await (refresh if is_oauth else refresh_app)(client, upstream.origin)
        assert len(upstream.requests) == 1
    error = caught.value
    assert error.problem is problem
    assert error.extensions() == {
        "code": "GRANT_REFUSED",
        "retryable": False,
        "cure": error.cure,
        "problem": problem.value,
        "upstream": {"status": status, "requestId": "r1"},
    }
    assert error.cure
    assert error.message


@pytest.mark.parametrize(
    ("given", "shown"),
    [("r1", "r1"), ("7a485448-a9e2-4c85-8a3c-4f44175783c9", "7a485448-a9e2-4c85-8a3c-4f44175783c9"),
     (SECRETS["client secret"], None), (SECRETS["refresh token"][:32], None), ("Bearer x", None)],
)  # fmt: skip
async def test_an_id_that_quotes_what_was_sent_is_none(given: str, shown: str | None) -> None:
    raw = json_answer({"error": "invalid_grant"}, status="400 X", headers={"X-Request-Id": given})
    async with sentry_that(raw) as (client, upstream):
        with pytest.raises(GrantRefused) as caught:
            await refresh(client, upstream.origin)
        assert caught.value.request_id == shown


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with serve(OAUTH_OK) as decoy:
        location = {"Location": f"{decoy.origin.url}/oauth/token/"}
        async with (
            serve(answer(b"", status=f"{status} X", headers=location)) as upstream,
            client_for(upstream.origin, decoy.origin) as client,
        ):
            with pytest.raises(UpstreamInvalid, match="redirect"):
                await refresh(client, upstream.origin)
        assert decoy.requests == []


# --- nobody knows ---


def write(*parts: bytes | float) -> Behave:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        writer.close()

    return behave


LOST: dict[str, Behave | bytes] = {
    "closes at once": write(),
    "hangs": write(5.0),
    "hangs amid the answer": write(OAUTH_OK[:-20], 5.0),
    "cuts the answer off": write(OAUTH_OK[:-20]),
    "answers gibberish": write(b"HELLO\r\n\r\n"),
    "500 after rotation": json_answer({"detail": "Internal Error", "errorId": None}, status="500 X"),
    "502": answer(b"<html>", status="502 X"),
    "503": answer(b"<html>", status="503 X", headers={"Retry-After": "0"}),
    "504": answer(b"<html>", status="504 X"),
    "599": answer(b"", status="599 X"),
    "an HTML page": answer(b"<html>signed in</html>"),
    "an empty body": answer(b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another shape": json_answer({"token": "x"}),
    "another type": json_answer(OAUTH_GRANT | {"access_token": 7}),
    "a list": json_answer([OAUTH_GRANT]),
    "an empty token": json_answer(OAUTH_GRANT | {"access_token": ""}),
    "a token with a line break": json_answer(OAUTH_GRANT | {"access_token": "a\r\nX: y"}),
    "a refresh token with a space": json_answer(OAUTH_GRANT | {"refresh_token": "a b"}),
    "invalid UTF-8": answer(b'{"access_token":"\xff"}'),
    "too large": json_answer(OAUTH_GRANT | {"more": "x" * 5000}),
    "deep nesting": answer(b'{"access_token":' + b"[" * 3000),
}


@pytest.mark.parametrize("name", LOST)
async def test_a_lost_answer_may_have_spent_the_grant_and_is_not_asked_for_again(name: str) -> None:
    async with sentry_that(LOST[name], deadline=0.5, max_bytes=4096) as (client, upstream):
        with pytest.raises(OutcomeUnknown, match="may be spent"):
            await refresh(client, upstream.origin)
        assert len(upstream.requests) == 1


# --- not asked ---


async def test_what_never_left_was_not_spent() -> None:
    async with serve(OAUTH_OK) as upstream:
        origin = upstream.origin
    async with client_for(origin) as client:  # nobody listens any more
        with pytest.raises(UpstreamUnavailable) as caught:
            await refresh(client, origin)
        assert not isinstance(caught.value, OutcomeUnknown)


async def test_a_connection_that_is_never_made_spends_nothing_even_when_time_is_up() -> None:
    async with serve_silence() as origin, client_for(origin, deadline=0.3) as client:
        with pytest.raises(UpstreamUnavailable) as caught:
            await refresh(client, origin)
        assert not isinstance(caught.value, OutcomeUnknown)


def limited(times: int, headers: dict[str, str]) -> Behave:
    left = times

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        writer.write(answer(b'"slow"', status="429 X", headers=headers) if left >= 0 else OAUTH_OK)

    return behave


async def test_a_429_is_waited_for_since_nothing_was_spent() -> None:
    async with sentry_that(limited(1, {"Retry-After": "0"})) as (client, upstream):
        assert (await refresh(client, upstream.origin)).access_token
        assert len(upstream.requests) == 2
        assert upstream.requests[0].body == upstream.requests[1].body


async def test_a_429_beyond_the_deadline_says_how_long() -> None:
    async with sentry_that(limited(9, {"Retry-After": "60"})) as (client, upstream):
        with pytest.raises(RateLimited) as caught:
            await refresh(client, upstream.origin)
        assert caught.value.retry_after == 60
        assert len(upstream.requests) == 1


async def test_equal_grants_are_not_one_call() -> None:
    async with sentry_that(OAUTH_OK) as (client, upstream):
        await asyncio.gather(*(refresh(client, upstream.origin) for _ in range(3)))
        assert len(upstream.requests) == 3


# --- secrets ---


def echo(status: str) -> Behave:
    """A server that quotes what it was sent, in its body and in a header."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        told = request.head.decode() + request.body.decode()
        body = {"error": told, "detail": told, "access_token": told}
        sent = dict(request.headers).get("authorization", SECRETS["client secret"])
        headers = {"X-Sentry-Error": sent, "X-Request-Id": sent, "Retry-After": "9"}
        writer.write(json_answer(body, status=status, headers=headers))

    return behave


@pytest.mark.parametrize("status", ["200 OK", "400 X", "401 X", "403 X", "404 X", "429 X", "500 X"])
@pytest.mark.parametrize("way", ["code", "refresh", "refresh of an app", "mint"])
async def test_no_secret_is_quoted_logged_or_observed(status: str, way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[CallObservation] = []
    sent: list[str] = []
    async with sentry_that(echo(status), observe=seen.append, attempts=2, deadline=1.0) as (client, upstream):
        origin = upstream.origin
        ways = {
            "code": lambda: fetch_code_grant(
                client,
                client_of(origin),
                tenant_id="tnt_1",
                code=SECRETS["code"],
                redirect_uri="https://graph.example/link",
                code_verifier=SECRETS["verifier"],
            ),
            "refresh": lambda: refresh(client, origin),
            "refresh of an app": lambda: refresh_app(client, origin),
            "mint": lambda: mint_installation_grant(
                client, app_of(origin), tenant_id="tnt_1", installation_id=INSTALLATION
            ),
        }
        with pytest.raises(ServiceError) as caught:
            await ways[way]()
        for request in upstream.requests:
            sent += [value.removeprefix("Bearer ") for name, value in request.headers if name == "authorization"]
        error = caught.value
        written = f"{error!r} {error} {error.cure} {error.extensions()} {seen} {caplog.text}"
    chain: BaseException | None = error
    while chain is not None:
        written += f"{chain!r}{chain.__notes__ if hasattr(chain, '__notes__') else ''}"
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    for secret in [*SECRETS.values(), *sent]:
        assert find_canary(secret, written.encode()) == []
    assert bool(sent) == (way == "mint")


def test_grants_and_clients_do_not_show_themselves() -> None:
    origin = Origin("https", "sentry.example", 443, "")
    shown = repr(
        [
            Grant(SECRETS["access token"], SECRETS["refresh token"], 1.0, ()),
            client_of(origin),
            app_of(origin),
            SentryApp(origin, "graph", "id", "x", SECRETS["client secret"], verify_install=True),
        ]
    )
    for secret in SECRETS.values():
        assert find_canary(secret, shown.encode()) == []
