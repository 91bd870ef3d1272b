"""Private authorities: what is taken for one, and whose connections they open, over real TLS on loopback."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput, OutcomeUnknown, UpstreamUnavailable
from service.sentry.ca import create_tls_context, parse_ca
from service.sentry.oauth import OAuthClient, refresh_grant
from service.sentry.paths import ApiPath
from tests.sentry.authority import Authority
from tests.sentry.upstream import account_of, answer, client_for, json_answer, serve

PATH = ApiPath.of("organizations", "acme", "members")
OURS, OTHER = Authority("ours"), Authority("other")
CA, OTHER_CA = parse_ca(OURS.pem), parse_ca(OTHER.pem)


# --- what is one ---


def test_equal_sets_have_one_spelling() -> None:
    messy = f"Subject: ours\r\n{OURS.pem.replace(chr(10), chr(13) + chr(10))}\n# other\n{OTHER.pem}{OURS.pem}"
    assert parse_ca(messy) == parse_ca(OTHER.pem + OURS.pem)
    assert parse_ca(messy).count("BEGIN CERTIFICATE") == 2
    assert parse_ca(parse_ca(messy)) == parse_ca(messy)


def test_it_trusts_nothing_else() -> None:
    assert len(create_tls_context(CA).get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        ("", "not a certificate"),
        ("hello", "not a certificate"),
        ("ü", "not a certificate"),
        ("\ud800", "not a certificate"),
        (OURS.pem[:200], "not a certificate"),
        (OURS.pem.replace("-----END CERTIFICATE-----", ""), "not a certificate"),
        ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "not a certificate"),
        (OURS.pem + OURS.key_pem, "private key"),
        (OURS.key_pem, "private key"),
        (OURS.pem + "-----BEGIN X509 CRL-----\naGVsbG8=\n-----END X509 CRL-----\n", "something else"),
        (OURS.pem * 200, "64 KiB"),
    ],
)
def test_anything_else_is_refused_and_not_repeated(pem: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_ca(pem)
    assert caught.value.cure
    shown = f"{caught.value.message} {caught.value.cure}"
    assert all(line not in shown for line in OURS.key_pem.splitlines()[1:-1])


@given(
    st.text(max_size=300)
    | st.binary(max_size=300).map(lambda data: f"-----BEGIN CERTIFICATE-----\n{data.hex()}\n-----END CERTIFICATE-----")
)
def test_no_text_breaks_it(text: str) -> None:
    with pytest.raises(BadInput):
        parse_ca(text)


# --- whose connections it opens ---


async def test_only_an_account_that_trusts_the_authority_gets_through(tmp_path: Path) -> None:
    async with serve(answer(b"[]"), tls=OURS.certify(tmp_path)) as upstream, client_for(upstream.origin) as client:
        for number, ca in enumerate([None, OTHER_CA, CA, None, OTHER_CA]):
            account = account_of(upstream.origin, connection=f"con_{number}", ca=ca)
            if ca == CA:
                assert (await client.get(account, PATH)).status == 200
            else:
                with pytest.raises(UpstreamUnavailable, match="certificate could not be verified") as caught:
                    await client.get(account, PATH)
                assert "authority" in (caught.value.cure or "")
        assert len(upstream.requests) == 1


async def test_a_certificate_for_another_address_is_refused(tmp_path: Path) -> None:
    tls = OURS.certify(tmp_path, "127.0.0.2")
    async with serve(answer(b"[]"), tls=tls) as upstream, client_for(upstream.origin) as client:
        with pytest.raises(UpstreamUnavailable, match="certificate could not be verified"):
            await client.get(account_of(upstream.origin, ca=CA), PATH)
        assert upstream.requests == []


async def test_accounts_share_kept_connections_only_with_those_who_trust_the_same(tmp_path: Path) -> None:
    both = parse_ca(OURS.pem + OTHER.pem)
    async with serve(answer(b"[]"), tls=OURS.certify(tmp_path)) as upstream, client_for(upstream.origin) as client:
        for number, ca in enumerate([CA, CA, both, both, CA]):
            await client.get(account_of(upstream.origin, connection=f"con_{number}", ca=ca), PATH)
        assert len(upstream.requests) == 5
        assert upstream.connections == 2


async def test_equal_reads_under_other_authorities_are_not_one_call(tmp_path: Path) -> None:
    async with serve(answer(b"[]"), tls=OURS.certify(tmp_path)) as upstream, client_for(upstream.origin) as client:
        answers = await asyncio.gather(
            *(client.get(account_of(upstream.origin, ca=ca), PATH) for ca in (CA, OTHER_CA, CA)),
            return_exceptions=True,
        )
        assert isinstance(answers[1], UpstreamUnavailable)
        assert answers[0] is answers[2]
        assert len(upstream.requests) == 1


async def test_an_account_with_a_wrong_authority_does_not_shut_the_breaker_for_its_neighbours(tmp_path: Path) -> None:
    async with serve(answer(b"[]"), tls=OURS.certify(tmp_path)) as upstream, client_for(upstream.origin) as client:
        for _ in range(20):
            with pytest.raises(UpstreamUnavailable, match="certificate"):
                await client.get(account_of(upstream.origin, ca=OTHER_CA), PATH)
        assert (await client.get(account_of(upstream.origin, ca=CA), PATH)).status == 200


async def test_writes_streams_and_grants_trust_the_same(tmp_path: Path) -> None:
    given = json_answer({"access_token": "a" * 64, "scope": ""})
    async with serve(given, tls=OURS.certify(tmp_path)) as upstream, client_for(upstream.origin) as client:
        app, stranger = (OAuthClient(upstream.origin, "id", "secret", ca=ca) for ca in (CA, OTHER_CA))
        good, bad = (account_of(upstream.origin, ca=ca) for ca in (CA, OTHER_CA))
        assert (await client.send(good, "PUT", PATH, body=b"{}")).status == 200
        async with client.stream(good, "GET", PATH) as streamed:
            assert streamed.status == 200
        await refresh_grant(client, app, tenant_id="tnt_1", refresh_token="r")
        reached = len(upstream.requests)
        with pytest.raises(UpstreamUnavailable, match="certificate"):
            await client.send(bad, "PUT", PATH, body=b"{}")
        with pytest.raises(UpstreamUnavailable, match="certificate") as caught:
            await refresh_grant(client, stranger, tenant_id="tnt_1", refresh_token="r")
        assert not isinstance(caught.value, OutcomeUnknown)
        assert len(upstream.requests) == reached
