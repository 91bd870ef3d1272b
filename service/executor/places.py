"""Places: where a value of the response goes, and what must hold there.

A place is a field of an object or the items of a list. It settles values the long way, exactly as graphql-core does:
awaitables, errors, nulls. Generated code does the short way by itself and calls a place's ``settle`` for all else.

Each coroutine that is left in an object or a list handles its own errors: it gives a value, or raises the located error
that nulls what is around it.
"""

from collections.abc import Awaitable, Iterator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from graphql import (
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    TypeNameMetaFieldDef,
    Undefined,
    located_error,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path

from service.executor.arguments import Arguments
from service.executor.run import PathLike, Run, make_path, real_path

if TYPE_CHECKING:
    from service.executor.batch import Batch, BatchResolver
    from service.executor.values import Leaf, Value


class Place:
    """What fields and list items have in common."""

    field: "Field"
    """The field it belongs to: itself, or that of the list."""
    outer: "Place"
    """The place around it: of the object, or of the list."""
    is_nullable = False
    is_root = False
    value: "Value"

    def complete(self, run: Run, value: Any, path: Path) -> Any:
        """What a value that need not be awaited becomes. Raises whatever is wrong with it."""
        if isinstance(value, Exception):
            raise value
        is_null = value is None or value is Undefined
        completed = None if is_null else self.value.complete(run, self, value, path)
        if completed is None and not self.is_nullable:
            raise TypeError(
                f"Cannot return null for non-nullable field {self.field.parent_type}.{self.field.field_name}."
            )
        return completed

    def put(self, run: Run, value: Any, path: Path) -> Any:
        """What any value becomes: a result, None after an error that may stay here, or a coroutine."""
        try:
            if run.is_awaitable(value):
                return run.later(self._wait(run, value, path), value)
            return self.complete(run, value, path)
        except Exception as error:  # noqa: BLE001 - errors of resolvers become errors of the response
            return self.fail(run, error, path)

    def fail(self, run: Run, raw: Exception, path: PathLike) -> None:
        """Locate an error and note it, if null may stand here; otherwise raise it."""
        path = real_path(path)
        error = located_error(raw, self.field.nodes, path.as_list())
        if not self.is_nullable:
            raise run.bubble(error)
        run.errors.add(error, path)

    async def _wait(self, run: Run, awaitable: Awaitable[Any], path: Path) -> Any:
        try:
            completed = self.complete(run, await awaitable, path)
            if completed.__class__ is CoroutineType:
                completed = await completed
        except Exception as error:  # noqa: BLE001 - errors of resolvers become errors of the response
            return self.fail(run, error, path)
        return completed

    async def wait_coerced(self, run: Run, awaitable: Awaitable[Any], path: Path) -> Any:
        """A value that a scalar gave only a promise of."""
        try:
            return await awaitable
        except Exception as error:  # noqa: BLE001 - errors of scalars become errors of the response
            return self.fail(run, error, path)

    # --- for objects at this place ---

    def wait_object(self, run: Run, data: dict[str, Any], path: PathLike) -> Any:
        """An object, or a coroutine for it if fields of it are coroutines: not all that began must be left."""
        keys = [key for key, value in data.items() if value.__class__ is CoroutineType]
        return run.later(self._wait_object(run, data, keys, path)) if keys else data

    async def _wait_object(self, run: Run, data: dict[str, Any], keys: list[str], path: PathLike) -> Any:
        try:
            data.update(zip(keys, await run.gather([data[key] for key in keys]), strict=True))
        except Exception as error:  # noqa: BLE001 - a field that may not be null failed
            return self.fail(run, error, path)
        return data

    # --- for lists at this place ---

    def wait_list(self, run: Run, items: list[Any], path: PathLike) -> Any:
        """A list, or a coroutine for it if items of it are coroutines."""
        indices = [index for index, item in enumerate(items) if item.__class__ is CoroutineType]
        return run.later(self._wait_list(run, items, indices, path)) if indices else items

    async def _wait_list(self, run: Run, items: list[Any], indices: list[int], path: PathLike) -> Any:
        try:
            for index, item in zip(indices, await run.gather([items[index] for index in indices]), strict=True):
                items[index] = item
        except Exception as error:  # noqa: BLE001 - an item that may not be null failed
            return self.fail(run, error, path)
        return items

    def fail_list(self, run: Run, raw: Exception, path: PathLike, items: list[Any], rest: Iterator[Any]) -> None:
        """Like :meth:`fail`, for a list of which some items are there already."""
        run.abandon(items, rest)
        self.fail(run, raw, path)


class Field(Place):
    """A field of an object type, at one place of the operation."""

    def __init__(
        self,
        *,
        key: str,
        parent_type: GraphQLObjectType,
        definition: GraphQLField,
        details: FieldDetailsList,
        outer: "Place",
    ) -> None:
        nodes = [detail.node for detail in details]
        self.field = self
        self.is_nullable = not isinstance(definition.type, GraphQLNonNull)
        self.key = key
        self.typename = parent_type.name
        self.parent_type = parent_type
        self.definition = definition
        self.details = details
        self.nodes = nodes
        self.outer = outer
        self.field_name = nodes[0].name.value
        self.info_head = (self.field_name, nodes, definition.type, parent_type)
        self.resolve = definition.resolve
        self.attribute: str | None = None
        """The attribute that holds the value, where reading it is all that its resolver does."""
        self.is_typename = definition is TypeNameMetaFieldDef
        self.arguments = Arguments(definition, nodes[0])
        self.batch: BatchResolver | None = None
        self.local = ""
        """The local variable that holds it in generated code."""

    def settle_serialized(self, run: Run, value: Any, serialized: Any, object_path: PathLike) -> Any:
        """What became of a scalar's value, where that is neither text nor a number nor plain JSON."""
        path = self._path(object_path)
        try:
            return cast("Leaf", self.value).check(run, self, value, serialized, path)
        except Exception as error:  # noqa: BLE001 - errors of scalars become errors of the response
            return self.fail(run, error, path)

    @property
    def has_no_code(self) -> bool:
        """Whether it is only written into the dict: a constant, or room for what a batch will bring."""
        return self.is_typename or self.batch is not None

    def settle(self, run: Run, value: Any, object_path: PathLike) -> Any:
        """What any value becomes as this field of the object at ``object_path``. See :meth:`Place.put`."""
        return self.put(run, value, self._path(object_path))

    def execute(self, run: Run, source: Any, object_path: PathLike) -> Any:
        """Resolve the field the long way."""
        if self.has_no_code:
            return self.typename if self.is_typename else None
        path = self._path(object_path)
        try:
            if self.attribute is not None:
                value = getattr(source, self.attribute)
            else:
                resolve = self.resolve or run.field_resolver
                constants = self.arguments.constants
                arguments = run.arguments(self) if constants is None else constants
                value = resolve(source, run.info(self.info_head, path), **arguments)
        except Exception as error:  # noqa: BLE001 - errors of resolvers become errors of the response
            return self.fail(run, error, path)
        return self.put(run, value, path)

    def begin_batch(self) -> "Batch":
        """A new batch of parents of a batched field."""
        assert self.batch is not None  # noqa: S101 - for the type checker
        return self.batch.begin(self)

    def info(self, run: Run, path: Path | None) -> Any:
        """The field's ``GraphQLResolveInfo``; ``path`` may be that of an item below it."""
        while path is not None and isinstance(path.key, int):
            path = path.prev
        return run.info(self.info_head, path)  # type: ignore[arg-type]

    def _path(self, object_path: PathLike) -> Path:
        return make_path((real_path(object_path), self.key, self.typename))


class Root(Place):
    """Where the response's data goes. What bubbles up to here leaves no data."""

    is_root = True

    def fail(self, run: Run, raw: Exception, path: PathLike) -> None:  # noqa: ARG002
        """Raise the error: whoever runs the operation notes it."""
        raise raw


class Item(Place):
    """The items of a list."""

    def __init__(self, field: Field, *, outer: Place, is_nullable: bool) -> None:
        self.field = field
        self.outer = outer
        self.is_nullable = is_nullable

    def settle(self, run: Run, value: Any, list_path: PathLike, index: int) -> Any:
        """What any value becomes as an item. See :meth:`Place.put`."""
        return self.put(run, value, make_path((real_path(list_path), index, None)))
