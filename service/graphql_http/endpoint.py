"""``/graphql``: GraphQL over HTTP, on Starlette and Strawberry's executor, with nothing in between.

https://graphql.github.io/graphql-over-http/draft/
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import strawberry
from graphql import ExecutionResult
from graphql.execution import Executor
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.errors import DeadlineExceeded, OutcomeUnknown, ServiceError, Unauthenticated
from service.graphql_http.cost import read_costs
from service.graphql_http.documents import Document, Documents, Operation
from service.graphql_http.execution import Runner, finish_query
from service.graphql_http.limits import Limits
from service.graphql_http.negotiation import JSON, choose_media_type, wants_html
from service.graphql_http.origins import check_origin, check_preflighted
from service.graphql_http.persisted import AutomaticDocuments, PersistedDocuments, TrustedDocuments
from service.graphql_http.problems import MalformedRequest, MethodNotAllowed, OperationRefused, RequestTimeout
from service.graphql_http.requests import ClientDisconnected, GraphQLRequest, read_get, read_post
from service.graphql_http.responses import (
    encode_response,
    format_field_errors,
    format_problem,
    format_unforeseen,
)
from service.settings import Settings
from service.tenants.caller import Caller, KnowsCallers


class Observe(Protocol):
    """Is told of each request that was answered: operation type and name where known, and its errors' codes."""

    def __call__(self, *, kind: str | None, name: str | None, codes: Sequence[str], has_run: bool) -> None:
        """``has_run`` is False where the request was refused as a whole."""
        ...


class RequestContext(Protocol):
    """What a request's context offers here."""

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Added to the answer, where it is not empty; looked at once the operation has run."""
        ...


_METHODS = "GET, POST, OPTIONS"
ContextT = TypeVar("ContextT", bound=RequestContext)


def create_graphql_route(
    schema: strawberry.Schema,
    *,
    settings: Settings,
    get_context: Callable[[Caller, GraphQLRequest], ContextT],
    authenticator: KnowsCallers,
    observe: Observe | None = None,
    page: Callable[[], Response] | None = None,
    executor_class: type[Executor[Any]] | None = None,
) -> Route:
    """The route of the graph; ``page`` answers browsers that open it: GraphiQL.

    Operations run on ``executor_class``, or else on the schema's own.

    Raises :class:`ConfigurationError` where a trusted document does not fit the schema.
    """
    limits = Limits.of(settings)
    documents = Documents(schema._schema, limits, read_costs(schema))  # noqa: SLF001 - where every integration finds it
    trusted = settings.trusted_documents
    endpoint = GraphQLEndpoint(
        Runner(schema, hide_suggestions=not settings.suggestions, executor_class=executor_class),
        documents=documents,
        persisted=TrustedDocuments.read(trusted, documents) if trusted is not None else AutomaticDocuments(),
        settings=settings,
        get_context=get_context,
        authenticator=authenticator,
        observe=observe,
        page=page,
    )
    return Route("/graphql", endpoint, include_in_schema=False)


class GraphQLEndpoint(Generic[ContextT]):
    """The ASGI application behind the route."""

    def __init__(
        self,
        runner: Runner,
        *,
        documents: Documents,
        persisted: PersistedDocuments,
        settings: Settings,
        get_context: Callable[[Caller, GraphQLRequest], ContextT],
        authenticator: KnowsCallers,
        observe: Observe | None,
        page: Callable[[], Response] | None,
    ) -> None:
        self._runner = runner
        self._documents = documents
        self._persisted = persisted
        self._origins = frozenset(settings.cors_origins)
        self._deadline = settings.request_deadline
        self._max_bytes = settings.max_body_bytes
        self._max_cost = settings.max_cost
        self._get_context = get_context
        self._authenticator = authenticator
        self._tell = observe
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        if request.method == "OPTIONS":
            response = Response(status_code=204, headers={"allow": _METHODS})
        elif self._page is not None and _opens_page(request):
            response = self._page()
        else:
            response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        media_type, operation = JSON, None
        try:
            media_type = choose_media_type(request.headers.get("accept"))
            caller, wanted = await self._receive(request)
            document, operation = self._prepare(request.method, caller, wanted)
            return await self._run(request, caller, wanted, document, operation, media_type)
        except OperationRefused as refused:
            # 6.4: a well-formed request whose operation cannot run is a 400, but a 200 to clients of application/json.
            self._observe(operation, [refused.problem.code], has_run=False)
            return _refuse(refused.problem, media_type, status=200 if media_type == JSON else 400)
        except ServiceError as error:
            self._observe(operation, [error.code], has_run=False)
            return _refuse(error, media_type, status=error.status)
        except ClientDisconnected:
            self._observe(operation, ["CLIENT_DISCONNECTED"], has_run=True)
            return Response(status_code=499)  # nginx's word for it; nobody reads it but the access log
        except Exception as error:  # noqa: BLE001 - the last stop: logged and masked
            self._observe(operation, [ServiceError.code], has_run=False)
            return encode_response({"errors": format_unforeseen(error)}, media_type=media_type, status=500)

    def _observe(self, operation: Operation | None, codes: Sequence[str], *, has_run: bool) -> None:
        if self._tell is not None:
            node = operation.node if operation else None
            name = node.name.value if node and node.name else None
            self._tell(kind=node.operation.value if node else None, name=name, codes=codes, has_run=has_run)

    async def _receive(self, request: Request) -> tuple[Caller, GraphQLRequest]:
        """Who asks for what. The body of an unknown caller is not read."""
        if request.method not in {"GET", "POST"}:
            raise MethodNotAllowed("This path answers GET and POST.", cure="Send the request by POST.")
        check_origin(request.headers, self._origins)
        try:
            async with asyncio.timeout(self._deadline) as clock:
                caller = await self._authenticator.authenticate(request.headers.get("authorization"))
                if request.method == "POST":
                    return caller, await read_post(request, self._max_bytes)
        except TimeoutError:
            if not clock.expired():
                raise
            raise RequestTimeout(f"The request did not arrive within {self._deadline:g} seconds.") from None
        check_preflighted(request.headers)
        return caller, read_get(request, self._max_bytes)

    def _prepare(self, method: str, caller: Caller, wanted: GraphQLRequest) -> tuple[Document, Operation]:
        try:
            text = self._persisted.find(caller.tenant_id, wanted)
            document = self._documents.load(text)
            self._persisted.remember(caller.tenant_id, wanted)
            operation = document.operation(wanted.operation_name)
            operation.cost.check(wanted.variables, self._max_cost)
        except MalformedRequest:
            raise
        except ServiceError as error:
            raise OperationRefused(error) from None
        if method == "GET" and not operation.is_query:
            raise MethodNotAllowed("A GET may only query.", cure="Send mutations by POST.")
        return document, operation

    async def _run(
        self,
        request: Request,
        caller: Caller,
        wanted: GraphQLRequest,
        document: Document,
        operation: Operation,
        media_type: str,
    ) -> Response:
        """Run an operation to its end or the deadline. A mutation that has begun is never broken off half-way."""
        writing: asyncio.Future[ExecutionResult] | None = None
        try:
            async with asyncio.timeout(self._deadline) as clock:
                context = self._get_context(caller, wanted)
                running = self._runner.start(document, operation, wanted, context)
                if isinstance(running, ExecutionResult):
                    result = running
                elif operation.is_query:
                    result = await finish_query(running, request.receive)
                else:
                    writing = asyncio.ensure_future(running)
                    result = await asyncio.shield(writing)
        except TimeoutError:
            if not clock.expired():
                raise
            if writing is None:
                raise DeadlineExceeded(f"The request took longer than {self._deadline:g} seconds.") from None
            unknown = OutcomeUnknown(
                f"The request took longer than {self._deadline:g} seconds; its changes may still complete."
            )
            self._observe(operation, [unknown.code], has_run=True)
            response = _refuse(unknown, media_type, status=504)
            response.background = BackgroundTask(asyncio.wait, {writing})
            return response
        payload: dict[str, Any] = {"data": result.data}
        if result.errors:
            payload["errors"] = format_field_errors(result.errors)
        if extensions := context.extensions:
            payload["extensions"] = extensions
        codes = [error["extensions"]["code"] for error in payload.get("errors", ())]
        self._observe(operation, codes, has_run=True)
        return encode_response(payload, media_type=media_type)


def _opens_page(request: Request) -> bool:
    return request.method == "GET" and not request.scope["query_string"] and wants_html(request.headers.get("accept"))


def _refuse(problem: ServiceError, media_type: str, *, status: int) -> Response:
    headers = {}
    if isinstance(problem, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(problem, MethodNotAllowed):
        headers["allow"] = _METHODS
    return encode_response({"errors": format_problem(problem)}, media_type=media_type, status=status, headers=headers)
