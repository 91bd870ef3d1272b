"""Documents and bodies that are made to be expensive: each is refused with a code and a cure, and nothing runs."""

import json
import socket
import time
from typing import Any

import pytest
from graphql import get_introspection_query
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphql_http.small_graph import connect, make_app
from tests.scale import scaled
from tests.serving import serve

GRAPHQL = "application/graphql-response+json"
WRITE = "mutation { write }"


def doubling(count: int, body: str) -> str:
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(count))
    return f"{{ ...F0 }} {chain} fragment F{count} on Query {{ {body} }}"


BOMBS = {
    "depth": "{ person " + "{ friends " * 20 + "{ id }" + "}" * 21,
    "depth through fragments": "{ person { ...F0 } } "
    + " ".join(f"fragment F{n} on Person {{ friends {{ ...F{n + 1} }} }}" for n in range(20))
    + " fragment F20 on Person { id }",
    "aliases": "{" + " ".join(f"a{n}: hello" for n in range(61)) + "}",
    "aliases through fragments": doubling(22, "a: hello"),
    "root fields": "{" + "hello " * 31 + "}",
    "root fields through fragments": doubling(22, "hello"),
    "directives": "{ hello " + "@skip(if: false) " * 61 + "}",
    "unknown directives": "{ hello " + "@a " * 1000 + "}",
    "tokens": "{ hello " + "hello " * 4000 + "}",
    "braces": "{" * 100_000,
    "comments": "{ hello }" + "#\n" * 100_000,
    "a list of lists": "{ people(first: 1000) { nodes { friends(first: 1000) { id } } } }",
    "lists of default size": "{ people { nodes { friends { friends { friends { friends { friends { id } } } } } } } }",
    "a long list of ids": f"{{ nodes(ids: {json.dumps(['x'] * 3000)}) {{ friends {{ id }} }} }}",
    "introspection many times": "{" + " ".join(f"i{n}: __schema {{ types {{ name }} }}" for n in range(25)) + "}",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_by_a_limit(name: str) -> None:
    async with connect(make_app(introspection=True)) as client:
        response = await client.post("/graphql", json={"query": BOMBS[name]}, headers={"accept": GRAPHQL})
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert error["extensions"]["cure"]
    assert len(response.content) < 1000


async def test_a_list_bomb_in_the_variables_is_refused() -> None:
    query = "query ($n: Int, $m: Int) { people(first: $n) { nodes { friends(first: $m) { id } } } }"
    async with connect(make_app()) as client:
        small = await client.post("/graphql", json={"query": query, "variables": {"n": 2, "m": 3}})
        large = await client.post("/graphql", json={"query": query, "variables": {"n": 1000, "m": 1000}})
    assert len(small.json()["data"]["people"]["nodes"][1]["friends"]) == 3
    assert large.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_a_batch_runs_nothing() -> None:
    events: list[str] = []
    async with connect(make_app(events=events)) as client:
        response = await client.post("/graphql", json=[{"query": WRITE}] * 100)
    assert response.status_code == 400
    assert events == []


async def test_the_usual_introspection_is_within_the_limits() -> None:
    query = get_introspection_query(descriptions=True, input_value_deprecation=True, specified_by_url=True)
    async with connect(make_app(introspection=True)) as client:
        response = await client.post("/graphql", json={"query": query})
    assert "errors" not in response.json()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
query_texts = st.sampled_from(list(BOMBS.values())) | st.text(
    alphabet='{}()[]:$!@.#"\\ \nabqueryfragmentonhelloecho1-_é', max_size=80
)
bodies = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "query": query_texts | json_values,
            "variables": json_values,
            "operationName": json_values,
            "extensions": json_values,
            "documentId": json_values,
        },
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=scaled(test=200, soak=20_000), deadline=None)
@given(bodies, st.sampled_from([GRAPHQL, "application/json", "*/*"]))
async def test_any_body_is_answered_with_data_or_coded_errors(body: bytes, accept: str) -> None:
    headers = {"content-type": "application/json", "accept": accept}
    async with connect(make_app()) as client:
        response = await client.post("/graphql", content=body, headers=headers)
    assert response.status_code < 500
    found: dict[str, Any] = response.json()
    assert ("data" in found) != ("errors" in found)
    assert all(error["extensions"]["code"] and error["extensions"]["cure"] for error in found.get("errors", ()))


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_closing_the_socket_stops_a_query_and_not_a_mutation(http: str) -> None:
    events: list[str] = []
    with serve(make_app(events=events), http=http) as port:
        for query, first in (("{ slow }", "slow began"), ("mutation { write(seconds: 0.2) }", "write began")):
            body = json.dumps({"query": query}).encode()
            head = (
                f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer acme\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: application/json\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(head.encode() + body)
                wait_until(events, first)
            wait_until(events, "slow cancelled" if "slow" in query else "write ended")
    assert events == ["slow began", "slow cancelled", "write began", "write ended"]


def wait_until(events: list[str], event: str) -> None:
    deadline = time.monotonic() + 5
    while event not in events:
        assert time.monotonic() < deadline, events
        time.sleep(0.01)
