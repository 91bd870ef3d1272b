"""The executor to be plugged in: compiled where it can be, graphql-core's where it cannot."""

from collections.abc import Callable
from typing import Any, Final

from graphql import ExecutionResult, OperationType
from graphql.execution import Executor
from graphql.pyutils import AwaitableOrValue
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from service.executor.cache import Cache
from service.executor.plan import Plan
from service.executor.run import Run
from service.executor.serial import execute_serially
from service.executor.survey import NotCompiled

MOST_FIELDS: Final = 20_000
"""Fields of all compiled operations that are kept: about 3 KB each."""

OnFallback = Callable[[str], None]


def create_executor(
    on_fallback: OnFallback | None = None, *, most_fields: int = MOST_FIELDS, compile_after: int = 2
) -> type[Executor[Any]]:
    """A class to be one schema's ``execution_context_class``, with a cache of its own.

    ``on_fallback`` is told, in one word, why an operation is left to graphql-core. The first ``compile_after`` objects
    at each place of an operation are built without code of their own, which would take longer to make than they do.
    """
    cache = Cache(most_fields, compile_after)

    class CompiledExecutor(StrawberryGraphQLCoreExecutionContext):
        """Runs compiled operations."""

        def execute_operation(self, serially: bool | None = None) -> AwaitableOrValue[Any]:  # noqa: FBT001
            """The operation's result, or an awaitable of it."""
            try:
                plan = _find_plan(self, cache)
            except NotCompiled as refused:
                if on_fallback is not None:
                    on_fallback(refused.reason)
                return super().execute_operation(serially)
            if serially is None:
                serially = self.operation.operation is OperationType.MUTATION
            return _execute(self, plan, serially=serially)

    return CompiledExecutor


def _find_plan(executor: Executor[Any], cache: Cache) -> Plan:
    for reason, applies in (
        ("middleware", bool(executor.middleware_manager and executor.middleware_manager.middlewares)),
        ("abort_signal", executor.abort_signal is not None),
        ("hooks", executor.hooks is not None),
        ("error_propagation", not executor.error_propagation),
    ):
        if applies:
            raise NotCompiled(reason)
    return cache.find(executor)


def _execute(executor: Executor[Any], plan: Plan, *, serially: bool) -> AwaitableOrValue[ExecutionResult]:
    root = plan.root
    if not root.fields:
        return ExecutionResult({}, None)
    run = Run(executor, root.fields[0])
    if serially:
        return run.execute(lambda: execute_serially(run, root))
    return run.execute(lambda: root.build(run, executor.root_value, None))
