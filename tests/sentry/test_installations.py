"""Sentry Apps: what is sent for an installation; what answers mean is in test_grants.py."""

import asyncio
import json
import time
import uuid
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from service.errors import BadInput, GrantProblem, GrantRefused, MissingScope, PathRefused, UpstreamUnauthorized
from service.sentry.client import SentryClient
from service.sentry.installations import (
    SentryApp,
    build_install_url,
    check_installation_id,
    confirm_installation,
    fetch_installation_grant,
    mint_installation_grant,
    refresh_installation_grant,
)
from service.sentry.origin import Origin
from service.sentry.paths import ApiPath
from tests.sentry.upstream import Tokens, Upstream, account_of, answer, client_for, json_answer, serve

INSTALLATION = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
SECRET = "5ec2e7" * 10
GIVEN = json_answer({"token": "t", "refreshToken": "r", "scopes": []}, status="201 Created")
PATH = f"/api/0/sentry-app-installations/{INSTALLATION}/authorizations/"


def app_of(origin: Origin, **given: Any) -> SentryApp:
    return SentryApp(origin, "graph", "1d" * 8, SECRET, **given)


def sent(upstream: Upstream, number: int = -1) -> tuple[str, dict[str, Any], str | None]:
    request = upstream.requests[number]
    return request.line, json.loads(request.body), dict(request.headers).get("authorization")


# --- before anything is sent ---


def test_the_install_url() -> None:
    origin = Origin("https", "sentry.example", 443, "/x")
    assert build_install_url(app_of(origin)) == "https://sentry.example/x/sentry-apps/graph/external-install/"
    odd = SentryApp(origin, "a b?c#d", "1d", SECRET)
    assert build_install_url(odd) == "https://sentry.example/x/sentry-apps/a%20b%3Fc%23d/external-install/"
    with pytest.raises(PathRefused):
        build_install_url(SentryApp(origin, "../../evil", "1d", SECRET))


def test_which_secrets_may_have_signed() -> None:
    origin = Origin("https", "sentry.example", 443, "")
    assert app_of(origin).secrets == (SECRET,)
    assert app_of(origin, previous_client_secret="old").secrets == (SECRET, "old")


@given(st.uuids())
def test_an_id_has_one_spelling(given: uuid.UUID) -> None:
    assert check_installation_id(str(given)) == check_installation_id(str(given).upper()) == str(given)


HOSTILE_IDS = [
    "", "me", "../../users/me", f"{INSTALLATION}/", f"{INSTALLATION}/../x", f" {INSTALLATION}", f"{INSTALLATION}\n",
    INSTALLATION.replace("-", ""), f"{{{INSTALLATION}}}", f"urn:uuid:{INSTALLATION}", INSTALLATION[:-1] + "g",
    INSTALLATION.replace("7", "\uff17"), "%37" + INSTALLATION[1:], INSTALLATION + "?x=1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_IDS)
async def test_nothing_but_an_id_gets_into_a_path(text: str) -> None:
    async with serve(GIVEN) as upstream, client_for(upstream.origin) as client:
        app, account = app_of(upstream.origin), account_of(upstream.origin)
        begun = [
            fetch_installation_grant(client, app, tenant_id="tnt_1", installation_id=text, code="c"),
            refresh_installation_grant(client, app, tenant_id="tnt_1", installation_id=text, refresh_token="r"),
            mint_installation_grant(client, app, tenant_id="tnt_1", installation_id=text),
            confirm_installation(client, account, text),
        ]
        for ended in await asyncio.gather(*begun, return_exceptions=True):
            assert isinstance(ended, BadInput)
            assert ended.message == "This is not the id of an installation."
        assert upstream.requests == []


@given(st.text(max_size=50))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        check_installation_id(text)


# --- by code and by refresh token ---


async def test_a_code_is_exchanged() -> None:
    async with serve(GIVEN) as upstream, client_for(upstream.origin) as client:
        grant = await fetch_installation_grant(
            client, app_of(upstream.origin), tenant_id="tnt_1", installation_id=INSTALLATION.upper(), code='c"\\ü'
        )
        assert grant.access_token == "t"
        assert sent(upstream) == (
            f"POST {PATH} HTTP/1.1",
            {"grant_type": "authorization_code", "code": 'c"\\ü', "client_id": "1d" * 8, "client_secret": SECRET},
            None,
        )
        assert dict(upstream.requests[0].headers)["content-type"] == "application/json"


async def test_a_refresh_token_is_exchanged() -> None:
    async with serve(GIVEN) as upstream, client_for(upstream.origin) as client:
        await refresh_installation_grant(
            client, app_of(upstream.origin), tenant_id="tnt_1", installation_id=INSTALLATION, refresh_token="old"
        )
        assert sent(upstream) == (
            f"POST {PATH} HTTP/1.1",
            {"grant_type": "refresh_token", "refresh_token": "old", "client_id": "1d" * 8, "client_secret": SECRET},
            None,
        )


# --- by signature ---


async def mint(client: SentryClient, upstream: Upstream) -> dict[str, Any]:
    await mint_installation_grant(client, app_of(upstream.origin), tenant_id="tnt_1", installation_id=INSTALLATION)
    line, body, authorization = sent(upstream)
    assert line == f"POST {PATH} HTTP/1.1"
    assert body == {"grant_type": "urn:sentry:params:oauth:grant-type:jwt-bearer"}
    scheme, _, assertion = (authorization or "").partition(" ")
    assert scheme == "Bearer"
    token = jwt.decode(assertion, OctKey.import_key(SECRET), algorithms=["HS256"])
    assert token.header == {"alg": "HS256", "typ": "JWT"}
    return dict(token.claims)


async def test_an_assertion_is_signed_for_a_minute_and_once() -> None:
    async with serve(GIVEN) as upstream, client_for(upstream.origin) as client:
        first, second = await mint(client, upstream), await mint(client, upstream)
        assert set(first) == {"iss", "sub", "iat", "exp", "jti"}
        assert first["iss"] == first["sub"] == "1d" * 8
        assert first["exp"] - first["iat"] == 60
        assert first["iat"] == pytest.approx(time.time(), abs=5)
        assert first["jti"] != second["jti"]
        assert all(SECRET.encode() not in request.head + request.body for request in upstream.requests)


@pytest.mark.parametrize(("skew", "taken"), [(600, 600), (-600, -600), (2, 0), (-2, 0)])
async def test_an_assertion_is_dated_by_sentrys_clock_where_that_is_known_to_differ(skew: int, taken: int) -> None:
    date = {"Date": formatdate(time.time() + skew, usegmt=True)}
    given = json_answer({"token": "t"}, status="201 Created", headers=date)
    async with serve(given) as upstream, client_for(upstream.origin) as client:
        assert (await mint(client, upstream))["iat"] == pytest.approx(time.time(), abs=2)  # not known yet
        before = time.time() + taken
        issued = (await mint(client, upstream))["iat"]
        margin = 1 if taken else 0  # of what a `Date` tells, which has whole seconds
        assert before - 1 - margin <= issued <= time.time() + taken + margin


async def test_an_older_sentry_that_asks_for_the_secret_knows_no_assertions() -> None:
    refusal = json_answer({"detail": "Invalid Client ID / Secret pair"}, status="401 X")
    async with serve(refusal) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(GrantRefused) as caught:
            await mint(client, upstream)
        assert caught.value.problem is GrantProblem.UNSUPPORTED
        assert len(upstream.requests) == 1


# --- confirming ---

CONFIRMED = {
    "uuid": INSTALLATION,
    "status": "installed",
    "organization": {"slug": "acme"},
    "app": {"uuid": "219e579a-38bc-4df9-ac7e-697a90d6948f", "slug": "graph"},
}


async def test_an_installation_is_confirmed_with_its_own_token_at_the_control_origin() -> None:
    async with (
        serve(json_answer(CONFIRMED)) as control,
        serve(answer()) as api,
        client_for(control.origin, api.origin) as client,
    ):
        account = account_of(control.origin, api=api.origin)
        found = await confirm_installation(client, account, INSTALLATION)
        assert (found.uuid, found.status, found.organization.slug) == (INSTALLATION, "installed", "acme")
        assert found.app
        assert found.app.slug == "graph"
        assert sent(control) == (
            f"PUT /api/0/sentry-app-installations/{INSTALLATION}/ HTTP/1.1",
            {"status": "installed"},
            "Bearer " + "a" * 64,
        )
        assert api.requests == []


@pytest.mark.parametrize(("status", "kind"), [(401, UpstreamUnauthorized), (403, MissingScope)])
async def test_a_confirmation_that_is_refused_says_why(status: int, kind: type[Exception]) -> None:
    refusal = json_answer({"detail": "x"}, status=f"{status} X")
    async with serve(refusal) as upstream, client_for(upstream.origin) as client:
        account = account_of(upstream.origin, tokens=Tokens("old", fresh=UpstreamUnauthorized("none")))
        with pytest.raises(kind):
            await confirm_installation(client, account, INSTALLATION)


async def test_other_writes_still_go_to_the_region() -> None:
    async with serve(answer()) as control, serve(answer()) as api, client_for(control.origin, api.origin) as client:
        await client.send(account_of(control.origin, api=api.origin), "PUT", ApiPath.of("x"), body=b"{}")
        assert (len(control.requests), len(api.requests)) == (0, 1)
