import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput
from service.sentry.headers import find_request_id, select_request_headers, select_response_headers


def test_only_listed_request_headers_pass() -> None:
    given_headers = {
        "Accept": "text/plain",
        "Content-Type": " image/png ",
        "If-None-Match": '"1"',
        "Range": "bytes=0-9",
        "Authorization": "Bearer mine",
        "Proxy-Authorization": "Basic x",
        "Cookie": "a=b",
        "Host": "evil.example",
        "Connection": "keep-alive, Range",
        "Keep-Alive": "1",
        "TE": "trailers",
        "Trailer": "x",
        "Transfer-Encoding": "chunked",
        "Upgrade": "h2c",
        "Expect": "100-continue",
        "Accept-Encoding": "br",
        "Content-Encoding": "gzip",
        "X-Forwarded-For": "127.0.0.1",
        "X-Sentry-Auth": "Sentry x",
        "User-Agent": "mine",
    }
    assert select_request_headers(given_headers) == {
        "accept": "text/plain",
        "content-type": "image/png",
        "if-none-match": '"1"',
    }


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\ny", "a\x00", "ü", "a\x7fb", "a\u2028"])
def test_values_that_break_out_are_refused(value: str) -> None:
    with pytest.raises(BadInput):
        select_request_headers({"accept": value})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_no_request_header_passes_that_is_not_listed_or_printable(given_headers: dict[str, str]) -> None:
    try:
        chosen = select_request_headers(given_headers)
    except BadInput:
        return
    assert all(value.isprintable() and value.isascii() for value in chosen.values())
    assert not set(chosen) & {"authorization", "host", "cookie", "connection", "transfer-encoding"}


def test_only_listed_response_headers_pass() -> None:
    raw = [
        (b"Content-Type", b"application/json"),
        (b"LINK", b"<u>; rel=next"),
        (b"X-Hits", b"12"),
        (b"X-Sentry-Rate-Limit-Limit", b"40"),
        (b"Set-Cookie", b"session=1"),
        (b"Server", b"x"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Encoding", b"gzip"),
        (b"Strict-Transport-Security", b"x"),
        (b"Content-Length", b"3"),
    ]
    headers = {
        "content-type": "application/json",
        "link": "<u>; rel=next",
        "x-hits": "12",
        "x-sentry-rate-limit-limit": "40",
    }
    assert select_response_headers(raw) == (headers, "gzip")


def test_what_connection_names_is_for_one_hop() -> None:
    raw = [(b"Connection", b"close, X-Hits"), (b"X-Hits", b"12"), (b"Connection", b"etag"), (b"ETag", b"1")]
    assert select_response_headers(raw) == ({}, "")


def test_repeated_headers_are_joined() -> None:
    raw = [(b"Link", b"<a>"), (b"link", b"<b>"), (b"Content-Encoding", b"gzip"), (b"content-encoding", b"br")]
    assert select_response_headers(raw) == ({"link": "<a>, <b>"}, "gzip, br")


def test_unprintable_values_are_dropped() -> None:
    assert select_response_headers([(b"ETag", b"a\x07b"), (b"Link", b"a\x85b")]) == ({}, "")


@pytest.mark.parametrize(
    ("headers", "found"),
    [({}, None), ({"x-request-id": "r1"}, "r1"), ({"request-id": "a" * 300, "date": "x"}, "a" * 100)],
)
def test_the_request_id_is_found_where_there_is_one(headers: dict[str, str], found: str | None) -> None:
    assert find_request_id(headers) == found
