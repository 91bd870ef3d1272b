import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.canary import find_canary

SECRET = "sntryu_" + "5f0c9a3b" * 8


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("raw", SECRET.encode()),
        ("raw", SECRET[3:40].encode()),
        ("utf-16", SECRET.encode("utf-16-le")),
        ("hex", SECRET.encode().hex().upper().encode()),
        ("url", urllib.parse.quote("a/b+c=d&" * 4, safe="").encode()),
        ("url-every-byte", "".join(f"%{byte:02X}" for byte in SECRET.encode()).encode()),
        ("base64", base64.b64encode(b"Bearer " + SECRET.encode())),
    ],
)
def test_each_encoding_is_found(name, text):
    secret = "a/b+c=d&" * 4 if name == "url" else SECRET
    assert name in find_canary(secret, b"before " + text + b" after")


@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_base64_is_found_at_every_alignment(before, after):
    secret = "~~?>" * 8  # has + / - _ in its encodings
    assert "base64" in find_canary(secret, base64.b64encode(before + secret.encode() + after))
    assert "base64url" in find_canary(secret, base64.urlsafe_b64encode(before + secret.encode() + after))


@given(before=st.binary(max_size=200))
def test_a_clean_text_is_clean(before):
    assert find_canary(SECRET, before + json.dumps({"token": "sntryu_…"}).encode()) == []
