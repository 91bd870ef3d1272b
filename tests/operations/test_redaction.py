import enum
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.operations.redaction import MASK, is_secret_name, redact, redact_text
from tests.canary import find_canary
from tests.operations.secrets_of_each_kind import CANARIES, SECRETS
from tests.scale import scaled

kinds = st.sampled_from(sorted(CANARIES))
# Texts around a secret; a letter or digit right beside it makes another text of it, which is nobody's secret.
texts = st.text(max_size=60)
before = texts.map(lambda text: text + " ")
after = texts.map(lambda text: "\n" + text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner) | st.tuples(inner),
    max_leaves=20,
)


@pytest.mark.parametrize("kind", CANARIES)
def test_a_secret_in_a_text_is_masked(kind):
    masked = redact_text(f"could not use {CANARIES[kind]}\nat all")

    assert find_canary(SECRETS[kind], masked.encode()) == []
    assert MASK in masked
    assert masked.startswith("could not use ")
    assert masked.endswith("\nat all")


@settings(max_examples=scaled(test=300, soak=20_000))
@given(kind=kinds, before=before, after=after)
def test_a_secret_is_masked_whatever_surrounds_it(kind, before, after):
    assert find_canary(SECRETS[kind], redact_text(before + CANARIES[kind] + after).encode(errors="replace")) == []


@settings(max_examples=scaled(test=100, soak=5_000))
@given(kind=kinds, lead=st.integers(0, 3000), limit=st.integers(1, 3000))
def test_no_part_of_a_secret_is_left_where_a_long_text_is_cut(kind, lead, limit):
    text = "." * lead + " " + CANARIES[kind] + " " + "." * 5000

    masked = redact_text(text, limit=limit)

    assert find_canary(SECRETS[kind], masked.encode()) == []
    assert len(masked) < limit + 50


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /x?token=abc123&page=2", f"GET /x?token={MASK}&page=2"),
        ('{"client_secret": "abc", "ok": 1}', f'{{"client_secret": {MASK}, "ok": 1}}'),
        (r'"{\"access_token\": \"abc\", \"ok\": 1}"', rf'"{{\"access_token\": \{MASK}, \"ok\": 1}}"'),
        ("{'password': 'a b c', 'user': 'x'}", f"{{'password': {MASK}, 'user': 'x'}}"),
        ("(b'cookie', b'a=b; c=d'), (b'accept', b'*')", f"(b'cookie', b{MASK}), (b'accept', b'*')"),
        ("Authorization: Digest a, b\nAccept: x", f"Authorization: {MASK}\nAccept: x"),
        ("https://abc@o1.ingest.sentry.io/1", f"https://{MASK}@o1.ingest.sentry.io/1"),
        ("https://sentry.io:9000/a/web@1.0", "https://sentry.io:9000/a/web@1.0"),
        ("trace 0af7651916cd43dd8448eb211c80319c", "trace 0af7651916cd43dd8448eb211c80319c"),
        ("a member's email is a@b.example", "a member's email is a@b.example"),
        ("the token has expired", "the token has expired"),
    ],
)
def test_what_is_masked_and_what_is_not(text, masked):
    assert redact_text(text) == masked


@settings(max_examples=scaled(test=200, soak=10_000))
@given(text=st.text() | st.sampled_from(sorted(CANARIES.values())))
def test_masking_twice_changes_nothing_more(text):
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "accessToken",
        "ACCESS_TOKEN",
        "X-Api-Key",
        "apikey",
        "api_key",
        "APIKey",
        "key",
        "keys",
        "cursorKey",
        "signingkey",
        "Authorization",
        "proxy-authorization",
        "Set-Cookie",
        "client_secret",
        "clientsecret",
        "password",
        "userPasswd",
        "db_pwd",
        "credentials",
        "jwt",
        "pepper",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)
    assert redact({name: "x"}) == {name: MASK}


@pytest.mark.parametrize(
    "name", ["key_id", "keyId", "tokenVersion", "secret_name", "path", "tenant", "keyring", "author", "cooking"]
)
def test_names_that_are_none(name):
    assert not is_secret_name(name)
    assert redact({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("kind", CANARIES)
def test_a_secret_is_masked_wherever_it_stands(kind):
    class Held:
        def __repr__(self):
            return f"Held({CANARIES[kind]!r})"

    @dataclass
    class Record:
        value: str

    text = CANARIES[kind]
    written = redact(
        {
            "list": [text, (text, {text}), [[text]]],
            "bytes": text.encode(),
            "bytearray": bytearray(text.encode()),
            text: "as a name",
            "object": Held(),
            "record": Record(text),
            "error": ValueError(text),
            "headers": [(b"accept", b"*/*"), (b"x-note", text.encode())],
        }
    )
    assert find_canary(SECRETS[kind], repr(written).encode()) == []


def test_a_value_goes_by_its_name():
    assert redact({"token": ["a", "b"], "secret": {"x": 1}, "password": 12, "has_token": True, "cookie": None}) == {
        "token": MASK,
        "secret": MASK,
        "password": MASK,
        "has_token": True,
        "cookie": None,
    }


def test_headers_in_pairs_go_by_their_names():
    assert redact([(b"authorization", b"x"), ("cookie", "y"), ("accept", "z")]) == [
        ["authorization", MASK],
        ["cookie", MASK],
        ["accept", "z"],
    ]


def test_values_that_json_lacks():
    class Colour(enum.IntEnum):
        RED = 1

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert redact([Colour.RED, math.inf, 2**70, -(2**63), 1.5, Broken(), {1: b"\xff", Broken: 2}]) == [
        1,
        "inf",
        MASK,
        -(2**63),
        1.5,
        "<Broken>",
        {"1": "\\xff", repr(Broken): 2},
    ]


def test_what_contains_itself_is_cut():
    loop: dict[str, object] = {}
    loop["loop"] = loop
    assert repr(redact(loop)).count("loop") == 8


@settings(max_examples=scaled(test=100, soak=2_000))
@given(value=json_values)
def test_plain_values_come_out_as_json(value):
    def check(found: Any) -> bool:
        if isinstance(found, dict):
            assert all(isinstance(name, str) for name in found)
            assert all(map(check, found.values()))
        elif isinstance(found, list):
            assert all(map(check, found))
        else:
            assert found is None or type(found) in {str, int, float, bool}
        return True

    check(redact(value))


def test_size_is_bounded():
    wide = redact([["x" * 5000] * 50] * 2000)
    assert len(repr(wide)) < 100_000
