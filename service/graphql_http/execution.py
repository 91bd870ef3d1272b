"""Running one operation: the executor that the schema names, and a client that may leave."""

import asyncio
import weakref
from collections.abc import AsyncIterable, Awaitable
from dataclasses import dataclass
from typing import Any, cast

import strawberry
from graphql import ExecutionResult, default_field_resolver, default_type_resolver
from graphql.execution import create_source_event_stream, execute_subscription_event
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.executor import Executor
from graphql.type.definition import GraphQLResolveInfoHelpers
from starlette.types import Receive
from strawberry.execution import optimized_is_awaitable

from service.graphql_http.documents import MAX_ERRORS, Document, Operation
from service.graphql_http.problems import InvalidVariables, OperationRefused
from service.graphql_http.requests import ClientDisconnected, GraphQLRequest, wait_for_disconnect

_PATIENCE = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs operations of one schema on its ``execution_context_class``, or another.

    Strawberry's own ``execute`` is left out: it parses and validates anew each time, and its hooks for extensions cost
    as much as a small query. So the schema must have no extensions and no operation directives of its own.
    """

    schema: strawberry.Schema
    hide_suggestions: bool
    executor_class: type[Executor[Any]] | None = None

    def __post_init__(self) -> None:
        if self.schema.extensions or self.schema.directives:
            raise ValueError("a schema that is served here can have no extensions and no operation directives")

    def start(
        self, document: Document, operation: Operation, request: GraphQLRequest, context: object
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Begin an operation: the result itself where no resolver has to wait.

        Raises :class:`OperationRefused` where the variables do not fit.
        """
        executor_class = self.executor_class or self.schema.execution_context_class
        executor = self._build(executor_class, document, operation, request, context)
        # Without @defer and @stream in the schema, which it does not enable, there is one result.
        return cast("ExecutionResult | Awaitable[ExecutionResult]", executor.execute_operation())

    def build(
        self, document: Document, operation: Operation, request: GraphQLRequest, context: object
    ) -> "Executor[Any]":
        """An operation with its variables, for :func:`open_source` and :func:`execute_event`.

        Raises :class:`OperationRefused` where the variables do not fit.
        """
        return self._build(self.schema.execution_context_class, document, operation, request, context)

    def _build(
        self,
        executor_class: "type[Executor[Any]]",
        document: Document,
        operation: Operation,
        request: GraphQLRequest,
        context: object,
    ) -> "Executor[Any]":
        variables = operation.variables.coerce(
            request.variables, max_errors=MAX_ERRORS, hide_suggestions=self.hide_suggestions
        )
        if isinstance(variables, list):
            raise OperationRefused(InvalidVariables(variables))
        # Not by its `build`, which looks up anew what the document and the operation hold.
        executor = executor_class(
            self.schema._schema,  # noqa: SLF001 - where every integration finds it
            document.fragments,
            {name: FragmentDetails(node) for name, node in document.fragments.items()},
            None,
            context,
            operation.node,
            variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=self.hide_suggestions,
            operation_extensions=request.extensions,  # type: ignore[call-arg]  # Strawberry's own, of its subclass
        )
        # The executor holds these as methods of its own: a cycle, and with it the context and all that it loaded would
        # stay until the collector comes.
        itself = weakref.proxy(executor)
        executor.async_helpers = GraphQLResolveInfoHelpers(
            gather=lambda values: itself.gather_async_work(values),  # noqa: PLW0108 - bound, it would hold the executor
            track=lambda values: itself.track_async_work(values),  # noqa: PLW0108 - the same
        )
        return executor


async def open_source(executor: "Executor[Any]") -> AsyncIterable[Any] | ExecutionResult:
    """Call a subscription's resolver: what its events come from, or errors only."""
    source = create_source_event_stream(executor)
    return await source if isinstance(source, Awaitable) else source


async def execute_event(executor: "Executor[Any]", event: object, context: object) -> ExecutionResult:
    """Resolve a subscription's selection for one event, in a context of its own: no loader outlives its event."""
    each = executor.build_per_event_executor(event)
    each.context_value = context
    result = execute_subscription_event(each)
    return await result if isinstance(result, Awaitable) else result


async def finish_query(
    running: Awaitable[ExecutionResult], receive: Receive, *, patience: float = _PATIENCE
) -> ExecutionResult:
    """Wait for a query while its client does; cancelled, or left by the client, it stops all that it began.

    Whether the client is still there is looked at after ``patience`` seconds: most queries have ended by then.

    The query runs in the caller's task: in one of its own, its result would wait for a turn of the loop in which all
    other requests may build theirs, and 128 clients cost 20 MiB more. Raises :class:`ClientDisconnected`.
    """
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    cancelled_before, has_left, is_over = task.cancelling(), False, False
    gone: asyncio.Future[None] | None = None

    def leave(_: "asyncio.Future[None]") -> None:
        nonlocal has_left
        if not is_over:  # it may be called a turn after the client left, in which the query has ended
            has_left = True
            task.cancel()

    def watch() -> None:
        nonlocal gone
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        gone.add_done_callback(leave)

    watching = asyncio.get_running_loop().call_later(patience, watch)
    try:
        return await running
    except asyncio.CancelledError:
        if has_left and task.cancelling() == cancelled_before + 1:  # by nobody else, such as a deadline
            raise ClientDisconnected from None
        raise
    finally:
        is_over = True
        if has_left:
            task.uncancel()
        watching.cancel()
        if gone is not None:
            gone.cancel()
