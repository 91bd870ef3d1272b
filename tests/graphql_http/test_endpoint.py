import asyncio
import json
from typing import Any

import httpx
import pytest
import strawberry
from starlette.applications import Starlette
from strawberry.extensions import QueryDepthLimiter
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from structlog.testing import capture_logs

from service.graphql_http.endpoint import create_graphql_routes
from service.graphql_http.requests import GraphQLRequest, parse_json
from service.settings import Settings
from service.tenants.caller import Caller
from tests.graphql_http.small_graph import SECRET, Anyone, Context, Keys, connect, make_app, schema
from tests.serving import NO_TLS, serve

GRAPHQL = "application/graphql-response+json"


async def post(client: httpx.AsyncClient, query: str, **more: Any) -> httpx.Response:
    return await client.post("/graphql", json={"query": query, **more}, headers={"accept": GRAPHQL})


def codes(response: httpx.Response) -> list[str]:
    return [error["extensions"]["code"] for error in response.json()["errors"]]


async def test_a_query_answers_data() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "query Q($text: String!) { hello echo(text: $text) }", variables={"text": "é"})
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"
    assert response.headers["cache-control"] == "private, no-store"
    assert response.json() == {"data": {"hello": "world", "echo": "é"}}


async def test_a_get_queries_with_variables_and_an_operation_name() -> None:
    async with connect(make_app()) as client:
        response = await client.get(
            "/graphql",
            params={
                "query": "query A($text: String!) { echo(text: $text) } query B { hello }",
                "variables": '{"text": "x"}',
                "operationName": "A",
                "extensions": "{}",
            },
        )
    assert response.json() == {"data": {"echo": "x"}}


async def test_a_get_may_not_change_anything() -> None:
    events: list[str] = []
    async with connect(make_app(events=events)) as client:
        for accept in (GRAPHQL, "application/json"):
            response = await client.get("/graphql", params={"query": "mutation { write }"}, headers={"accept": accept})
            assert response.status_code == 405
            assert "POST" in response.headers["allow"]
            assert codes(response) == ["METHOD_NOT_ALLOWED"]
    assert events == []


async def test_other_methods_are_told_which_to_use() -> None:
    async with connect(make_app()) as client:
        assert (await client.put("/graphql")).status_code == 405
        options = await client.options("/graphql")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, POST, OPTIONS")


async def test_an_unknown_caller_is_refused_before_its_body_is_read() -> None:
    sent = []

    async def body() -> Any:
        sent.append(1)
        yield b"{"

    async with connect(make_app(), tenant=None) as client:
        response = await client.post("/graphql", content=body(), headers={"content-type": "application/json"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert codes(response) == ["UNAUTHENTICATED"]
    assert sent == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"1", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"query": "\xff"}', "not UTF-8"),
        (b'{"query": "{ hello }", "variables": {"a": NaN}}', "not valid JSON"),
        (b'{"query": "{ hello }", "variables": {"a": 1e999}}', "not valid JSON"),
        (b'{"query": "\\ud800"}', "not valid JSON"),
        (b'{"query": "{ hello }", "query": "{ echo }"}', "twice: query"),
        (b'{"query": "{ hello }", "variables": {"a": {"b": 1, "b": 2}}}', "twice: b"),
        (b'{"query": "{ hello }", "variables": {"a": ' + b"9" * 5000 + b"}}", "not valid JSON"),
        (b'{"query": "{ hello }", "variables": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "32 deep"),
        (b"[" * 100_000, "32 deep"),
        (b'[{"query": "{ hello }"}]', "list of requests"),
        (b'{"query": 1}', "`query` must be a string"),
        (b'{"query": "{ hello }", "variables": []}', "`variables` must be an object"),
        (b'{"query": "{ hello }", "operationName": {}}', "`operationName` must be a string"),
        (b'{"query": "{ hello }", "extensions": "x"}', "`extensions` must be an object"),
        (b"{}", "no `query`"),
        (b'{"documentId": "x"}', "no trusted documents"),
    ],
)
@pytest.mark.parametrize("accept", [GRAPHQL, "application/json"])
async def test_a_wrong_body_is_a_400_in_words_of_what_to_change(body: bytes, words: str, accept: str) -> None:
    async with connect(make_app()) as client:
        response = await client.post(
            "/graphql", content=body, headers={"content-type": "application/json", "accept": accept}
        )
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert words in error["message"]
    assert error["extensions"]["code"] == "BAD_REQUEST"
    assert error["extensions"]["cure"]
    assert "data" not in response.json()


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=latin-1",
        "text/plain; application/json",
        "application/jsonp",
    ],
)
async def test_a_body_that_is_not_utf8_json_is_refused(content_type: str | None) -> None:
    events: list[str] = []
    headers = {} if content_type is None else {"content-type": content_type}
    async with connect(make_app(events=events)) as client:
        response = await client.post("/graphql", content=b'{"query": "mutation { write }"}', headers=headers)
    assert (response.status_code, codes(response)) == (415, ["UNSUPPORTED_MEDIA_TYPE"])
    assert events == []


async def test_a_compressed_body_is_refused() -> None:
    async with connect(make_app()) as client:
        response = await client.post(
            "/graphql",
            content=b"\x1f\x8b",
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )
    assert response.status_code == 415


async def test_an_answer_that_the_client_cannot_take_is_a_406() -> None:
    async with connect(make_app()) as client:
        response = await client.post("/graphql", json={"query": "{ hello }"}, headers={"accept": "text/html"})
    assert (response.status_code, codes(response)) == (406, ["NOT_ACCEPTABLE"])


async def test_a_large_body_is_refused_while_it_is_read() -> None:
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b" " * 1000

    async with connect(make_app(max_body_bytes=10_000)) as client:
        streamed = await client.post("/graphql", content=body(), headers={"content-type": "application/json"})
        declared = await client.post("/graphql", content=b" " * 10_001, headers={"content-type": "application/json"})
        as_get = await client.get("/graphql?query=" + "a" * 10_001)
        fits = await client.post(
            "/graphql",
            content=json.dumps({"query": "{hello}"}).ljust(10_000),
            headers={"content-type": "application/json"},
        )
    assert [one.status_code for one in (streamed, declared, as_get)] == [413, 413, 413]
    assert codes(streamed) == ["LIMIT_EXCEEDED"]
    assert sent <= 12_000
    assert fits.json() == {"data": {"hello": "world"}}


async def test_a_get_parameter_may_come_once() -> None:
    async with connect(make_app()) as client:
        response = await client.get("/graphql?query={hello}&query={echo}")
    assert response.status_code == 400
    assert "more than once" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ["variables", "extensions"])
async def test_a_get_parameter_that_is_no_json_is_named(name: str) -> None:
    async with connect(make_app()) as client:
        response = await client.get("/graphql", params={"query": "{ hello }", name: "{"})
    assert f"The parameter `{name}` is not valid JSON" in response.json()["errors"][0]["message"]


async def test_a_document_that_does_not_parse_says_where() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "{ hello")
        lenient = await client.post("/graphql", json={"query": "{ hello"})
    assert (response.status_code, lenient.status_code) == (400, 200)
    (error,) = response.json()["errors"]
    assert error["locations"] == [{"line": 1, "column": 8}]
    assert error["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
    assert lenient.json() == response.json()


async def test_suggestions_are_a_setting() -> None:
    async with connect(make_app()) as client:
        shy = await post(client, "{ helo }")
        coerced = await post(client, "query Q($x: Int!) { people(first: $x) { nodes { name } } }", variables={"x": "y"})
    async with connect(make_app(suggestions=True)) as client:
        helpful = await post(client, "{ helo }")
    assert codes(shy) == ["GRAPHQL_VALIDATION_FAILED"]
    assert "Did you mean" not in shy.text
    assert "Did you mean 'hello'" in helpful.text
    assert codes(coerced) == ["BAD_USER_INPUT"]
    assert coerced.status_code == 400
    assert "data" not in coerced.json()


async def test_introspection_is_a_setting() -> None:
    async with connect(make_app()) as client:
        closed = [
            await post(client, query)
            for query in (
                "{ __schema { types { name } } }",
                '{ ...F } fragment F on Query { x: __type(name: "Query") { name } }',
            )
        ]
        typename = await post(client, "{ __typename }")
    async with connect(make_app(introspection=True)) as client:
        opened = await post(client, "{ __schema { queryType { name } } }")
    assert [codes(one) for one in closed] == [["INTROSPECTION_DISABLED"]] * 2
    assert typename.json() == {"data": {"__typename": "Query"}}
    assert opened.json()["data"]["__schema"]["queryType"]["name"] == "Query"


@pytest.mark.parametrize(
    ("query", "name", "words"),
    [
        ("query A { hello } query B { hello }", None, "several operations"),
        ("query A { hello }", "C", "no such operation"),
        ("fragment F on Query { hello }", None, "never used"),
    ],
)
async def test_an_operation_must_be_found(query: str, name: str | None, words: str) -> None:
    async with connect(make_app()) as client:
        response = await post(client, query, operationName=name)
    assert response.status_code == 400
    assert words in response.json()["errors"][0]["message"]


async def test_an_empty_operation_name_means_the_only_operation() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "query A { hello }", operationName="")
    assert response.json() == {"data": {"hello": "world"}}


async def test_service_errors_are_shown_with_their_cure_and_place() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "{ hello missing }")
    assert response.status_code == 200
    assert response.json() == {
        "data": {"hello": "world", "missing": None},
        "errors": [
            {
                "message": "No such thing.",
                "locations": [{"line": 1, "column": 9}],
                "path": ["missing"],
                "extensions": {"code": "NOT_FOUND", "retryable": False, "cure": "Look elsewhere."},
            }
        ],
    }


async def test_unforeseen_errors_are_masked_and_found_in_the_log_by_their_id() -> None:
    async with connect(make_app()) as client:
        with capture_logs() as logs:
            response = await post(client, "{ broken }")
    (error,) = response.json()["errors"]
    assert error["message"] == "Something went wrong."
    assert error["path"] == ["broken"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert SECRET not in response.text
    (line,) = logs
    assert line["correlation_id"] == error["extensions"]["correlationId"]
    assert isinstance(line["exc_info"], RuntimeError)
    assert line["path"] == "broken"
    assert SECRET.upper() not in str(line), "local variables are not logged"


async def test_nothing_is_logged_by_strawberry_or_graphql_core(caplog: pytest.LogCaptureFixture) -> None:
    async with connect(make_app()) as client:
        with capture_logs():
            await post(client, "{ broken brokenRoot }")
            await post(client, "{ nope }")
    assert [record for record in caplog.records if record.name.startswith(("strawberry", "graphql"))] == []


async def test_a_null_that_reaches_the_root_keeps_data_null() -> None:
    async with connect(make_app()) as client:
        with capture_logs():
            response = await post(client, "{ brokenRoot }")
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert codes(response) == ["INTERNAL"]


async def test_errors_are_counted_beyond_fifty() -> None:
    async with connect(make_app()) as client:
        with capture_logs() as logs:
            response = await post(client, "{ manyBroken }")
    errors = response.json()["errors"]
    assert len(errors) == 51
    assert errors[-1] == {
        "message": "150 more errors are not shown.",
        "extensions": {"code": "MORE_ERRORS", "hidden": 150},
    }
    assert len(logs) == 50


async def test_what_a_message_quotes_is_cut() -> None:
    async with connect(make_app(suggestions=True)) as client:
        for query in (
            "{ " + "a" * 50_000 + " }",
            "{ hello(" + "a" * 50_000,
            "query Q($" + "v" * 40_000 + ": Int!) { hello }",
        ):
            response = await post(client, query)
            assert response.status_code == 400
            assert len(response.content) < 5_000


async def test_at_most_twenty_validation_errors_are_listed() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "{" + " ".join(f"a{number}" for number in range(30)) + "}")
    assert len(response.json()["errors"]) == 21


async def test_raw_json_is_spliced_in_as_it_came() -> None:
    async with connect(make_app()) as client:
        response = await post(client, "{ hello raw }")
    assert response.content == (
        b'{"data":{"hello":"world","raw":{"from":  "upstream",  "big": 123456789012345678901234567890}}}'
    )


async def test_a_value_that_is_no_json_is_masked() -> None:
    async with connect(make_app()) as client:
        with capture_logs() as logs:
            response = await post(client, "{ unencodable }")
    assert (response.status_code, codes(response)) == (500, ["INTERNAL"])
    assert isinstance(logs[0]["exc_info"], UnicodeEncodeError)


async def test_extensions_go_in_and_come_out() -> None:
    async with connect(make_app()) as client:
        out = await post(client, "{ withExtensions }")
        echoed = await post(client, "{ operationExtensions }", extensions={"wish": 1})
    assert out.json()["extensions"] == {"rateLimit": {"remaining": 7}}
    assert echoed.json()["data"]["operationExtensions"] == {"wish": 1}


async def test_a_slow_query_is_cancelled_at_the_deadline() -> None:
    events: list[str] = []
    async with connect(make_app(events=events, request_deadline=0.05)) as client:
        response = await post(client, "{ slow }")
    assert (response.status_code, codes(response)) == (504, ["DEADLINE_EXCEEDED"])
    assert events == ["slow began", "slow cancelled"]


async def test_a_slow_mutation_is_answered_at_the_deadline_and_ends_by_itself() -> None:
    events: list[str] = []
    async with connect(make_app(events=events, request_deadline=0.05)) as client:
        response = await post(client, "mutation { write(seconds: 0.2) }")
    assert (response.status_code, codes(response)) == (504, ["OUTCOME_UNKNOWN"])
    # The ASGI call returns when the work is done, so that the server's graceful stop waits for it.
    assert events == ["write began", "write ended"]


async def test_a_body_that_drips_is_given_up() -> None:
    async def receive() -> Any:
        await asyncio.sleep(30)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_post(make_app(request_deadline=0.05), receive, send)
    assert sent[0]["status"] == 408


async def asgi_post(app: Any, receive: Any, send: Any) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer acme"), (b"content-type", b"application/json")],
        "server": ("graph.test", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
    }
    await app(scope, receive, send)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ slow }", ["slow began", "slow cancelled"]),
        ("{ a: slow b: slow }", ["slow began", "slow began", "slow cancelled", "slow cancelled"]),
        ("mutation { write(seconds: 0.05) }", ["write began", "write ended"]),
    ],
)
async def test_a_client_that_leaves_stops_its_query_but_not_its_mutation(query: str, expected: list[str]) -> None:
    events: list[str] = []
    messages = [
        {"type": "http.request", "body": json.dumps({"query": query}).encode(), "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        if len(messages) == 1:
            await asyncio.sleep(0.01)
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    await asyncio.wait_for(asgi_post(make_app(events=events), receive, send), 5)
    assert events == expected


async def test_a_client_that_leaves_while_sending_is_let_go() -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_post(make_app(), receive, send)
    assert sent[0]["status"] == 499


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_query_that_waits_is_answered(method: str) -> None:
    query = "{ a: slow(seconds: 0.01) b: slow(seconds: 0) }"
    with serve(make_app()) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client:
            client.headers["authorization"] = "Bearer acme"
            if method == "GET":
                response = await client.get("/graphql", params={"query": query})
            else:
                response = await post(client, query)
    assert response.json() == {"data": {"a": "done", "b": "done"}}


async def test_an_authenticator_that_fails_is_masked() -> None:
    class Broken(Keys):
        async def authenticate(self, authorization: str | None) -> Caller:
            raise TimeoutError("no key set")

    async with connect(make_app(authenticator=Broken())) as client:
        with capture_logs() as logs:
            response = await post(client, "{ hello }")
    assert (response.status_code, codes(response)) == (500, ["INTERNAL"])
    assert "no key set" in str(logs[0]["exc_info"])


@pytest.mark.parametrize("failure", [RuntimeError("no database"), TimeoutError("no pool")])
async def test_a_context_that_fails_is_masked(failure: Exception) -> None:
    def get_context(caller: Caller, wanted: GraphQLRequest) -> Context:
        raise failure

    routes = create_graphql_routes(schema, settings=Settings(), get_context=get_context, authenticator=Keys())
    async with connect(Starlette(routes=routes)) as client:
        with capture_logs() as logs:
            response = await post(client, "{ hello }")
    assert (response.status_code, codes(response)) == (500, ["INTERNAL"])
    assert str(failure) not in response.text
    assert len(logs) == 1


def test_a_schema_with_extensions_cannot_be_served() -> None:
    graph = strawberry.Schema(Anything, extensions=[lambda: QueryDepthLimiter(max_depth=3)])
    with pytest.raises(ValueError, match="no extensions"):
        make_app(graph=graph)


async def test_the_executor_is_the_one_that_the_schema_names() -> None:
    built = []

    class Executor(StrawberryGraphQLCoreExecutionContext):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            built.append(1)
            super().__init__(*args, **kwargs)

    async with connect(make_app(graph=strawberry.Schema(Anything, execution_context_class=Executor))) as client:
        response = await post(client, "{ a }")
    assert response.json() == {"data": {"a": "b"}}
    assert built == [1]


@strawberry.type(name="Query")
class Anything:
    @strawberry.field
    def a(self) -> str:
        return "b"


async def test_anyone_may_be_an_authenticator() -> None:
    async with connect(make_app(authenticator=Anyone()), tenant=None) as client:
        assert (await post(client, "{ hello }")).status_code == 200


def test_json_is_nested_at_most_32_deep() -> None:
    assert parse_json(b"[" * 32 + b"]" * 32, "It") is not None
    with pytest.raises(Exception, match="32 deep"):
        parse_json(b"[" * 33 + b"]" * 33, "It")
