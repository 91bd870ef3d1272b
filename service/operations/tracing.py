"""OpenTelemetry traces. Imported only where an endpoint is set, and so is the SDK.

A span knows of a GraphQL request its type and name, of a call to Sentry its method, endpoint template and status.
Query texts, arguments, paths and headers hold what is a customer's, and are never exported.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.operations.record import RequestRecord
from service.operations.redaction import redact_text
from service.sentry.calls import CallObservation

_TRACES_PATH = "/v1/traces"
_NANOSECONDS = 1_000_000_000


def create_exporter(endpoint: str) -> SpanProcessor:
    """Sends spans in batches to an OTLP/HTTP endpoint: its base address, or all of it with ``/v1/traces``.

    Headers, such as a collector's key, are read from the SDK's own ``OTEL_EXPORTER_OTLP_HEADERS``.
    """
    address = endpoint.removesuffix("/")
    return BatchSpanProcessor(OTLPSpanExporter(address.removesuffix(_TRACES_PATH) + _TRACES_PATH))


class Tracing:
    """Makes spans, and hands them to ``processor``."""

    def __init__(self, processor: SpanProcessor, *, version: str) -> None:
        resource = Resource.create({"service.name": "sentry-graph", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("sentry-graph", version)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, record: RequestRecord, headers: Mapping[str, str]) -> Iterator[None]:
        """The span of an HTTP request, under the caller's own where a ``traceparent`` header names one (W3C).

        Its end is described by what ``record`` holds then.
        """
        parent = self._propagator.extract(
            {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        )
        with self._tracer.start_as_current_span(
            record.method,
            parent,
            kind=SpanKind.SERVER,
            record_exception=False,  # its message may quote anything
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                _describe(span, record)

    def sentry_call(self, call: CallObservation) -> None:
        """The span of a call to Sentry that has just ended, under the request that needed it first."""
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{call.method} {call.template}",
            kind=SpanKind.CLIENT,
            start_time=end - int(call.seconds * _NANOSECONDS),
            attributes={
                "http.request.method": call.method,
                "url.template": call.template,
                "server.address": call.host,
                "http.request.resend_count": max(call.attempts - 1, 0),
            },
        )
        if call.outcome.isdecimal():
            span.set_attribute("http.response.status_code", int(call.outcome))
        if not call.outcome.isdecimal() or int(call.outcome) >= 400:
            span.set_attribute("error.type", call.outcome)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send what is left, and stop. Blocks for as long as the exporter takes."""
        self._provider.shutdown()


def _describe(span: Span, record: RequestRecord) -> None:
    operation = record.operation
    span.update_name(redact_text(operation or f"{record.method} {record.route}", limit=100))
    span.set_attributes(
        {
            "http.request.method": record.method,
            "http.route": record.route,
            "http.response.status_code": record.status,
            "sentry_graph.request_id": record.request_id,
        }
    )
    if record.tenant:
        span.set_attribute("sentry_graph.tenant", record.tenant)
    if record.kind:
        span.set_attribute("graphql.operation.type", record.kind)
    if record.name:
        span.set_attribute("graphql.operation.name", redact_text(record.name, limit=100))
    if record.codes or record.status >= 500:
        span.set_attribute("error.type", record.codes[0] if record.codes else str(record.status))
        span.set_status(Status(StatusCode.ERROR))
