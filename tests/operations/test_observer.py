import asyncio
import io
import json
import sys
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from service.errors import ConfigurationError, Unauthenticated
from service.operations.metrics import Metrics
from service.operations.observer import Observer
from service.operations.tracing import Tracing, create_exporter
from service.sentry.calls import CallObservation
from service.settings import Settings
from service.tenants.caller import Caller, Role
from tests.canary import find_canary

CANARY = "canary-7f3d9b1e5a2c8d40-in-an-argument"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALL = CallObservation("sentry.io", "organizations/{}/members/", "GET", "200", 0.2, 2)


class KnownCallers:
    async def authenticate(self, authorization: str | None) -> Caller:
        if authorization is None:
            raise Unauthenticated("The request carries no API key or JWT.")
        return Caller("ten_1", Role.READ, "key:1")


class Service:
    """A small application in the shape of ours, wrapped by an observer."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.is_draining = False
        self.authenticator = observer.wrap_authenticator(KnownCallers())
        app = FastAPI()
        app.router.routes.extend(
            [
                Route("/graphql", self.graphql, methods=["POST"]),
                Route("/proxy/{connection_id}/api/0/{path:path}", self.proxy),
                Route("/health", self.health),
                Route("/broken", self.broken),
                Mount("/assets", PlainTextResponse("a file")),
            ]
        )
        self.app = observer.wrap(app, is_draining=lambda: self.is_draining)

    async def graphql(self, request: Request) -> Response:
        try:
            caller = await self.authenticator.authenticate(request.headers.get("authorization"))
        except Unauthenticated as error:
            self.observer.graphql_request(kind=None, name=None, codes=[error.code], has_run=False)
            return PlainTextResponse("", error.status)
        body = await request.json()
        structlog.get_logger("service.test").info("working", tenant_of_caller=caller.tenant_id)
        await asyncio.create_task(self.call_sentry())
        self.observer.graphql_request(kind="query", name=body["operationName"], codes=body["codes"], has_run=True)
        return PlainTextResponse("{}")

    async def call_sentry(self) -> None:
        self.observer.sentry_call(CALL)

    async def proxy(self, scope: Request) -> Response:
        async def work() -> None:
            await self.authenticator.authenticate("Bearer x")

        await asyncio.create_task(work())  # as the streaming proxy does
        return PlainTextResponse("", 404)

    async def health(self, _: Request) -> Response:
        return PlainTextResponse("")

    async def broken(self, _: Request) -> Response:
        raise RuntimeError(CANARY)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://service.test")

    async def ask(self, name: str | None = "Users", codes: tuple[str, ...] = (), **headers: str) -> httpx.Response:
        async with self.client() as http:
            return await http.post(
                f"/graphql?note={CANARY}",
                headers={"authorization": "Bearer x"} | headers,
                json={"operationName": name, "codes": codes, "query": CANARY, "variables": {"token": CANARY}},
            )


@pytest.fixture
def exported():
    return InMemorySpanExporter()


@pytest.fixture
def service(exported):
    observer = Observer(Metrics("1.0"), Tracing(SimpleSpanProcessor(exported), version="1.0"))
    yield Service(observer)
    observer.close()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_graphql_request_has_one_line_with_its_operation_and_tenant(service, start_logging):
    stream = start_logging()
    answer = await service.ask(codes=("NOT_FOUND",))

    working, request = lines(stream)

    assert request["ms"] >= 0
    assert {name: request[name] for name in request if name not in {"ms", "timestamp"}} == {
        "event": "request",
        "level": "info",
        "logger": "service.operations.observer",
        "request_id": answer.headers["x-request-id"],
        "method": "POST",
        "route": "/graphql",
        "status": 200,
        "operation": "query Users",
        "codes": ["NOT_FOUND"],
        "tenant": "ten_1",
    }
    assert working["request_id"] == request["request_id"]
    assert working["tenant"] == "ten_1"


async def test_a_refused_caller_has_a_line_without_a_tenant(service, start_logging):
    stream = start_logging()
    async with service.client() as http:
        await http.post("/graphql", json={})

    [line] = lines(stream)

    assert (line["status"], line["codes"]) == (401, ["UNAUTHENTICATED"])
    assert "tenant" not in line
    assert "operation" not in line


async def test_other_requests_are_named_by_their_routes(service, start_logging):
    stream = start_logging()
    async with service.client() as http:
        await http.get(f"/proxy/con_1/api/0/organizations/{CANARY}/?q={CANARY}")
        await http.get("/assets/a.js")
        await http.get(f"/{CANARY}")
        await http.delete("/graphql")
        await http.get("/health")

    assert [(line["route"], line["status"], line.get("tenant")) for line in lines(stream)] == [
        ("/proxy/{connection_id}/api/0/{path:path}", 404, "ten_1"),
        ("/assets", 200, None),
        ("(unmatched)", 404, None),
        ("/graphql", 405, None),
    ]
    assert find_canary(CANARY, stream.getvalue().encode()) == []


async def test_each_request_has_an_id_of_its_own(service):
    one, other = await service.ask(), await service.ask()
    assert one.headers["x-request-id"] != other.headers["x-request-id"]


async def test_a_request_that_breaks_is_counted_as_500(service, start_logging, exported):
    stream = start_logging()
    async with service.client() as http:
        await http.get("/broken")

    assert [line["status"] for line in lines(stream)] == [500]
    [span] = exported.get_finished_spans()
    assert span.attributes["error.type"] == "500"
    assert find_canary(CANARY, span.to_json().encode()) == []


async def test_while_draining_clients_are_asked_to_go_elsewhere(service):
    assert "connection" not in (await service.ask()).headers
    service.is_draining = True
    assert (await service.ask()).headers["connection"] == "close"


async def test_a_span_for_the_request_and_one_below_it_for_the_call(service, exported):
    await service.ask()

    call, request = exported.get_finished_spans()

    assert (request.name, request.kind.name) == ("query Users", "SERVER")
    assert request.parent is None
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "sentry_graph.request_id": request.attributes["sentry_graph.request_id"],
        "sentry_graph.tenant": "ten_1",
        "graphql.operation.type": "query",
        "graphql.operation.name": "Users",
    }
    assert (call.name, call.kind.name) == ("GET organizations/{}/members/", "CLIENT")
    assert call.parent.span_id == request.context.span_id
    assert call.end_time - call.start_time == 200_000_000
    assert dict(call.attributes) == {
        "http.request.method": "GET",
        "url.template": "organizations/{}/members/",
        "server.address": "sentry.io",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
    }


async def test_query_text_arguments_and_headers_are_not_exported(service, exported):
    await service.ask(codes=("NOT_FOUND",), **{"x-note": CANARY})
    written = "".join(span.to_json() for span in exported.get_finished_spans())
    assert find_canary(CANARY, written.encode()) == []


async def test_a_token_for_a_name_is_masked(service, exported, start_logging):
    stream = start_logging()
    token = "sntryu_" + "5f0c9a3b" * 8
    await service.ask(name=token)
    written = "".join(span.to_json() for span in exported.get_finished_spans())
    assert find_canary(token, written.encode() + stream.getvalue().encode()) == []


async def test_an_operation_without_a_name(service, exported):
    await service.ask(name=None)
    assert exported.get_finished_spans()[1].name == "query"


async def test_a_callers_trace_is_continued(service, exported):
    await service.ask(traceparent=f"00-{TRACE}-{SPAN}-01")
    for span in exported.get_finished_spans():
        assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{exported.get_finished_spans()[1].parent.span_id:016x}" == SPAN


@pytest.mark.parametrize("header", ["", "00-0-0-01", f"00-{TRACE}-{SPAN}", "ff-" + "0" * 32, "x" * 5000])
async def test_a_broken_traceparent_begins_a_new_trace(service, exported, header):
    answer = await service.ask(traceparent=header)
    assert answer.status_code == 200
    assert exported.get_finished_spans()[1].parent is None


@pytest.mark.parametrize(("outcome", "attributes"), [("404", {"http.response.status_code": 404}), ("RATE_LIMITED", {})])
async def test_a_failed_call_is_marked_so(service, exported, outcome, attributes):
    service.observer.sentry_call(CallObservation("sentry.io", "x/", "GET", outcome, 0.1, 0))
    [span] = exported.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == outcome
    assert span.attributes["http.request.resend_count"] == 0
    assert attributes.items() <= span.attributes.items()


async def test_probes_are_counted_but_make_no_span(service, exported):
    async with service.client() as http:
        await http.get("/health")
    assert exported.get_finished_spans() == ()
    assert b'route="/health"' in service.observer.metrics.render()[0]


async def test_without_tracing_all_else_goes_on(start_logging):
    stream = start_logging(level="debug")
    service = Service(Observer.create(Settings(), version="1.0"))
    await service.ask()
    service.observer.close()
    assert [line["event"] for line in lines(stream)] == ["working", "sentry_call", "request"]
    assert (
        b'sentry_graph_sentry_calls_total{endpoint="organizations/{}/members/"'
        in (service.observer.metrics.render()[0])
    )


async def test_what_is_no_http_passes_untouched():
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> None: ...

    await Observer(Metrics("1.0")).wrap(app)({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_outside_of_a_request_there_is_nothing_to_note():
    Observer(Metrics("1.0")).graphql_request(kind="query", name=None, codes=[], has_run=True)


async def test_outside_of_a_request_callers_are_known_all_the_same():
    authenticator = Observer(Metrics("1.0")).wrap_authenticator(KnownCallers())
    assert (await authenticator.authenticate("Bearer x")).tenant_id == "ten_1"


def test_an_endpoint_switches_tracing_on():
    observer = Observer.create(Settings(otel_endpoint="http://127.0.0.1:9/"), version="1.0")
    assert observer._tracing is not None
    observer.close()


def test_an_endpoint_without_the_sdk_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "service.operations.tracing")
    with pytest.raises(ConfigurationError, match="OTEL_ENDPOINT is set") as raised:
        Observer.create(Settings(otel_endpoint="http://127.0.0.1:9/"), version="1.0")
    assert raised.value.cure == "Install the extra `otel`, or unset it."


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"]
)
def test_spans_are_sent_by_otlp_over_http(endpoint):
    processor = create_exporter(endpoint)
    assert processor.span_exporter._endpoint == "http://127.0.0.1:4318/v1/traces"  # type: ignore[attr-defined]
    processor.shutdown()
