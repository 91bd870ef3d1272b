import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.graphql_http.problems import MalformedRequest
from service.graphql_http.requests import GraphQLRequest, parse_json
from tests.scale import scaled

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=scaled(test=300, soak=10_000))
@given(values)
def test_what_a_json_writer_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), "It") == value


@settings(max_examples=scaled(test=500, soak=20_000))
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0123456789eE.-+truefalsn\\u d', max_size=60).map(str.encode))
def test_any_bytes_end_in_a_value_or_a_coded_refusal(data: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        json.dumps(parse_json(data, "It"), ensure_ascii=False).encode()


@settings(max_examples=scaled(test=300, soak=10_000))
@given(values)
def test_any_json_is_a_request_or_is_told_why_not(value: Any) -> None:
    with contextlib.suppress(MalformedRequest):
        assert isinstance(GraphQLRequest.parse(value).variables, dict)


@pytest.mark.parametrize("depth", [31, 32, 33, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_limited_with_and_without_a_value_inside(depth: int, opening: str, closing: str) -> None:
    data = (opening * depth + "1" + closing * depth).encode()
    if depth <= 32:
        parse_json(data, "It")
    else:
        with pytest.raises(MalformedRequest, match="32 deep"):
            parse_json(data, "It")


@settings(max_examples=scaled(test=300, soak=10_000))
@given(
    names=st.lists(st.text(max_size=3), min_size=1, max_size=5),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]),
    ascii_only=st.booleans(),
)
def test_a_repeated_name_is_found_however_it_is_written(
    names: list[str], separators: tuple[str, str], ascii_only: bool
) -> None:
    comma, colon = separators
    members = comma.join(f"{json.dumps(name, ensure_ascii=ascii_only)}{colon}1.0" for name in names)
    data = f'[{{"a"{colon}{{{members}}}}}]'.encode()
    if len(set(names)) == len(names):
        assert parse_json(data, "It") == [{"a": dict.fromkeys(names, 1.0)}]
    else:
        with pytest.raises(MalformedRequest, match="twice"):
            parse_json(data, "It")


def test_one_name_in_two_spellings_is_repeated() -> None:
    with pytest.raises(MalformedRequest, match="twice: a"):
        parse_json(b'{"a":1,"\\u0061":2}', "It")


def test_a_repeated_name_is_quoted_in_part() -> None:
    name = "n" * 5000
    with pytest.raises(MalformedRequest) as caught:
        parse_json(f'{{"a": [{{"{name}": 1, "b": 2, "{name}": 3}}]}}'.encode(), "It")
    assert len(caught.value.message) < 200


def test_unknown_members_are_ignored() -> None:
    request = GraphQLRequest.parse({"query": "{a}", "id": 1, "variables": None})
    assert request == GraphQLRequest("{a}", None, {}, {}, None)
