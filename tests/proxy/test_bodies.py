import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import UpstreamInvalid, UpstreamNotJson
from service.proxy.bodies import LONGEST_TEXT, Scanned, scan_answer, scan_json
from tests.scale import scaled


def is_json(body: bytes) -> bool:
    """The other parser: Python's own, held to RFC 8259 where it is more lenient."""

    def refuse(text: str) -> float:
        raise ValueError(text)

    try:
        found = json.loads(body.decode("utf-8"), parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a surrogate pair cannot be encoded
    except (ValueError, RecursionError):
        return False
    return not body.startswith(b"\xef\xbb\xbf")


def accepts(body: bytes) -> bool:
    try:
        scanned = scan_json(body)
    except UpstreamInvalid:
        return False
    assert scanned.text in body
    assert json.loads(scanned.text) == json.loads(body) or "NaN" in repr(json.loads(body))
    return True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
FRAGMENTS = st.lists(
    st.sampled_from(
        [*map(str.encode, "{ } [ ] , : \" \\ 1 0 - . e + // ' true false null NaN Infinity d800 \\u \\x \\/".split()),  # noqa: SIM905
         b" ", b"\t", b"\n", b"\x0c", b"\x00", b"\x1f", b"\x7f", b"\xc3\xa9", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80",
         b"\xef\xbb\xbf", b"\xe2\x80\xa8", b'"a":', b'"data":', b"\\ud83d\\ude00"]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip


@settings(max_examples=scaled(test=300, soak=20_000))
@given(
    value=JSON,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    after=st.sampled_from(["", "\n", " \r\n\t"]),
)
def test_all_json_is_accepted_as_it_came(value, ascii_only, indent, after):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8")
    scanned = scan_json(text + after.encode())
    assert scanned.text == text
    data = value.get("data") if isinstance(value, dict) else value
    assert scanned.items == (len(data) if isinstance(data, list) else None)


@settings(max_examples=scaled(test=1000, soak=100_000))
@given(FRAGMENTS)
@example(b'[{"a":"\\ud800"}]')
@example(b'[{"a":"\xff"}]')
@example(b'{"data":[1],"data":[1,2,]}')
@example(b'{"data":"\\ud800"}')
@example(b'{"data":{"\\ud800":1}}')
@example(b'{"data":1e999,}')
@example(b'{"data":01}')
@example(b'{"d\\u0061ta":[1,2]}')
def test_two_parsers_agree_on_what_is_json(body):
    assert accepts(body) == is_json(body)


@settings(max_examples=scaled(test=400, soak=40_000))
@given(
    value=JSON, place=st.integers(min_value=0), change=st.binary(max_size=2), cut=st.integers(min_value=0, max_value=3)
)
def test_two_parsers_agree_on_damaged_json(value, place, change, cut):
    text = json.dumps(value, ensure_ascii=False).encode("utf-8")
    place %= len(text)
    damaged = text[:place] + change + text[place + cut :]
    assert accepts(damaged) == is_json(damaged)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000]
)
def test_endless_nesting_is_refused(body):
    assert not accepts(body)


def test_duplicate_keys_and_line_separators_pass():
    assert scan_json(b'{"a":1,"a":2}').text == b'{"a":1,"a":2}'
    assert scan_json('["\u2028"]'.encode()).items == 1


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"[]", 0),
        (b" [1, [2, 3]]\n", 2),
        (b'{"data":[1,2,3],"meta":{}}', 3),
        (b'{"data":[1],"data":[1,2]}', 2),
        (b'{"data":{}}', None),
        (b'{"data":{"a":[1e999]},"a":[1]}', None),
        (b'{"data":"[1]"}', None),
        (b'{"data":null}', None),
        (b'{"data":true}', None),
        (b'{"data":-0.5e-999}', None),
        (b'{"data":1e999}', None),
        (b'{"data":%b}' % (b"9" * 5000), None),
        (b"{}", None),
        (b"7", None),
    ],
)
def test_items_are_counted(body, items):
    assert scan_json(body).items == items


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/scim+json", ""]
)
def test_an_answer_that_says_json_must_be_json(content_type):
    assert scan_answer(200, content_type, b"[1]") == Scanned(b"[1]", items=1)
    with pytest.raises(UpstreamInvalid):
        scan_answer(200, content_type, b"<html>")


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_is_null(body):
    assert scan_answer(204, "", body) == Scanned(b"null", items=None)


def test_an_error_is_read_as_json_whatever_its_type_says():
    body = b'"You are attempting to use this endpoint too frequently."'
    assert scan_answer(429, "text/html; charset=utf-8", body) == Scanned(body, items=None)


@pytest.mark.parametrize(("status", "text"), [(502, "<html>Bad Gateway</html>"), (200, "1"), (200, 'a,"b"\nä,é')])
def test_other_text_comes_as_a_json_string(status, text):
    scanned = scan_answer(status, "text/plain", text.encode())
    assert json.loads(scanned.text) == text


@pytest.mark.parametrize("body", [b"PK\x03\x04\xff", b"\x00\x01", b"x" * (LONGEST_TEXT + 1)])
def test_files_are_for_the_rest_proxy(body):
    with pytest.raises(UpstreamNotJson, match=re.escape("application/zip")) as caught:
        scan_answer(200, "application/zip", body)
    assert "REST" in (caught.value.cure or "")
