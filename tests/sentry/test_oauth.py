"""OAuth's two requests and the URL before them, to the byte; what answers mean is in test_grants.py."""

import base64
import hashlib
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import EgressRefused
from service.sentry.oauth import OAuthClient, build_authorize_url, fetch_code_grant, refresh_grant
from service.sentry.origin import Origin
from service.sentry.profiles import SCOPES, Profile
from tests.sentry.upstream import client_for, json_answer, serve

OK = json_answer({"access_token": "t", "refresh_token": "r", "expires_in": 5, "scope": ""})
SENTRY = OAuthClient(Origin("https", "sentry.example", 8443, "/sentry"), "1d", "s3cret")
VERIFIER = "v" * 43


def test_the_authorize_url() -> None:
    url = build_authorize_url(
        SENTRY,
        redirect_uri="https://graph.example/link/oauth/1d/callback",
        scopes=SCOPES[Profile.TRIAGE],
        state="st4te",
        code_verifier=VERIFIER,
    )
    assert url == (
        "https://sentry.example:8443/sentry/oauth/authorize/?response_type=code&client_id=1d"
        "&redirect_uri=https%3A%2F%2Fgraph.example%2Flink%2Foauth%2F1d%2Fcallback"
        "&scope=org%3Aread+member%3Aread+team%3Aread+project%3Aread+event%3Aread+event%3Awrite&state=st4te"
        "&code_challenge=7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM&code_challenge_method=S256"
    )


def test_the_challenge_is_the_one_of_rfc_7636() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # appendix B
    url = build_authorize_url(SENTRY, redirect_uri="https://x", scopes=["a"], state="s", code_verifier=verifier)
    assert parse_qs(urlsplit(url).query)["code_challenge"] == ["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"]


TEXT = st.text(min_size=1, max_size=30, alphabet=st.characters(codec="utf-8"))


@given(
    client_id=TEXT,
    redirect_uri=TEXT,
    scopes=st.lists(st.sampled_from(SCOPES[Profile.FULL]), min_size=1),
    state=TEXT,
    verifier=st.from_regex(r"[A-Za-z0-9._~-]{43,128}", fullmatch=True),
)
def test_no_value_becomes_another_parameter_or_leaves_the_origin(
    client_id: str, redirect_uri: str, scopes: list[str], state: str, verifier: str
) -> None:
    client = OAuthClient(SENTRY.origin, client_id, "s3cret")
    url = build_authorize_url(client, redirect_uri=redirect_uri, scopes=scopes, state=state, code_verifier=verifier)
    assert url.isascii()
    assert url.isprintable()
    base, _, query = url.partition("?")
    assert base == "https://sentry.example:8443/sentry/oauth/authorize/"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("scope", " ".join(scopes)),
        ("state", state),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
    assert "s3cret" not in url
    assert verifier not in url


async def test_a_code_is_exchanged_to_the_byte() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        await fetch_code_grant(
            client,
            OAuthClient(upstream.origin, "1d", "s3cret&x=y"),
            tenant_id="tnt_1",
            code="c 0/de&",
            redirect_uri="https://graph.example/link",
            code_verifier=VERIFIER,
        )
        (request,) = upstream.requests
        assert request.head.decode().split("\r\n") == [
            "POST /oauth/token/ HTTP/1.1",
            f"Host: 127.0.0.1:{upstream.port}",
            "Accept-Encoding: gzip",
            "User-Agent: sentry-graph-test",
            "Accept: application/json",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(request.body)}",
            "Connection: close",
            "",
            "",
        ]
        assert request.body == (
            b"grant_type=authorization_code&redirect_uri=https%3A%2F%2Fgraph.example%2Flink&client_id=1d"
            b"&client_secret=s3cret%26x%3Dy&code=c+0%2Fde%26&code_verifier=" + VERIFIER.encode()
        )


async def test_refreshing_sends_no_scope_and_no_token_of_an_account() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        app = OAuthClient(upstream.origin, "1d", "s3cret")
        await refresh_grant(client, app, tenant_id="tnt_1", refresh_token="r3fresh")
        (request,) = upstream.requests
        assert parse_qs(request.body.decode(), strict_parsing=True) == {
            "grant_type": ["refresh_token"],
            "client_id": ["1d"],
            "client_secret": ["s3cret"],
            "refresh_token": ["r3fresh"],
        }
        assert "authorization" not in dict(request.headers)


async def test_a_sentry_below_a_path_has_its_token_endpoint_there() -> None:
    async with serve(OK) as upstream, client_for(upstream.origin) as client:
        app = OAuthClient(Origin("http", "127.0.0.1", upstream.port, "/sentry"), "1d", "s3cret")
        await refresh_grant(client, app, tenant_id="tnt_1", refresh_token="r3fresh")
        assert upstream.requests[0].line == "POST /sentry/oauth/token/ HTTP/1.1"


async def test_a_code_goes_to_its_clients_own_sentry_alone() -> None:
    """Two Sentrys with a client each: neither sees what was meant for the other."""
    async with (
        serve(OK) as ours,
        serve(OK) as theirs,
        client_for(ours.origin, theirs.origin) as client,
    ):
        for upstream, name in ((ours, "ours"), (theirs, "theirs"), (ours, "ours")):
            await fetch_code_grant(
                client,
                OAuthClient(upstream.origin, f"id-{name}", f"secret-{name}"),
                tenant_id="tnt_1",
                code=f"code-{name}",
                redirect_uri=f"https://graph.example/{name}",
                code_verifier=VERIFIER,
            )
        assert len(ours.requests) == 2
        assert all(b"theirs" not in request.head + request.body for request in ours.requests)
        assert all(b"ours" not in request.head + request.body for request in theirs.requests)


@pytest.mark.parametrize("origin", [Origin("http", "sentry.example", 80, ""), Origin("https", "127.0.0.1", 443, "")])
async def test_a_client_of_a_refused_origin_gets_nothing_out(origin: Origin) -> None:
    async with client_for() as client:
        with pytest.raises(EgressRefused):
            await refresh_grant(client, OAuthClient(origin, "1d", "s"), tenant_id="tnt_1", refresh_token="r")
