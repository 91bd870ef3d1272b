"""``/graphql``: GraphQL over HTTP, on Starlette and Strawberry's executor, with nothing in between.

https://graphql.github.io/graphql-over-http/draft/
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

import strawberry
from graphql.execution import Executor
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ServiceError, Unauthenticated
from service.graphql_http.documents import Operation
from service.graphql_http.execution import finish_query
from service.graphql_http.graph import Graph, Observe, Prepared, RequestContext, StillWriting
from service.graphql_http.negotiation import (
    EVENT_STREAM,
    GRAPHQL_RESPONSE,
    JSON,
    accepts_event_stream,
    choose_media_type,
    wants_html,
)
from service.graphql_http.origins import check_origin, check_preflighted
from service.graphql_http.problems import MethodNotAllowed, NotAcceptable, OperationRefused, RequestTimeout
from service.graphql_http.requests import ClientDisconnected, GraphQLRequest, HttpRequest, read_get, read_post
from service.graphql_http.responses import (
    encode_payload,
    encode_response,
    find_codes,
    format_problem,
    format_unforeseen,
)
from service.graphql_http.sessions import Sessions
from service.graphql_http.sse import HEADERS as STREAM_HEADERS
from service.graphql_http.sse import EventStream, encode_whole
from service.graphql_http.subscriptions import Subscriptions
from service.graphql_http.websocket import SocketEndpoint
from service.settings import Settings
from service.tenants.caller import Caller, KnowsCallers

_METHODS = "GET, POST, OPTIONS"
ContextT = TypeVar("ContextT", bound=RequestContext)


def create_graphql_routes(
    schema: strawberry.Schema,
    *,
    settings: Settings,
    get_context: Callable[[Caller, GraphQLRequest], ContextT],
    authenticator: KnowsCallers,
    sessions: Sessions | None = None,
    observe: Observe | None = None,
    page: Callable[[], Response] | None = None,
    executor_class: type[Executor[Any]] | None = None,
) -> list[BaseRoute]:
    """The routes of the graph: HTTP, and a WebSocket where subscriptions are offered.

    ``page`` answers browsers that open it: GraphiQL. ``sessions`` are those of the process.
    Queries and mutations run on ``executor_class``, or else on the schema's own, as subscriptions do.

    Raises :class:`ConfigurationError` where a trusted document does not fit the schema.
    """
    graph = Graph(schema, settings=settings, get_context=get_context, observe=observe, executor_class=executor_class)
    subscriptions = Subscriptions(graph, limit=settings.subscriptions)
    sessions = sessions or Sessions(authenticator, limit=settings.subscriptions)
    endpoint = GraphQLEndpoint(
        graph, subscriptions, sessions, settings=settings, authenticator=authenticator, page=page
    )
    routes: list[BaseRoute] = [Route("/graphql", endpoint, include_in_schema=False)]
    if settings.subscriptions:
        socket = SocketEndpoint(
            graph,
            subscriptions,
            sessions,
            authenticator=authenticator,
            origins=frozenset(settings.cors_origins),
            max_bytes=settings.max_body_bytes,
        )
        routes.append(WebSocketRoute("/graphql", socket))
    return routes


class GraphQLEndpoint(Generic[ContextT]):
    """The ASGI application behind the HTTP route."""

    def __init__(
        self,
        graph: Graph[ContextT],
        subscriptions: Subscriptions[ContextT],
        sessions: Sessions,
        *,
        settings: Settings,
        authenticator: KnowsCallers,
        page: Callable[[], Response] | None,
    ) -> None:
        self._graph = graph
        self._subscriptions = subscriptions
        self._sessions = sessions
        self._origins = frozenset(settings.cors_origins)
        self._max_bytes = settings.max_body_bytes
        self._authenticator = authenticator
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = HttpRequest.of(scope, receive)
        response: ASGIApp
        if request.method == "OPTIONS":
            response = Response(status_code=204, headers={"allow": _METHODS})
        elif self._page is not None and _opens_page(request):
            response = self._page()
        else:
            response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: HttpRequest) -> ASGIApp:
        media_type, operation, observe = JSON, None, self._graph.observe
        try:
            media_type = choose_media_type(request.headers.get("accept"))
            caller, wanted = await self._receive(request)
            prepared = self._graph.prepare(caller, wanted)
            operation = prepared.operation
            _check_transport(request, operation)
            if operation.is_subscription:
                return await self._stream(request, prepared)
            return await self._run(request, prepared, media_type)
        except OperationRefused as refused:
            observe(operation, [refused.problem.code], has_run=False)
            # 6.4: a well-formed request whose operation cannot run is a 400, but a 200 to clients of application/json.
            return _refuse(refused.problem, media_type, status=400 if media_type == GRAPHQL_RESPONSE else 200)
        except ServiceError as error:
            observe(operation, [error.code], has_run=False)
            return _refuse(error, media_type, status=error.status)
        except ClientDisconnected:
            observe(operation, ["CLIENT_DISCONNECTED"], has_run=True)
            return Response(status_code=499)  # nginx's word for it; nobody reads it but the access log
        except Exception as error:  # noqa: BLE001 - the last stop: logged and masked
            observe(operation, [ServiceError.code], has_run=False)
            return _encode({"errors": format_unforeseen(error)}, media_type, status=500)

    async def _receive(self, request: HttpRequest) -> tuple[Caller, GraphQLRequest]:
        """Who asks for what. The body of an unknown caller is not read."""
        if request.method not in {"GET", "POST"}:
            raise MethodNotAllowed("This path answers GET and POST.", cure="Send the request by POST.")
        check_origin(request.headers, self._origins)
        try:
            with self._graph.deadlines.limit() as clock:
                caller = await self._authenticator.authenticate(request.headers.get("authorization"))
                if request.method == "POST":
                    return caller, await read_post(request, self._max_bytes)
        except TimeoutError:
            if not clock.is_expired:
                raise
            raise RequestTimeout(
                f"The request did not arrive within {self._graph.deadlines.seconds:g} seconds."
            ) from None
        check_preflighted(request.headers)
        return caller, read_get(request, self._max_bytes)

    async def _run(self, request: HttpRequest, prepared: Prepared, media_type: str) -> Response:
        """Run a query or mutation to its end or the deadline."""
        operation = prepared.operation
        try:
            payload = await self._graph.answer(prepared, finish=partial(finish_query, receive=request.receive))
        except StillWriting as still:
            self._graph.observe(operation, [still.problem.code], has_run=True)
            response = _refuse(still.problem, media_type, status=504)
            response.background = BackgroundTask(asyncio.wait, {still.writing})
            return response
        self._graph.observe(operation, find_codes(payload), has_run=True)
        return _encode(payload, media_type)

    async def _stream(self, request: HttpRequest, prepared: Prepared) -> EventStream:
        """Open a subscription, to be sent as a stream."""
        return EventStream(
            await self._subscriptions.open(prepared),
            caller=prepared.caller,
            authorization=request.headers.get("authorization"),
            sessions=self._sessions,
            done=partial(self._graph.observe, prepared.operation, has_run=True),
        )


def _check_transport(request: HttpRequest, operation: Operation) -> None:
    if request.method == "GET" and not (operation.is_query or operation.is_subscription):
        raise MethodNotAllowed("A GET may only query or subscribe.", cure="Send mutations by POST.")
    if operation.is_subscription and not accepts_event_stream(request.headers.get("accept")):
        raise NotAcceptable("A subscription is answered by a stream of events.")


def _opens_page(request: HttpRequest) -> bool:
    return request.method == "GET" and not request.query_string and wants_html(request.headers.get("accept"))


def _refuse(problem: ServiceError, media_type: str, *, status: int) -> Response:
    headers = {}
    if isinstance(problem, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(problem, MethodNotAllowed):
        headers["allow"] = _METHODS
    return _encode({"errors": format_problem(problem)}, media_type, status=status, headers=headers)


def _encode(
    payload: Mapping[str, Any], media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    if media_type == EVENT_STREAM and status == 200:
        return Response(encode_whole(encode_payload(payload)[0]), headers=STREAM_HEADERS)
    media_type = JSON if media_type == EVENT_STREAM else media_type
    return encode_response(payload, media_type=media_type, status=status, headers=headers)
