import asyncio
import base64
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws

from service.errors import IssuerUnavailable, Unauthenticated
from service.settings import JwtIssuer
from service.tenants.caller import Caller, Role
from service.tenants.jwks import IssuerKeys
from service.tenants.jwt import JwtVerifier
from tests.scale import scaled

NOW = 1_900_000_000
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
EC = jwk.generate_key("EC", "P-256", {"kid": "ec"})
ED = jwk.generate_key("OKP", "Ed25519", {"kid": "ed"})
OTHER_RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
SECRET = jwk.OctKey.generate_key(256)
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example",
    "aud": "graph",
    "sub": "alice",
    "tenant": "ten_1",
    "exp": NOW + 300,
}
NOT_VALID = "The API key or JWT is not valid."


def issuer(**changes: Any) -> JwtIssuer:
    return JwtIssuer(
        **(
            {
                "issuer": "https://idp.example",
                "audience": "graph",
                "jwks_url": "https://idp.example/jwks",
                "tenants": ("ten_1", "ten_2"),
                "algorithms": ("RS256", "PS256", "ES256", "EdDSA", "Ed25519"),
            }
            | changes
        )
    )


def publish(*keys: jwk.Key) -> Callable[[], Awaitable[bytes]]:
    async def fetch() -> bytes:
        return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()

    return fetch


def verifier(*issuers: JwtIssuer, fetch: Callable[[], Awaitable[bytes]] | None = None) -> JwtVerifier:
    return JwtVerifier(
        issuers or (issuer(),),
        create_keys=lambda each: IssuerKeys(each.issuer, fetch or publish(RSA, EC, ED)),
        clock=lambda: NOW,
    )


def sign(claims: dict[str, Any] | bytes = CLAIMS, key: jwk.Key = RSA, alg: str = "RS256", **header: Any) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    protected = {name: value for name, value in ({"alg": alg, "kid": key.kid} | header).items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    return jws.serialize_compact(protected, payload, key, registry=registry)


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def refused(token: str, jwts: JwtVerifier | None = None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await (jwts or verifier()).verify(token)
    return caught.value.message


# --- what is accepted ---


async def test_a_signed_token_names_its_caller():
    found = await verifier().verify(sign())
    assert found.caller == Caller("ten_1", Role.READ, "jwt:alice")
    assert found.expires_at == CLAIMS["exp"] + 30


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "Ed25519")], ids=lambda each: str(each)[:7]
)
async def test_each_algorithm_that_is_allowed(key: jwk.Key, alg: str):
    assert (await verifier().verify(sign(key=key, alg=alg))).caller.tenant_id == "ten_1"


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of signing with that older name
async def test_the_older_name_of_ed25519():
    token = sign(key=ED, alg="EdDSA")
    assert (await verifier().verify(token)).caller.tenant_id == "ten_1"


async def test_an_audience_among_others():
    await verifier().verify(sign(CLAIMS | {"aud": ["other", "graph"]}))


async def test_a_token_without_a_key_id_where_there_is_one_key():
    token = sign(kid=None)
    await verifier(fetch=publish(RSA)).verify(token)
    assert await refused(token) == NOT_VALID


@pytest.mark.parametrize("kind", [None, "JWT", "at+jwt", "application/at+jwt", "AT+JWT"])
async def test_types_of_tokens(kind: str | None):
    await verifier().verify(sign(typ=kind))


async def test_headers_of_no_concern_are_ignored():
    await verifier().verify(sign(x5t="abc", internal="1"))


@pytest.mark.parametrize("max_role", Role)
@pytest.mark.parametrize("claimed", Role)
async def test_the_role_is_capped(claimed: Role, max_role: Role):
    found = await verifier(issuer(max_role=max_role)).verify(sign(CLAIMS | {"role": claimed}))
    assert found.caller.role.rank == min(claimed.rank, max_role.rank)


async def test_claims_can_have_other_names():
    claims = CLAIMS | {"https://x/tenant": "ten_2", "r": "write", "c": ["con_1"], "e": ["shop"]}
    jwts = verifier(
        issuer(
            tenant_claim="https://x/tenant",
            role_claim="r",
            max_role="admin",
            connections_claim="c",
            external_ids_claim="e",
        )
    )
    found = await jwts.verify(sign(claims))
    assert found.caller == Caller("ten_2", Role.WRITE, "jwt:alice", frozenset({"con_1"}), frozenset({"shop"}))


@pytest.mark.parametrize("claim", ["connections", "external_ids"])
@pytest.mark.parametrize("names", [["con_1", "con_2"], []])
async def test_a_narrowing_claim_narrows_even_when_empty(claim: str, names: list[str]):
    caller = (await verifier().verify(sign(CLAIMS | {claim: names}))).caller
    assert caller.is_narrowed
    found = {"connections": caller.connection_ids, "external_ids": caller.external_ids}
    assert found.pop(claim) == frozenset(names)
    assert [*found.values()] == [None]


# --- what is refused ---


@pytest.mark.parametrize("claim", ["connections", "external_ids"])
@pytest.mark.parametrize("broken", [None, "con_1", {"con_1": True}, [1], [None], [["con_1"]], 0, False, ["x"] * 1001])
async def test_a_broken_narrowing_claim_is_refused(claim: str, broken: object):
    assert claim in await refused(sign(CLAIMS | {claim: broken}))


@pytest.mark.parametrize("role", ["root", "", None, 1, ["admin"], {}, "ADMIN"])
async def test_a_role_that_does_not_exist_is_refused(role: object):
    assert "role" in await refused(sign(CLAIMS | {"role": role}))


@pytest.mark.parametrize("tenant", ["ten_3", "", None, ["ten_1"], {"ten_1": 1}, 1])
async def test_a_tenant_that_the_issuer_may_not_name_is_refused(tenant: object):
    assert "tenant" in await refused(sign(CLAIMS | {"tenant": tenant}))


@pytest.mark.parametrize("absent", ["aud", "exp", "sub", "tenant"])
async def test_claims_that_must_be_there(absent: str):
    assert absent in await refused(sign({name: value for name, value in CLAIMS.items() if name != absent}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": ""},
        {"aud": {"graph": 1}},
        {"exp": "2099"},
        {"exp": True},
        {"exp": None},
        {"exp": NOW - 31},
        {"nbf": NOW + 31},
        {"nbf": "x"},
        {"iat": NOW + 31},
        {"sub": 5},
        {"sub": ""},
    ],
    ids=str,
)
async def test_claims_that_are_wrong(wrong: dict[str, Any]):
    assert await refused(sign(CLAIMS | wrong)) != NOT_VALID


@pytest.mark.parametrize("close", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}], ids=str)
async def test_clocks_may_differ_a_little(close: dict[str, Any]):
    await verifier().verify(sign(CLAIMS | close))


@pytest.mark.parametrize("iss", ["https://other.example", "https://idp.example/", "", None, 1, ["https://idp.example"]])
async def test_another_issuer_is_refused(iss: object):
    assert await refused(sign(CLAIMS | {"iss": iss})) == NOT_VALID


async def test_an_issuer_does_not_speak_for_another():
    shared = [issuer(), issuer(issuer="https://other.example", tenants=("ten_9",))]
    keys = {"https://idp.example": publish(RSA), "https://other.example": publish(OTHER_RSA)}
    jwts = JwtVerifier(shared, create_keys=lambda each: IssuerKeys(each.issuer, keys[each.issuer]), clock=lambda: NOW)
    await jwts.verify(sign())
    assert await refused(sign(key=OTHER_RSA), jwts) == NOT_VALID
    other = CLAIMS | {"iss": "https://other.example"}
    assert "tenant" in await refused(sign(other, key=OTHER_RSA), jwts)
    assert (await jwts.verify(sign(other | {"tenant": "ten_9"}, key=OTHER_RSA))).caller.tenant_id == "ten_9"


async def test_unsigned_and_symmetric_tokens_are_refused():
    unsigned = f"{encode({'alg': 'none'})}.{encode(CLAIMS)}."
    # The classic: HMAC under the public key's text.
    signed = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{encode(CLAIMS)}"
    mac = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    confused = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for token in (unsigned, f"{unsigned}x", confused, sign(key=SECRET, alg="HS256", kid="rsa")):
        assert await refused(token) == NOT_VALID


async def test_a_key_of_another_type_or_algorithm_is_not_used():
    header = {"alg": "ES256", "kid": "rsa"}
    assert await refused(f"{encode(header)}.{encode(CLAIMS)}.{'A' * 86}") == NOT_VALID
    pinned = jwk.import_key(RSA.as_dict(private=True) | {"alg": "PS256"})
    jwts = verifier(fetch=publish(pinned))
    assert await refused(sign(), jwts) == NOT_VALID
    await jwts.verify(sign(alg="PS256"))


async def test_an_algorithm_that_is_not_allowed_is_refused():
    jwts = verifier(issuer(algorithms=("ES256",)))
    assert await refused(sign(), jwts) == NOT_VALID
    await jwts.verify(sign(key=EC, alg="ES256"))


async def test_a_key_in_the_header_is_not_used():
    for header in ({"jwk": OTHER_RSA.as_dict(private=False)}, {"jku": "https://evil.example/jwks"}):
        assert await refused(sign(key=OTHER_RSA, **header)) == NOT_VALID


@pytest.mark.parametrize("header", [{"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"crit": ["exp"], "exp": 1}])
async def test_other_kinds_of_tokens_and_critical_extensions_are_refused(header: dict[str, Any]):
    registry_header = {"alg": "RS256", "kid": "rsa"} | header
    obj = f"{encode(registry_header)}.{encode(CLAIMS)}"
    signature = RSA.private_key.sign(obj.encode(), PKCS1v15(), SHA256())  # type: ignore[union-attr]
    token = f"{obj}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert await refused(token) == NOT_VALID


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        f"{encode([])}.{encode(CLAIMS)}.x",
        f"{encode({})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 5})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'kid': 5})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'typ': 5})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'crit': 5})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'b64': False})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'kid': 'rsa'})}.{encode(CLAIMS)}.x",
        f"{encode({'alg': 'RS256', 'kid': 'rsa'})}.{encode([])}.x",
        f"{encode({'alg': 'RS256', 'kid': 'rsa'})}.{base64.urlsafe_b64encode(b'[' * 6000).decode()}.x",
        f"{encode({'alg': 'RS256', 'kid': 'x' * 600})}.{encode(CLAIMS)}.x",
        "\ud800.é.x",
    ],
)
async def test_what_is_no_token_is_refused_in_the_same_words(token: str):
    assert await refused(token) == NOT_VALID


async def test_no_bit_of_a_token_can_be_changed():
    token, jwts = sign(), verifier()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    header, payload, signature = token.split(".")
    step = scaled(test=7, soak=1)
    for place in range(0, len(header) + 1 + len(payload), step):
        if token[place] == ".":
            continue
        for bit in range(6):
            changed = alphabet[alphabet.index(token[place]) ^ (1 << bit)]
            await refused(token[:place] + changed + token[place + 1 :], jwts)
    assert await refused(f"{header}.{payload}.{signature[:-4]}", jwts) == NOT_VALID


@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c", "cty"]),
        st.sampled_from(["RS256", "rsa", "ec", "HS256", "none", "JWT"])
        | st.none()
        | st.integers()
        | st.lists(st.text(max_size=3), max_size=2),
    ),
    claims=st.dictionaries(st.sampled_from(list(CLAIMS)), st.none() | st.text(max_size=5) | st.integers())
    | st.just(CLAIMS)
    | st.lists(st.integers(), max_size=2),
    signature=st.text(alphabet="ABCxyz09-_=", max_size=400),
)
@settings(max_examples=scaled(test=300, soak=20_000), deadline=None)
def test_no_forged_token_is_accepted_or_breaks_the_verifier(header: object, claims: object, signature: str):
    asyncio.run(refused(f"{encode(header)}.{encode(claims)}.{signature}"))


async def test_an_issuer_whose_keys_were_never_fetched_is_unavailable():
    async def fail() -> bytes:
        raise OSError("down")

    with pytest.raises(IssuerUnavailable) as caught:
        await verifier(fetch=fail).verify(sign())
    assert (caught.value.status, caught.value.retryable) == (503, True)


async def test_the_clock_is_the_systems_by_default():
    jwts = JwtVerifier([issuer()], create_keys=lambda each: IssuerKeys(each.issuer, publish(RSA)))
    await jwts.verify(sign(CLAIMS | {"exp": int(time.time()) + 60}))
    await refused(sign(CLAIMS | {"exp": int(time.time()) - 60}), jwts)
