"""Bombs against the real graph with the settings of production: refused before anything runs, in bounded work."""

import asyncio
import gzip
import json
import resource
import zlib
from pathlib import Path

import pytest
from graphql import parse

from service.connections.linking import LinkRequest
from service.graphql_http.cost import compile_cost, read_costs
from service.graphql_http.limits import measure
from service.sandbox.app import Sandbox
from service.sandbox.faults import Bomb, Drip
from service.schema.build import build_schema
from tests.graph_fixture import BIG, Graph, serve_graph
from tests.sentry.upstream import Request, answer, json_answer, serve

MEMBERS = "organizations/{organization}/members/"
READ = "query ($id: ID!, $path: String!) { proxy(connectionId: $id, path: $path) { result } }"


def doubling(count: int, on: str, body: str, around: str = "{{ {} }}") -> str:
    chain = " ".join(f"fragment F{n} on {on} {{ ...F{n + 1} ...F{n + 1} }}" for n in range(count))
    return f"{around.format('...F0')} {chain} fragment F{count} on {on} {{ {body} }}"


def nested(levels: int) -> str:
    """Connections of users of connections of users …, every list as long as it may be."""
    text = "id"
    for _ in range(levels):
        text = f"users(first: 1000) {{ nodes {{ connection {{ {text} }} }} }}"
    return f"{{ connections(first: 1000) {{ nodes {{ {text} }} }} }}"


BOMBS: dict[str, str] = {
    "nested lists": nested(3),
    "one list too many": "{ connections(first: 1000) { nodes { users(first: 1000) { nodes { id } } } } }",
    "depth": nested(12),
    "aliases": "{" + " ".join(f"a{n}: connections {{ totalCount }}" for n in range(61)) + "}",
    "aliases through fragments": doubling(22, "Query", "a: connections { totalCount }"),
    "root fields through fragments": doubling(22, "Query", "connections { totalCount }"),
    "cost through fragments": doubling(22, "User", "groups { id }", "{{ users {{ nodes {{ {} }} }} }}"),
    "details of everybody, three times": "{"
    + " ".join(f"a{n}: users(first: 1000) {{ nodes {{ remoteDetail }} }}" for n in range(4))
    + "}",
    "proxies of everything": "{ connections(first: 1000) { nodes {"
    + " ".join(f'p{n}: proxy(path: "x") {{ statusCode }}' for n in range(5))
    + "} } }",
    "ids": "{ nodes(ids: ["
    + '"x",' * 3990
    + "]) { id ... on User { groups { id } remoteDetail connection { id } } } }",
    "directives": "{ connections " + "@skip(if: false) " * 61 + "{ totalCount } }",
    "tokens": "{" + "connections { totalCount } " * 1000 + "}",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_and_sentry_is_not_asked(graph: Graph, name: str) -> None:
    await graph.link(BIG)
    refused = await graph.send(BOMBS[name])
    (error,) = refused.json()["errors"]
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert error["extensions"]["cure"]
    assert len(refused.content) < 1000
    assert graph.calls() == 0


@pytest.mark.parametrize("on", ["Query", "User"])
def test_the_work_of_measuring_grows_with_the_text_and_not_with_its_expansion(on: str) -> None:
    schema = build_schema()
    around = "{{ {} }}" if on == "Query" else "{{ users {{ nodes {{ {} }} }} }}"
    body = "connections { totalCount }" if on == "Query" else "groups { id }"
    visits = []
    for count in (20, 40, 80):
        document = parse(doubling(count, on, body, around))
        plan = compile_cost(schema._schema, read_costs(schema), document, document.definitions[0])  # type: ignore[arg-type]
        visits.append(measure(document).visits + plan.visits)
        assert plan.estimate({}) > 20_000
    assert visits[1] < 2.2 * visits[0]
    assert visits[2] < 2.2 * visits[1]


async def test_a_batch_and_a_compressed_body_run_nothing(graph: Graph) -> None:
    headers = {"authorization": f"Bearer {graph.key}", "content-type": "application/json"}
    batch = json.dumps([{"query": "{ connections { totalCount } }"}] * 50).encode()
    packed = gzip.compress(json.dumps({"query": "{ connections { totalCount } }", "x": "y" * 10**6}).encode())
    endless = b'{"query": "' + b"x" * 2_000_000
    nested = b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}"
    for content, more, status in (
        (batch, {}, 400),
        (packed, {"content-encoding": "gzip"}, 415),
        (endless, {}, 413),
        (nested, {}, 400),
    ):
        refused = await graph.http.post("/graphql", content=content, headers=headers | more)
        assert refused.status_code == status, refused.text
        assert refused.json()["errors"][0]["extensions"]["cure"]


# --- what the Sentry behind sends ---


ROOT = {"version": "0", "auth": {"scopes": ["org:read", "member:read"]}, "user": {"id": "1", "email": "a@b.example"}}


def pack(size: int) -> bytes:
    """A JSON text of so many spaces, a thousandfold smaller."""
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(b" " * 2**20) for _ in range(size // 2**20)]
    return b"".join([*packed, packer.compress(b"[]"), packer.flush()])


async def test_a_decompression_bomb_costs_little_memory(tmp_path: Path, sandbox: Sandbox) -> None:
    bomb = answer(pack(256 * 2**20), headers={"Content-Encoding": "gzip"})

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        match request.line.split(" ")[1].partition("?")[0]:
            case "/api/0/":
                writer.write(json_answer(ROOT))
            case "/api/0/organizations/acme/":
                writer.write(json_answer({"id": "7", "slug": "acme", "name": "Acme"}))
            case _:
                writer.write(bomb)

    async with (
        serve(behave) as upstream,
        serve_graph(tmp_path, sandbox, egress_allow=(upstream.origin.url,), upstream_attempts=1) as graph,
    ):
        request = LinkRequest(token="some-token-1234", origin=upstream.origin.url, organization="acme")
        connection = await graph.runtime.services.linker.link(graph.caller, request)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for text in (
            READ,
            'query ($id: ID!) { connection(id: $id) { user(email: "a@b.example") { id } } }',
            "query ($id: ID!) { connection(id: $id) { users { nodes { id } } } }",
            "query ($id: ID!) { users(connectionIds: [$id]) { failures { code } nodes { id } } }",
        ):
            variables = {"path": MEMBERS} if "$path" in text else {}
            found = await graph.send(text, id=connection.id, **variables)
            assert "UPSTREAM_TOO_LARGE" in found.text
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
        assert grown < graph.runtime.settings.upstream_max_bytes + 2**23  # one answer as far as its cap, and no second


async def test_what_one_request_reads_is_bounded_however_it_asks(tmp_path: Path, sandbox: Sandbox) -> None:
    """Many answers, each just below its cap: five of the largest, and no more, are held for one request."""
    cap = 2**20
    async with serve_graph(tmp_path, sandbox, upstream_max_bytes=cap) as graph:
        connection = await graph.link(BIG)
        graph.sandbox.faults.add(Bomb(path="/members/", size=cap - 100))
        aliases = " ".join(
            f'a{n}: proxy(connectionId: $id, path: "{MEMBERS}", query: [{{name: "x", value: "{n}"}}]) {{ result }}'
            for n in range(20)
        )
        found = await graph.send(f"query ($id: ID!) {{ {aliases} }}", id=connection.id)
        same = " ".join(f'a{n}: proxy(connectionId: $id, path: "{MEMBERS}") {{ result }}' for n in range(20))
        shared = await graph.send(f"query ($id: ID!) {{ {same} }}", id=connection.id)
    for each in (found, shared):
        codes = {error["extensions"]["code"] for error in each.json()["errors"]}
        assert codes == {"UPSTREAM_TOO_LARGE"}
        assert len(each.content) <= 5 * cap + 20_000


async def test_a_dripping_answer_ends_at_the_deadline(tmp_path: Path, sandbox: Sandbox) -> None:
    async with serve_graph(tmp_path, sandbox, upstream_deadline=0.3, upstream_attempts=1) as graph:
        connection = await graph.link(BIG)
        graph.sandbox.faults.add(Drip(path="/members/", seconds=0.1, piece=16))
        assert (await graph.error(READ, id=connection.id, path=MEMBERS))["code"] == "UPSTREAM_TIMEOUT"


async def test_a_bomb_through_rest_is_streamed_and_not_held(graph: Graph) -> None:
    connection = await graph.link(BIG)
    size = 64 * 2**20
    graph.sandbox.faults.add(Bomb(path="/members/", size=size))
    url = f"/proxy/{connection.id}/api/0/{MEMBERS}"
    received = 0
    async with graph.http.stream("GET", url, headers={"authorization": f"Bearer {graph.key}"}) as streamed:
        async for piece in streamed.aiter_raw():
            received += len(piece)
    assert received == size + 4
