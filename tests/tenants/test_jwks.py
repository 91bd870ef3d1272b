import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from service.errors import ConfigurationError, IssuerUnavailable
from service.settings import JwtIssuer
from service.tenants.jwks import MAX_BYTES, IssuerKeys, create_issuer_keys, fetch_jwks, parse_keys
from tests.tcp import answering

RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=False)
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=False)


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Issuer:
    """An issuer whose keys, health and clock a test sets."""

    def __init__(self, *keys: Any) -> None:
        self.keys = keys
        self.is_up = True
        self.fetches = 0
        self.seconds = 0.0
        self.found = IssuerKeys("https://idp.example", self.fetch, clock=lambda: self.seconds)

    async def fetch(self) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0)
        if not self.is_up:
            raise httpx.ConnectError("down")
        return document(*self.keys)

    async def has(self, key_id: str | None) -> bool:
        return await self.found.find(key_id) is not None


# --- when keys are fetched ---


async def test_keys_are_fetched_once_and_kept():
    issuer = Issuer(RSA, EC)
    assert [await issuer.has(key_id) for key_id in ("rsa", "ec", "rsa")] == [True] * 3
    assert issuer.fetches == 1


async def test_callers_at_once_share_one_fetch():
    issuer = Issuer(RSA)
    assert await asyncio.gather(*(issuer.has("rsa") for _ in range(50))) == [True] * 50
    assert issuer.fetches == 1


async def test_an_unknown_key_id_fetches_anew_but_not_at_every_callers_wish():
    issuer = Issuer(RSA)
    assert await issuer.has("rsa")
    issuer.keys = (RSA, EC)
    assert not await issuer.has("ec")  # fetched a moment ago
    issuer.seconds = 11
    assert await issuer.has("ec")
    assert issuer.fetches == 2
    for number in range(1000):
        assert not await issuer.has(f"invented{number}")
    assert issuer.fetches == 2


async def test_a_key_that_the_issuer_took_back_is_forgotten():
    issuer = Issuer(RSA, EC)
    assert await issuer.has("ec")
    issuer.keys = (RSA,)
    issuer.seconds = 599
    assert await issuer.has("ec")
    issuer.seconds = 601
    assert not await issuer.has("ec")


async def test_keys_are_kept_while_the_issuer_is_down():
    issuer = Issuer(RSA)
    assert await issuer.has("rsa")
    issuer.is_up = False
    issuer.seconds = 10_000
    assert [await issuer.has("rsa") for _ in range(100)] == [True] * 100
    assert not await issuer.has("other")
    assert issuer.fetches == 2  # the second try; the next one is due 10 seconds later
    issuer.seconds += 11
    assert await issuer.has("rsa")
    assert issuer.fetches == 3


async def test_who_has_a_key_does_not_wait_for_a_slow_issuer():
    issuer = Issuer(RSA)
    assert await issuer.has("rsa")
    issuer.seconds = 10_000
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_slowly() -> bytes:
        is_asked.set()
        await may_answer.wait()
        return document(RSA)

    issuer.found._fetch = answer_slowly
    first = asyncio.create_task(issuer.has("rsa"))
    await is_asked.wait()
    assert await issuer.has("rsa")
    may_answer.set()
    assert await first


async def test_keys_that_were_never_fetched_are_unavailable_until_they_are():
    issuer = Issuer(RSA)
    issuer.is_up = False
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            await issuer.has("rsa")
    assert issuer.fetches == 1
    issuer.is_up = True
    issuer.seconds = 11
    assert await issuer.has("rsa")


async def test_no_key_id_means_the_only_key():
    assert await Issuer(RSA).has(None)
    assert not await Issuer(RSA, EC).has(None)


# --- which keys count ---


def test_keys_for_other_uses_and_of_other_types_are_left_out():
    keys = parse_keys(
        document(
            RSA,
            EC | {"use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"},
            {"kty": "AKP", "kid": "post-quantum"},
            {"kty": "RSA", "kid": "broken"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
            RSA | {"kid": 5},
            "text",
            None,
        )
    )
    assert [key.kid for key in keys] == ["rsa"]


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of making it
def test_a_short_rsa_key_is_left_out():
    short = jwk.RSAKey.generate_key(1024, {"kid": "short"}).as_dict(private=False)
    assert [key.kid for key in parse_keys(document(short, EC))] == ["ec"]


def test_of_a_private_key_only_the_public_half_is_kept():
    private = jwk.RSAKey.generate_key(2048, {"kid": "oops"}).as_dict(private=True)
    (key,) = parse_keys(document(private))
    assert not key.is_private


@pytest.mark.parametrize("wrong", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1]}', b"[" * 9999])
def test_what_is_no_list_of_keys_is_refused(wrong: bytes):
    with pytest.raises(ValueError, match=r".+"):
        parse_keys(wrong)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "key_ops", "x5c"]),
        st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", RSA["n"], "sig"])
        | st.text(max_size=5)
        | st.none()
        | st.integers()
        | st.lists(st.text(max_size=3), max_size=2),
    )
)
def test_a_strange_key_does_not_spoil_the_others(strange: dict[str, Any]):
    assert parse_keys(document(strange, EC))[-1].kid == "ec"


# --- where they come from ---


@contextlib.asynccontextmanager
async def publishing(*chunks: bytes, is_hanging: bool = False) -> AsyncIterator[str]:
    """The address of a server that answers every request with the chunks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if is_hanging:
            await asyncio.Event().wait()

    async with answering(answer) as port:
        yield f"http://127.0.0.1:{port}/jwks"


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


async def test_keys_come_from_the_issuers_address():
    async with publishing(OK, document(RSA)) as url:
        keys = create_issuer_keys(JwtIssuer(issuer="i", audience="a", tenants=("t",), jwks_url=url))
        assert await keys.find("rsa") is not None


def from_file(path: Path) -> JwtIssuer:
    return JwtIssuer(issuer="i", audience="a", tenants=("t",), jwks_file=path)


async def test_keys_come_from_a_file(tmp_path: Path):
    path = tmp_path / "jwks.json"
    path.write_bytes(document(RSA))
    keys = create_issuer_keys(from_file(path))
    assert await keys.find("rsa") is not None


async def test_a_file_that_breaks_before_its_first_use_is_unavailable(tmp_path: Path):
    path = tmp_path / "jwks.json"
    path.write_bytes(document(RSA))
    keys = create_issuer_keys(from_file(path))
    path.unlink()
    with pytest.raises(IssuerUnavailable):
        await keys.find("rsa")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"{", "no JWKS"), (b'{"keys": []}', "no key"), (b" " * (MAX_BYTES + 1), "larger")],
)
def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, content: bytes | None, reason: str):
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        create_issuer_keys(from_file(path))
    assert caught.value.message.startswith(f"SENTRY_GRAPH_JWT_ISSUERS: {path}")


async def test_a_redirect_is_not_followed():
    async with (
        publishing(OK, document(RSA)) as elsewhere,
        publishing(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()) as url,
    ):
        with pytest.raises(ValueError, match="302"):
            await fetch_jwks(url)


async def test_an_endless_answer_is_cut_off():
    async with publishing(OK, *[b"x" * 65536] * (MAX_BYTES // 65536 + 1), is_hanging=True) as url:
        with pytest.raises(ValueError, match="larger"):
            await fetch_jwks(url)


async def test_an_answer_that_hangs_is_given_up():
    async with publishing(OK, b"{", is_hanging=True) as url:
        with pytest.raises(TimeoutError):
            await fetch_jwks(url, seconds=0.05)


async def test_an_issuer_that_is_not_there():
    with pytest.raises(httpx.ConnectError):
        await fetch_jwks("http://127.0.0.1:1/jwks")
