"""A graph with its guards: the same whatever way a request comes by."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import strawberry
from graphql import ExecutionResult
from graphql.execution import Executor

from service.deadlines import Deadlines
from service.errors import DeadlineExceeded, OutcomeUnknown, ServiceError
from service.graphql_http.cost import read_costs
from service.graphql_http.documents import Document, Documents, Operation
from service.graphql_http.execution import Runner
from service.graphql_http.limits import Limits
from service.graphql_http.persisted import AutomaticDocuments, PersistedDocuments, TrustedDocuments
from service.graphql_http.problems import MalformedRequest, OperationRefused
from service.graphql_http.requests import GraphQLRequest
from service.graphql_http.responses import build_payload
from service.settings import Settings
from service.tenants.caller import Caller


class RequestContext(Protocol):
    """What a request's context offers here."""

    @property
    def extensions(self) -> Mapping[str, Any]:
        """Added to the answer, where it is not empty; looked at once the operation has run."""
        ...


class Observe(Protocol):
    """Is told of each operation that has ended: its type and name where known, and its errors' codes."""

    def __call__(
        self, *, kind: str | None, name: str | None, codes: Sequence[str], has_run: bool, seconds: float | None = None
    ) -> None:
        """``has_run`` is False where it was refused as a whole; ``seconds`` are given of one over a WebSocket."""
        ...


ContextT = TypeVar("ContextT", bound=RequestContext)


class Prepared(msgspec.Struct, frozen=True):
    """An operation that has passed the guards: who asks, by what request, and what is to run."""

    caller: Caller
    request: GraphQLRequest
    document: Document
    operation: Operation


class StillWriting(Exception):
    """A mutation took too long to wait for, and is left to end by itself: ``writing`` does."""

    def __init__(self, problem: OutcomeUnknown, writing: "asyncio.Future[ExecutionResult]") -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.writing = writing


Finish = Callable[[Awaitable[ExecutionResult]], Awaitable[ExecutionResult]]


async def _finish(running: Awaitable[ExecutionResult]) -> ExecutionResult:
    return await running


class Graph(Generic[ContextT]):
    """Prepares and runs operations of one schema."""

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        settings: Settings,
        get_context: Callable[[Caller, GraphQLRequest], ContextT],
        observe: Observe | None = None,
        executor_class: type[Executor[Any]] | None = None,
    ) -> None:
        """Raises :class:`ConfigurationError` where a trusted document does not fit the schema."""
        self.runner = Runner(schema, hide_suggestions=not settings.suggestions, executor_class=executor_class)
        self.get_context = get_context
        self.deadlines = Deadlines(settings.request_deadline)
        documents = Documents(schema._schema, Limits.of(settings), read_costs(schema))  # noqa: SLF001 - where every integration finds it
        trusted = settings.trusted_documents
        self._documents = documents
        self._persisted: PersistedDocuments = (
            TrustedDocuments.read(trusted, documents) if trusted is not None else AutomaticDocuments()
        )
        self._max_cost = settings.max_cost
        self._tell = observe

    def prepare(self, caller: Caller, request: GraphQLRequest) -> Prepared:
        """The operation that a request asks for.

        Raises :class:`MalformedRequest`, or :class:`OperationRefused` where it is well-formed and may not run.
        """
        try:
            text = self._persisted.find(caller.tenant_id, request)
            document = self._documents.load(text)
            self._persisted.remember(caller.tenant_id, request)
            operation = document.operation(request.operation_name)
            operation.cost.check(request.variables, self._max_cost)
        except MalformedRequest:
            raise
        except ServiceError as error:
            raise OperationRefused(error) from None
        return Prepared(caller, request, document, operation)

    async def answer(self, prepared: Prepared, *, finish: Finish = _finish) -> dict[str, Any]:
        """Run a query or mutation to its end or the deadline: the payload of the answer.

        ``finish`` waits for a query; a mutation that has begun is never broken off half-way.
        Raises :class:`OperationRefused`, :class:`DeadlineExceeded` (a query) and :class:`StillWriting` (a mutation).
        """
        writing: asyncio.Future[ExecutionResult] | None = None
        try:
            with self.deadlines.limit() as clock:
                context = self.get_context(prepared.caller, prepared.request)
                running = self.runner.start(prepared.document, prepared.operation, prepared.request, context)
                if isinstance(running, ExecutionResult):
                    result = running
                elif prepared.operation.is_query:
                    result = await finish(running)
                else:
                    writing = asyncio.ensure_future(running)
                    result = await asyncio.shield(writing)
        except TimeoutError:
            if not clock.is_expired:
                raise
            if writing is None:
                raise DeadlineExceeded(f"The request took longer than {self.deadlines.seconds:g} seconds.") from None
            problem = OutcomeUnknown(
                f"The request took longer than {self.deadlines.seconds:g} seconds; its changes may still complete."
            )
            raise StillWriting(problem, writing) from None
        return build_payload(result, context.extensions)

    def observe(
        self, operation: Operation | None, codes: Sequence[str], *, has_run: bool, seconds: float | None = None
    ) -> None:
        """Tell whoever observes that an operation has ended, or that a request came as far as naming none."""
        if self._tell is not None:
            node = operation.node if operation else None
            name = node.name.value if node and node.name else None
            kind = node.operation.value if node else None
            self._tell(kind=kind, name=name, codes=codes, has_run=has_run, seconds=seconds)
