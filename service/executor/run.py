"""One execution of a compiled operation: what the generated code and the places share while it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from graphql import ExecutionResult, GraphQLError
from graphql.execution import Executor
from graphql.pyutils import Path

if TYPE_CHECKING:
    from service.executor.batch import Batch
    from service.executor.places import Field

PathLike = Any
"""A ``Path``, or plain ``(prev, key, typename)`` tuples where nobody looks at it unless there is an error."""

make_path: Final[Callable[[tuple[Any, ...]], Path]] = partial(tuple.__new__, Path)
"""``Path`` from a tuple of its parts, at a third of the cost of its constructor."""


def real_path(path: PathLike) -> Any:
    """The ``Path`` that plain tuples stand for; None is the root."""
    if path is None or path.__class__ is Path:
        return path
    prev, key, typename = path
    return make_path((real_path(prev), key, typename))


class Run:
    """The state of one execution.

    ``waits`` counts the coroutines begun so far: generated code compares it before and after an object to learn
    whether anything in it has to be waited for.
    """

    __slots__ = (
        "_abandoned",
        "_arguments",
        "_background",
        "_batch_tasks",
        "_batches",
        "_broken",
        "_coroutines",
        "_info_head",
        "_loop",
        "_nulled",
        "_owned",
        "_tail",
        "bubbling",
        "errors",
        "executor",
        "field_resolver",
        "is_awaitable",
        "waits",
    )

    def __init__(self, executor: Executor[Any], sample: "Field") -> None:
        self.executor = executor
        self.errors = executor.collected_errors
        self.is_awaitable: Callable[[Any], bool] = executor.is_awaitable
        self.field_resolver = executor.field_resolver
        self.waits = 0
        self.bubbling: GraphQLError | None = None
        # Whatever info the executor's class makes; all but its first five parts is the same for every field.
        info = executor.build_resolve_info(
            sample.definition, sample.nodes, sample.parent_type, Path(None, sample.key, None)
        )
        self._info_head = partial(tuple.__new__, type(info))
        self._tail = tuple(info)[5:]
        self._arguments: dict[Field, dict[str, Any]] = {}
        self._batches: dict[Field, Batch] = {}
        self._coroutines: list[Any] = []
        self._abandoned: list[list[Any]] = []
        self._background: list[asyncio.Future[Any]] = []
        self._owned: set[int] = set()
        self._batch_tasks: set[asyncio.Task[None]] = set()
        self._nulled: list[Path | None] = []
        self._broken = False
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- what the generated code and the places call ---

    def info(self, head: tuple[Any, ...], path: Path) -> Any:
        """A field's ``GraphQLResolveInfo``."""
        return self._info_head((*head, path, *self._tail))

    def arguments(self, field: "Field") -> dict[str, Any]:
        """A field's arguments that hold variables: read once, where sharing the values harms nobody.

        Raises GraphQLError where they do not fit.
        """
        found = self._arguments.get(field)
        if found is None:
            executor = self.executor
            found = field.arguments.fill(executor.variable_values, hide_suggestions=executor.hide_suggestions)
            if field.arguments.can_be_shared:
                self._arguments[field] = found
        return found

    def later(self, coroutine: Coroutine[Any, Any, Any], *held: Any) -> Coroutine[Any, Any, Any]:
        """Note a coroutine that somebody up the tree awaits, and the awaitables that it holds itself."""
        self.waits += 1
        self._coroutines.append(coroutine)
        self._coroutines.extend(held)
        return coroutine

    def bubble(self, error: GraphQLError) -> GraphQLError:
        """Note an error that nulls the object around it; to be raised."""
        self._broken = True
        self.bubbling = error
        return error

    def abandon(self, values: Iterable[Any], rest: Iterator[Any] | None = None) -> None:
        """Let the coroutines among ``values``, and awaitables left in ``rest``, run on beside the operation.

        Their object is gone: graphql-core lets them settle in the background, so their errors may still be heard. What
        has not settled when the operation ends is cancelled.
        """
        self._broken = True
        left = [value for value in values if value.__class__ is CoroutineType]
        if rest is not None:
            with suppress(Exception):
                for item in rest:
                    if self.is_awaitable(item):
                        self._coroutines.append(item)
                        left.append(item)
        if left:
            self._abandoned.append(left)
            if _is_loop_running():
                self._settle_abandoned()

    async def gather(self, awaitables: Sequence[Awaitable[Any]]) -> Sequence[Any]:
        """Await several at once; one alone is awaited without a task around it. The first error cancels the others.

        It takes as many turns of the loop as in graphql-core, since the order of errors depends on that.
        """
        if len(awaitables) == 1:
            return [await awaitables[0]]
        tasks = [asyncio.ensure_future(each) for each in awaitables]
        try:
            return await asyncio.gather(*tasks)
        except Exception:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        except asyncio.CancelledError:
            # It may come in the same turn as an error, when asyncio's gathering has ended but its tasks have not: they
            # go on beside the operation, as those of an object that is gone.
            self._background += [task for task in tasks if not task.done()]
            raise

    def batch(self, field: "Field", source: Any, path: PathLike, data: dict[str, Any]) -> None:
        """Put a parent into the batch of a batched field; its value will be written into ``data``."""
        batch = self._batches.get(field)
        if batch is None:
            batch = self._batches[field] = field.begin_batch()
            if self._loop is not None:
                self._start(field, batch)
        batch.add(source, path, data)

    def null(self, path: Path | None, error: GraphQLError) -> None:
        """Null a place that is already filled: a batched field that must not be null failed below it."""
        if not self.errors.has_nulled_position(path):
            self.errors.add(error, path)
            self._nulled.append(path)

    # --- the operation from beginning to end ---

    @property
    def is_waiting(self) -> bool:
        """Whether anything has begun that has to be waited for."""
        return bool(self.waits or self._background or self._abandoned or self._batches)

    def execute(self, start: Callable[[], Any]) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Run: the result itself, where nothing has to be waited for."""
        data = None
        try:
            data = start()
        except GraphQLError as error:
            self.errors.add(error, None)
        if self.is_waiting:
            return Finishing(self, data)
        return self._respond(data)

    async def drain(self) -> None:
        """Wait until no batch is left; those that come while waiting too."""
        while self._batch_tasks:
            done, _ = await asyncio.wait(self._batch_tasks)
            self._batch_tasks -= done
            for task in done:
                task.result()

    async def finish(self, data: Any) -> ExecutionResult:
        """Wait for what began, and build the response. Whatever happens, nothing is left running."""
        try:
            self._loop = asyncio.get_running_loop()
            self._settle_abandoned()
            for field, batch in self._batches.items():
                self._start(field, batch)
            if data.__class__ is CoroutineType:
                data = await data
            await self.drain()
        except GraphQLError as error:
            self.errors.add(error, None)
            data = None
        except BaseException:
            self._broken = True
            raise
        finally:
            if self._broken:
                await self._stop()
        return self._respond(self._apply_nulls(data))

    def dispose(self) -> None:
        """Close the coroutines that never ran, so that nobody is warned of them, and cancel the rest."""
        for task in self._background:
            if not task.get_loop().is_closed():
                task.cancel()
        for each in self._coroutines:
            if each.__class__ is CoroutineType:
                if getcoroutinestate(each) == CORO_CREATED and id(each) not in self._owned:
                    each.close()
            elif isinstance(each, asyncio.Future):
                each.cancel()

    def _respond(self, data: Any) -> ExecutionResult:
        # The one cycle of a request: the executor holds helpers that are methods of its own. Without it, the context
        # and all that it holds go when the request does, and not when the collector comes.
        del self.executor.async_helpers
        return ExecutionResult(data, self.errors.errors or None)

    def _settle_abandoned(self) -> None:
        for left in self._abandoned:
            tasks = [asyncio.ensure_future(each) for each in left]
            self._background += tasks
            asyncio.gather(*tasks, return_exceptions=True)  # sees their errors, so that nobody is told of them
            self._owned.update(map(id, left))
        self._abandoned.clear()

    def _start(self, field: "Field", batch: "Batch") -> None:
        async def work() -> None:
            await batch.gather()
            del self._batches[field]
            await batch.run(self)

        assert self._loop is not None  # noqa: S101 - for the type checker
        self._batch_tasks.add(self._loop.create_task(work()))

    async def _stop(self) -> None:
        # What is cancelled may leave its own siblings behind.
        while running := [task for task in self._all_tasks() if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        self.dispose()

    def _all_tasks(self) -> Iterator["asyncio.Future[Any]"]:
        yield from self._background
        yield from self._batch_tasks
        yield from self.executor.background_futures

    def _apply_nulls(self, data: Any) -> Any:
        for path in self._nulled:
            if path is None:
                return None
            *parents, last = path.as_list()
            value = data
            for key in parents:
                value = None if value is None else value[key]
            if value is not None:
                value[last] = None
        return data


class Finishing(Awaitable[ExecutionResult]):
    """A result to be awaited. Dropped before that, it disposes of what had begun."""

    __slots__ = ("_data", "_run")

    def __init__(self, run: Run, data: Any) -> None:
        self._run: Run | None = run
        self._data = data

    def __await__(self) -> Generator[Any, None, ExecutionResult]:
        run = self._run
        if run is None:
            raise RuntimeError("cannot await a result twice")
        self._run = None
        return run.finish(self._data).__await__()

    def __del__(self) -> None:
        if self._run is not None:
            self._run.dispose()


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
