"""Running an operation on an executor, and what came of it."""

import asyncio
import contextlib
import gc
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLSchema
from graphql.execution import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

REFERENCE = StrawberryGraphQLCoreExecutionContext
"""graphql-core's executor, as Strawberry uses it."""

Outcome = tuple[str, list[tuple[Any, ...]]]
"""The data, with its keys in order, and the errors."""


def build(executor_class: type[Executor[Any]], schema: GraphQLSchema, document: DocumentNode, **options: Any) -> Any:
    """An executor of a document, whose variables must fit."""
    options.setdefault("raw_variable_values", None)
    executor = executor_class.build(schema, document, **options)
    assert isinstance(executor, Executor), executor
    return executor


async def run(executor: Any) -> ExecutionResult:
    """The result of an executor."""
    result = executor.execute_operation()
    return result if isinstance(result, ExecutionResult) else await result


def describe(result: ExecutionResult) -> Outcome:
    """What a client sees of a result."""
    assert result.errors is None or result.errors
    return repr(result.data), [
        (each.message, each.path, each.locations, each.extensions) for each in result.errors or ()
    ]


async def assert_nothing_runs(executor: Any) -> None:
    """Nothing but what resolvers handed to ``info.async_helpers.track``, which is theirs."""
    tracked = executor.background_futures
    while tracked:
        await asyncio.wait(tracked)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left


@contextlib.contextmanager
def leaving_nothing_behind() -> Iterator[None]:
    """Fails where a coroutine was never awaited, or an error was seen by nobody."""
    found: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda each: found.append(f"{each.exc_value} ({each.object!r})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert not found, found


@contextlib.contextmanager
def leaving_what_it_may() -> Iterator[None]:
    """For graphql-core itself, which leaves a coroutine behind now and then."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def quick_collections() -> Iterator[None]:
    """Lets the collector look only at what comes from here on."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
