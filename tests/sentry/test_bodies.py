import gzip
import zlib

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UpstreamInvalid, UpstreamTooLarge
from service.sentry.bodies import BodyDecoder

LIMIT = 1000


def decode(coding: str, *chunks: bytes, max_bytes: int | None = LIMIT) -> bytes:
    decoder = BodyDecoder(coding, max_bytes=max_bytes)
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    decoder.finish()
    return b"".join(pieces)


def cut_up(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    st.binary(max_size=2000),
    st.integers(1, 400),
    st.sampled_from(["gzip", "x-gzip", " GZIP ", "deflate", "", "identity"]),
)
def test_a_body_comes_out_however_it_is_cut(body: bytes, size: int, coding: str) -> None:
    packed = (
        gzip.compress(body, mtime=0)
        if "zip" in coding.lower()
        else zlib.compress(body)
        if coding == "deflate"
        else body
    )
    assert decode(coding, *cut_up(packed, size), max_bytes=2000) == body


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_compressed_body_that_is_cut_off_is_never_whole(body: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(body, mtime=0)
    with pytest.raises(UpstreamInvalid):
        decode("gzip", packed[: data.draw(st.integers(1, len(packed) - 1))], max_bytes=None)


def test_no_body_is_whole_in_any_coding() -> None:
    assert decode("gzip") == decode("gzip", b"") == decode("") == b""


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "nonsense"])
def test_a_coding_that_was_not_asked_for_is_invalid(coding: str) -> None:
    with pytest.raises(UpstreamInvalid):
        BodyDecoder(coding, max_bytes=LIMIT)


@pytest.mark.parametrize("data", [b"plain", b"\x1f\x8b\x08garbage", gzip.compress(b"a", mtime=0)[:-4] + b"\0\0\0\0"])
def test_a_coding_that_lies_is_invalid(data: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        decode("gzip", data)


@pytest.mark.parametrize("tail", [b"x", gzip.compress(b"more", mtime=0)])
def test_data_behind_the_end_is_invalid(tail: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        decode("gzip", gzip.compress(b"body", mtime=0) + tail)
    with pytest.raises(UpstreamInvalid):
        decode("gzip", gzip.compress(b"body", mtime=0), tail)


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_the_limit_is_exact(coding: str) -> None:
    pack = gzip.compress if coding else bytes
    assert len(decode(coding, pack(b"a" * LIMIT))) == LIMIT
    with pytest.raises(UpstreamTooLarge):
        decode(coding, pack(b"a" * (LIMIT + 1)))


def test_a_bomb_costs_no_more_than_what_was_read_of_it() -> None:
    bomb = gzip.compress(b"\0" * 2**28, compresslevel=9, mtime=0)
    assert 2**28 / len(bomb) > 1000
    process = psutil.Process()
    decoder = BodyDecoder("gzip", max_bytes=None)
    before, most, length = process.memory_info().rss, 0, 0
    for chunk in cut_up(bomb, 2**16):
        for piece in decoder.feed(chunk):
            length += len(piece)
            most = max(most, process.memory_info().rss)
    decoder.finish()
    assert length == 2**28
    assert most - before < 8 * 2**20


def test_a_kept_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 2**28, compresslevel=9, mtime=0)
    process = psutil.Process()
    before = process.memory_info().rss
    kept: list[bytes] = []
    with pytest.raises(UpstreamTooLarge):
        kept.extend(BodyDecoder("gzip", max_bytes=2**24).feed(bomb))
    assert sum(map(len, kept)) <= 2**24
    assert process.memory_info().rss - before < 32 * 2**20
