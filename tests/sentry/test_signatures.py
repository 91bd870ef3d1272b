import hashlib
import hmac
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sentry.signatures import sign, verify_signature
from tests.scale import scaled

SECRET = "5f" * 32
BODY = b'{"action":"created","installation":{"uuid":"7a485448-a9e2-4c85-8a3c-4f44175783c9"}}'


def test_a_signature_that_openssl_made() -> None:
    made = "0d4710aae322121f8d1fced2de2f435ebfae63e5df20632b5237204e7a51a9bf"
    assert sign(BODY, SECRET) == made
    assert verify_signature(BODY, made, [SECRET])


def test_each_of_the_secrets_may_have_signed() -> None:
    assert verify_signature(BODY, sign(BODY, "old"), ["new", "old"])
    assert verify_signature(BODY, sign(BODY, "new"), ["new", "old"])
    assert not verify_signature(BODY, sign(BODY, "older"), ["new", "old"])


GOOD = sign(BODY, SECRET)


@pytest.mark.parametrize(
    "signature",
    [
        None, "", " ", GOOD.upper(), GOOD[:-1], GOOD[:32], GOOD + GOOD, f"{GOOD}, {GOOD}", f"{GOOD},{GOOD}",
        f" {GOOD}", f"{GOOD} ", f"{GOOD}\n", f"sha256={GOOD}", f"0x{GOOD}", GOOD[:-1] + "g", GOOD[::-1],
        hashlib.sha256(BODY).hexdigest(), sign(b"", SECRET), sign(BODY, ""), sign(BODY, SECRET + "\n"),
        hmac.digest(bytes.fromhex(SECRET), BODY, "sha256").hex(), GOOD + "ü",
        GOOD.replace("0", "\uff10"), "ü" * 64, "0" * 64,
    ],
)  # fmt: skip
def test_anything_but_the_signature_itself_is_refused(signature: str | None) -> None:
    assert not verify_signature(BODY, signature, [SECRET])


def test_without_a_secret_nothing_is_signed() -> None:
    assert not verify_signature(BODY, GOOD, [])
    assert not verify_signature(BODY, sign(BODY, ""), [""])
    assert verify_signature(BODY, GOOD, ["", SECRET])


@given(body=st.binary(max_size=500), secret=st.text(min_size=1, max_size=80, alphabet=st.characters(codec="utf-8")))
def test_what_was_signed_passes_and_no_other_body_does(body: bytes, secret: str) -> None:
    signature = sign(body, secret)
    assert verify_signature(body, signature, [secret])
    assert not verify_signature(body + b" ", signature, [secret])
    assert not verify_signature(body[:-1], signature, [secret]) or not body


@given(body=st.binary(max_size=200), place=st.integers(0, 255))
def test_one_flipped_bit_of_the_signature_is_one_too_many(body: bytes, place: int) -> None:
    flipped = bytearray.fromhex(sign(body, SECRET))
    flipped[place // 8] ^= 1 << place % 8
    assert not verify_signature(body, flipped.hex(), [SECRET])


def test_no_guess_is_accepted() -> None:
    guesses = random.Random(20261127)
    accepted = sum(
        verify_signature(BODY, guesses.randbytes(32).hex(), [SECRET, "previous"])
        for _ in range(scaled(test=20_000, soak=1_000_000))
    )
    assert accepted == 0
