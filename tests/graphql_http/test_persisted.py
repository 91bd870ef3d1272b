import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import ConfigurationError
from service.graphql_http import persisted
from tests.graphql_http.small_graph import connect, make_app

GRAPHQL = "application/graphql-response+json"
HELLO = "{ hello }"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hashed(text: str, **more: Any) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}, **more}


def code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


async def test_a_query_is_registered_by_hash_and_found_by_post_and_get() -> None:
    async with connect(make_app()) as client:
        unknown = await client.post("/graphql", json=hashed(HELLO))
        registered = await client.post("/graphql", json=hashed(HELLO, query=HELLO))
        by_post = await client.post("/graphql", json=hashed(HELLO))
        by_get = await client.get("/graphql", params={"extensions": json.dumps(hashed(HELLO)["extensions"])})
        shouted = hashed(HELLO)
        shouted["extensions"]["persistedQuery"]["sha256Hash"] = sha256(HELLO).upper()
        upper = await client.post("/graphql", json=shouted)
    # Apollo's clients know it by this message or this code, and then send the query along.
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert (unknown.status_code, code(unknown)) == (200, "PERSISTED_QUERY_NOT_FOUND")
    for response in (registered, by_post, by_get, upper):
        assert response.json() == {"data": {"hello": "world"}}


async def test_a_tenants_queries_are_its_own() -> None:
    app = make_app()
    async with connect(app, tenant="acme") as client:
        await client.post("/graphql", json=hashed(HELLO, query=HELLO))
    async with connect(app, tenant="other") as client:
        assert code(await client.post("/graphql", json=hashed(HELLO))) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_query_that_is_not_valid_is_not_registered() -> None:
    async with connect(make_app()) as client:
        await client.post("/graphql", json=hashed("{ nope }", query="{ nope }"))
        assert code(await client.post("/graphql", json=hashed("{ nope }"))) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_tenants_registered_queries_are_bounded_and_the_least_used_go_first() -> None:
    texts = [f"{{ hello }} # {number} {'x' * 90_000}" for number in range(15)]
    async with connect(make_app()) as client:
        for text in texts:
            assert "errors" not in (await client.post("/graphql", json=hashed(text, query=text))).json()
        answers = [(await client.post("/graphql", json=hashed(text))).json() for text in texts]
    known = ["data" in answer for answer in answers]
    assert known[-1]
    assert not known[0]
    assert sum(known) * 90_000 <= persisted._MAX_CHARACTERS_PER_TENANT


@pytest.mark.parametrize(
    "wrong",
    [
        hashed("{ other }", query=HELLO),
        {"extensions": {"persistedQuery": {"version": 2, "sha256Hash": sha256(HELLO)}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "abc"}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": 7}}},
        {"extensions": {"persistedQuery": {"version": 1}}},
        {"extensions": {"persistedQuery": "x"}},
    ],
)
async def test_a_wrong_hash_is_a_400(wrong: dict[str, Any]) -> None:
    async with connect(make_app()) as client:
        response = await client.post("/graphql", json=wrong)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
    assert response.json()["errors"][0]["extensions"]["cure"]


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    path = tmp_path / "trusted.json"
    path.write_text(json.dumps({sha256(text): text for text in (HELLO, "mutation M { write }")}))
    return path


@pytest.mark.parametrize(
    "request_",
    [
        {"documentId": sha256(HELLO)},
        {"documentId": f"sha256:{sha256(HELLO)}"},
        hashed(HELLO),
        {"query": HELLO},
        {"documentId": sha256(HELLO), "query": "{ echo }"},
    ],
)
async def test_trusted_documents_run_however_they_are_named(trusted: Path, request_: dict[str, Any]) -> None:
    async with connect(make_app(trusted_documents=trusted)) as client:
        assert (await client.post("/graphql", json=request_)).json() == {"data": {"hello": "world"}}


@pytest.mark.parametrize(
    "request_",
    [
        {"query": "{ echo }"},
        {"query": HELLO + " "},
        hashed("{ echo }", query="{ echo }"),
        {"documentId": sha256("{ echo }")},
        {},
    ],
)
async def test_nothing_else_runs_where_documents_are_trusted(trusted: Path, request_: dict[str, Any]) -> None:
    async with connect(make_app(trusted_documents=trusted)) as client:
        for _ in range(2):
            response = await client.post("/graphql", json=request_, headers={"accept": GRAPHQL})
            assert code(response) == "PERSISTED_QUERY_ONLY"
            assert "data" not in response.json()


async def test_a_malformed_document_id_is_a_400(trusted: Path) -> None:
    async with connect(make_app(trusted_documents=trusted)) as client:
        response = await client.post("/graphql", json={"documentId": "md5:abc"})
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


async def test_a_trusted_mutation_still_may_not_come_by_get(trusted: Path) -> None:
    async with connect(make_app(trusted_documents=trusted)) as client:
        response = await client.get("/graphql", params={"documentId": sha256("mutation M { write }")})
    assert response.status_code == 405


def test_every_wrong_trusted_document_is_a_line_at_start_up(tmp_path: Path) -> None:
    path = tmp_path / "trusted.json"
    deep = "{ person " + "{ friends " * 20 + "{ id }" + "}" * 21
    path.write_text(json.dumps({"0" * 64: HELLO, sha256("{ nope }"): "{ nope }", sha256("{"): "{", sha256(deep): deep}))
    with pytest.raises(ConfigurationError) as caught:
        make_app(trusted_documents=path)
    lines = caught.value.message.split("\n")
    assert len(lines) == 4
    assert lines[0] == f"SENTRY_GRAPH_TRUSTED_DOCUMENTS: {'0' * 64}: the document's SHA-256 is {sha256(HELLO)}"
    assert "Cannot query field 'nope'" in lines[1]
    assert "Syntax Error" in lines[2]
    assert "15 deep" in lines[3]


@pytest.mark.parametrize("content", [None, b"[]", b'{"a": 1}', b"{", b'{"\xff": ""}'])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trusted.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"SENTRY_GRAPH_TRUSTED_DOCUMENTS: .*trusted\.json"):
        make_app(trusted_documents=path)
