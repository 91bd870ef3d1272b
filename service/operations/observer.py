"""One object that is told what happens, and turns it into metrics, traces and a log line for each request.

The composition root wraps the application and the authenticator with it, and gives its methods to the GraphQL route
and the Sentry client as their hooks; none of these knows what becomes of what they tell.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ConfigurationError
from service.operations.metrics import Metrics
from service.operations.record import UNMATCHED, RequestRecord, current, describe_operation, new_request_id
from service.sentry.calls import CallObservation
from service.settings import Settings

if TYPE_CHECKING:
    from service.operations.tracing import Tracing

# Asked for every few seconds by machines: counted, but neither logged nor traced.
_PROBES = frozenset({"/health", "/ready", "/metrics"})

_log = structlog.get_logger(__name__)
_logger = logging.getLogger(__name__)  # tells for less whether it is worth while to make a line up


class _Caller(Protocol):
    @property
    def tenant_id(self) -> str: ...


CallerT_co = TypeVar("CallerT_co", bound=_Caller, covariant=True)


class Authenticator(Protocol[CallerT_co]):
    """Knows callers by their ``Authorization`` header."""

    async def authenticate(self, authorization: str | None) -> CallerT_co:
        """The caller. Raises :class:`service.errors.Unauthenticated`."""
        ...


class Observer:
    """Counts, traces and logs."""

    def __init__(self, metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        self.metrics = metrics
        self._tracing = tracing

    @classmethod
    def create(cls, settings: Settings, *, version: str) -> "Observer":
        """As the settings ask for. Raises :class:`ConfigurationError` where the OpenTelemetry SDK is missing."""
        return cls(Metrics(version), _create_tracing(settings.otel_endpoint, version))

    def wrap(self, app: ASGIApp, *, is_draining: Callable[[], bool] = lambda: False) -> "ObservedApp":
        """The application, observed; while draining, its answers ask clients to connect anew, elsewhere."""
        return ObservedApp(app, self, is_draining=is_draining)

    def wrap_authenticator(self, authenticator: Authenticator[CallerT_co]) -> Authenticator[CallerT_co]:
        """The authenticator, which from then on names the tenant in the request's log lines."""
        return _ObservedAuthenticator(authenticator)

    def graphql_request(
        self, *, kind: str | None, name: str | None, codes: Sequence[str], has_run: bool, seconds: float | None = None
    ) -> None:
        """A GraphQL operation has ended: its type and name where known, its errors' codes.

        ``has_run`` is False where it was refused as a whole; ``seconds`` are given of one over a WebSocket, which is no
        request of its own.
        """
        if seconds is not None:
            self.metrics.count_graphql(kind, codes, has_run=has_run, seconds=seconds)
            _log_operation(kind, name, codes, seconds)
        elif record := current.get():
            record.is_graphql = True
            record.kind, record.name = kind, name
            record.codes, record.has_run = tuple(codes), has_run

    def graphql_fallback(self, reason: str) -> None:
        """An operation was left to graphql-core's own executor, for a reason of one word."""
        self.metrics.count_fallback(reason)

    def sentry_call(self, call: CallObservation) -> None:
        """A call to Sentry has ended."""
        self.metrics.count_call(call)
        if self._tracing:
            self._tracing.sentry_call(call)
        if _logger.isEnabledFor(logging.DEBUG) and current.get():  # while serving; a command's output is its own
            _log.debug("sentry_call", host=call.host, method=call.method, endpoint=call.template, outcome=call.outcome)

    def webhook(self, address: str, outcome: str) -> None:
        """A webhook of Sentry's has been answered: the kind of address it came to, and what became of it."""
        self.metrics.count_webhook(address, outcome)

    def repair(self, outcome: str, types: Sequence[str]) -> None:
        """A look at a connection's issues has ended: how, and the types of the events that it added."""
        self.metrics.count_repair(outcome, types)

    def delivery(self, outcome: str, seconds: float) -> None:
        """An attempt to deliver an event to an endpoint has ended, so many seconds after the event."""
        self.metrics.count_delivery(outcome, seconds)

    def deliveries_pending(self, count: int) -> None:
        """So many deliveries wait for an attempt."""
        self.metrics.set_pending(count)

    def request(self, record: RequestRecord, headers: Headers) -> contextlib.AbstractContextManager[None]:
        """Runs around a request; ``record`` is complete at its end."""
        return self._tracing.request(record, headers) if self._tracing else contextlib.nullcontext()

    def close(self) -> None:
        """Send what is left of the traces. Blocks; call it off the event loop."""
        if self._tracing:
            self._tracing.close()


class ObservedApp:
    """ASGI middleware: gives each request an id and a record, and writes the record down at its end.

    The id is in the answer's ``X-Request-Id`` and in every log line of the request.
    """

    def __init__(self, app: ASGIApp, observer: Observer, *, is_draining: Callable[[], bool]) -> None:
        self._app = app
        self._observer = observer
        self._is_draining = is_draining
        self._routes: dict[object, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, observed."""
        if scope["type"] != "http":
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(request_id=new_request_id())
            await self._app(scope, receive, send)
            return
        record = RequestRecord(scope["method"])
        is_probe = scope["path"] in _PROBES
        token = current.set(record)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=record.request_id)
        metrics = self._observer.metrics
        metrics.begin_http()
        started = time.perf_counter()

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                own = {b"x-request-id": record.request_id.encode()}
                if self._is_draining():
                    own[b"connection"] = b"close"
                headers = message.get("headers", ())
                message["headers"] = [*(each for each in headers if each[0] not in own), *own.items()]
            await send(message)

        span = contextlib.nullcontext() if is_probe else self._observer.request(record, Headers(scope=scope))
        try:
            with span:
                try:
                    await self._app(scope, receive, send_observed)
                finally:
                    record.route = self._find_route(scope)
                    record.seconds = time.perf_counter() - started
        finally:
            metrics.end_http(record)
            if not is_probe:
                _log_request(record)
            current.reset(token)

    def _find_route(self, scope: Scope) -> str:
        """The template of the path that was matched. FastAPI says which endpoint it chose, but not by which route."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return UNMATCHED
        if endpoint not in self._routes:
            # A mount's endpoint is the application that is mounted.
            routes = (each for each in scope["app"].routes if endpoint in (_get(each, "endpoint"), _get(each, "app")))
            self._routes[endpoint] = _get(next(routes, None), "path") or UNMATCHED
        return self._routes[endpoint]


class _ObservedAuthenticator(Authenticator[CallerT_co]):
    def __init__(self, inner: Authenticator[CallerT_co]) -> None:
        self._inner = inner

    async def authenticate(self, authorization: str | None) -> CallerT_co:
        caller = await self._inner.authenticate(authorization)
        if record := current.get():
            record.tenant = caller.tenant_id
        structlog.contextvars.bind_contextvars(tenant=caller.tenant_id)
        return caller


def _create_tracing(endpoint: str | None, version: str) -> "Tracing | None":
    if endpoint is None:
        return None
    try:
        from service.operations.tracing import Tracing, create_exporter  # noqa: PLC0415 - the SDK is optional and large
    except ImportError:
        raise ConfigurationError(
            "SENTRY_GRAPH_OTEL_ENDPOINT is set, but the OpenTelemetry SDK is not installed.",
            cure="Install the extra `otel`, or unset it.",
        ) from None
    return Tracing(create_exporter(endpoint), version=version)


def _get(route: object, name: str) -> Any:
    return getattr(route, name, None)


def _log_operation(kind: str | None, name: str | None, codes: Sequence[str], seconds: float) -> None:
    said = {"operation": describe_operation(kind, name), "codes": tuple(codes)}
    _log.info("operation", ms=round(seconds * 1000, 1), **{name: value for name, value in said.items() if value})


def _log_request(record: RequestRecord) -> None:
    if not _logger.isEnabledFor(logging.INFO):
        return
    said = {"operation": record.operation, "codes": record.codes, "tenant": record.tenant}
    _log.info(
        "request",
        method=record.method,
        route=record.route,
        status=record.status,
        ms=round(record.seconds * 1000, 1),
        **{name: value for name, value in said.items() if value},
    )
