"""Prometheus metrics of one application object, in a registry of its own.

No label holds what a caller or Sentry can make up without bound: tenants, paths and names are in the logs and traces.
"""

import hmac
import ipaddress
import platform
from collections.abc import Callable, Sequence
from functools import cache

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.operations.record import RequestRecord
from service.sentry.calls import CallObservation

OTHER = "other"
_PREFIX = "sentry_graph"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_DELIVERY_SECONDS = (*_SECONDS, 60.0, 300.0, 1800.0, 7200.0, 86_400.0)
_MAX_SERIES = 2_000
_MAX_WORDS = 100
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")

# One more series for each counter, with the time at which it began. The switch exists for the whole process only.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class _FirstFew:
    """Lets the first ``limit`` different values pass as they are; whatever comes later is ``other``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[tuple[str, ...]] = set()

    def admit(self, *values: str) -> bool:
        if values not in self._seen:
            if len(self._seen) >= self._limit:
                return False
            self._seen.add(values)
        return True

    def bound(self, value: str) -> str:
        return value if self.admit(value) else OTHER


class Metrics:
    """What is counted; :meth:`render` writes it down."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # empty where there is no /proc
        GCCollector(registry=self.registry)
        build = Info(f"{_PREFIX}_build", "The version that runs.", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
        self._http_requests = self._counter("http_requests", "HTTP requests answered.", "route", "method", "status")
        self._http_seconds = self._histogram("http_request_seconds", "Seconds to the end of the answer.", "route")
        self._http_open = Gauge(f"{_PREFIX}_http_requests_open", "HTTP requests running.", registry=self.registry)
        self._streams_open = Gauge(
            f"{_PREFIX}_streams_open", "WebSockets and event streams open.", registry=self.registry
        )
        self._graphql_requests = self._counter(
            "graphql_requests",
            "GraphQL requests; outcome is OK, PARTIAL (some fields failed) or the code that refused the whole.",
            "type",
            "outcome",
        )
        self._graphql_seconds = self._histogram(
            "graphql_request_seconds", "Seconds to the end of a GraphQL request.", "type"
        )
        self._graphql_errors = self._counter("graphql_errors", "Errors in GraphQL answers.", "code")
        self._fallbacks = self._counter(
            "graphql_fallbacks", "Operations that were not compiled, and why: graphql-core ran them.", "reason"
        )
        self._calls = self._counter(
            "sentry_calls",
            "Calls to Sentry; outcome is the HTTP status or an error's code.",
            "host",
            "method",
            "endpoint",
            "outcome",
        )
        self._call_seconds = self._histogram(
            "sentry_call_seconds", "Seconds of a call to Sentry, waiting and repetitions included.", "host"
        )
        self._attempts = self._counter("sentry_attempts", "Requests sent to Sentry, repetitions included.", "host")
        self._unsent = self._counter(
            "sentry_calls_unsent", "Calls never sent: breaker open, no credential, or no turn in time.", "host"
        )
        self._webhooks = self._counter(
            "webhooks_received",
            "Sentry's webhooks by where they came to (app, receiver, unknown); outcome is accepted, repeat, "
            "quarantined, refused or failed.",
            "address",
            "outcome",
        )
        self._repairs = self._counter(
            "repairs",
            "Looks at a connection's issues; outcome is compared, took_stock (the first), postponed, failed, "
            "superseded or cancelled.",
            "outcome",
        )
        self._repaired = self._counter("repaired_events", "Events that no webhook told of.", "type")
        self._deliveries = self._counter(
            "webhook_deliveries",
            "Attempts to deliver an event to an endpoint; outcome is delivered, failed (tried again), dead (given up), "
            "or lost (came too late to count).",
            "outcome",
        )
        self._delivery_seconds = Histogram(
            f"{_PREFIX}_webhook_delivery_seconds",
            "Seconds from an event, or a replay of it, to the attempt that delivered it.",
            registry=self.registry,
            buckets=_DELIVERY_SECONDS,
        )
        self._pending = Gauge(
            f"{_PREFIX}_webhook_deliveries_pending",
            "Deliveries that wait for an attempt, of all processes; what is beyond 100 000 is not counted.",
            registry=self.registry,
        )
        self._series = _FirstFew(_MAX_SERIES)
        self._hosts = _FirstFew(_MAX_WORDS)
        self._outcomes = _FirstFew(_MAX_WORDS)
        self._codes = _FirstFew(_MAX_WORDS)

    def begin_http(self) -> None:
        """An HTTP request has come; :meth:`end_http` must follow."""
        self._http_open.inc()

    def end_http(self, record: RequestRecord) -> None:
        """An HTTP request has ended, and perhaps a GraphQL request in it."""
        self._http_open.dec()
        method = record.method if record.method in _METHODS else OTHER
        self._http_requests(record.route, method, str(record.status)).inc()
        if record.kind != "subscription":  # which lasts for as long as its reader likes
            self._http_seconds(record.route).observe(record.seconds)
        if record.is_graphql:
            self.count_graphql(record.kind, record.codes, has_run=record.has_run, seconds=record.seconds)

    def count_graphql(self, kind: str | None, codes: Sequence[str], *, has_run: bool, seconds: float) -> None:
        """A GraphQL operation has ended."""
        bound = [self._codes.bound(code) for code in codes]
        kind = kind or "unknown"
        outcome = "OK" if not bound else "PARTIAL" if has_run else bound[0]
        self._graphql_requests(kind, outcome).inc()
        self._graphql_seconds(kind).observe(seconds)
        for code in bound:
            self._graphql_errors(code).inc()

    def count_fallback(self, reason: str) -> None:
        """An operation was not compiled."""
        self._fallbacks(reason).inc()

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many WebSockets and event streams are open, whenever metrics are read."""
        self._streams_open.set_function(count)

    def count_call(self, call: CallObservation) -> None:
        """A call to Sentry has ended."""
        host = self._hosts.bound(call.host)
        method = call.method if call.method in _METHODS else OTHER
        outcome = self._outcomes.bound(call.outcome)
        if self._series.admit(host, method, call.template, outcome):
            self._calls(host, method, call.template, outcome).inc()
        else:
            self._calls(OTHER, OTHER, OTHER, outcome).inc()
        self._call_seconds(host).observe(call.seconds)
        if call.attempts:
            self._attempts(host).inc(call.attempts)
        else:
            self._unsent(host).inc()

    def count_webhook(self, address: str, outcome: str) -> None:
        """A webhook of Sentry's has been answered."""
        self._webhooks(address, outcome).inc()

    def count_repair(self, outcome: str, types: Sequence[str]) -> None:
        """A look at a connection's issues has ended; ``types`` are those of the events that it added."""
        self._repairs(outcome).inc()
        for type_ in types:
            self._repaired(type_).inc()

    def count_delivery(self, outcome: str, seconds: float) -> None:
        """An attempt to deliver an event has ended, so many seconds after the event or its replay."""
        self._deliveries(outcome).inc()
        if outcome == "delivered":
            self._delivery_seconds.observe(seconds)

    def set_pending(self, count: int) -> None:
        """So many deliveries wait."""
        self._pending.set(count)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that suits an ``Accept`` header, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    # Series by labels' values. prometheus_client looks each up under a lock, and keeps it for ever: so may a cache.
    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        return cache(Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry).labels)

    def _histogram(self, name: str, text: str, *labels: str) -> Callable[..., Histogram]:
        return cache(Histogram(f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=_SECONDS).labels)


def create_metrics_route(metrics: Metrics, *, token: str | None) -> Route:
    """``GET /metrics``: for whoever sends ``Authorization: Bearer <token>``; without a token, for this machine only.

    A proxy on this machine is not the client: what it forwards is refused.
    """
    expected = None if token is None else f"Bearer {token}".encode()

    async def serve(request: Request) -> Response:
        if expected is None:
            if not _is_local(request):
                return Response("Set SENTRY_GRAPH_METRICS_TOKEN to read metrics from another machine.\n", 403)
        elif not hmac.compare_digest(request.headers.get("authorization", "").encode(errors="replace"), expected):
            return Response("Send `Authorization: Bearer <token>`.\n", 401, {"www-authenticate": "Bearer"})
        body, media_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})

    return Route("/metrics", serve, methods=["GET"], include_in_schema=False)


def _is_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:  # a test client's name
        return False
