"""Places: where a value of the response goes, and what must hold there.

A place is a field of an object or the items of a list. It completes values the long way, exactly as graphql-core does:
awaitables, errors, abstract types, values of the wrong type. Generated code does the short way by itself and calls a
place's ``settle`` for all else.

Each coroutine that is left in an object or a list handles its own errors: it gives a value, or raises the located error
that nulls what is around it.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from graphql import (
    FieldNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLNonNull,
    GraphQLObjectType,
    TypeNameMetaFieldDef,
    Undefined,
    VariableNode,
    located_error,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path, inspect, is_iterable

from service.executor.classes import PlainClasses
from service.executor.leaves import find_names, find_test
from service.executor.run import PathLike, Run, gather, make_path, real_path

if TYPE_CHECKING:
    from service.executor.batch import Batch, BatchResolver

Builder = Callable[[Run, Any, PathLike], Any]
"""Generated: an object's dict or a list's items; None where an error nulled it, or a coroutine."""


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
        if value is None or value is Undefined:
            completed = None
        else:
            completed = self.value.complete(run, self, value, path)
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

    async def _wait_coerced(self, run: Run, awaitable: Awaitable[Any], path: Path) -> Any:
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
            data.update(zip(keys, await gather([data[key] for key in keys]), strict=True))
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
            for index, item in zip(indices, await gather([items[index] for index in indices]), strict=True):
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
        self.constants: dict[str, Any] | None = {}
        """The arguments; None where they depend on variables."""
        self.batch: BatchResolver | None = None
        self.local = ""
        """The local variable that holds it in generated code."""

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
                arguments = run.arguments(self) if self.constants is None else self.constants
                value = resolve(source, run.info(self.info_head, path), **arguments)
        except Exception as error:  # noqa: BLE001 - errors of resolvers become errors of the response
            return self.fail(run, error, path)
        return self.put(run, value, path)

    def begin_batch(self) -> "Batch":
        """A new batch of parents of a batched field."""
        assert self.batch is not None  # noqa: S101 - for the type checker
        return self.batch.begin(self)

    def coerce_arguments(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        """The arguments for these variables. Raises GraphQLError where they do not fit."""
        return get_argument_values(self.definition, self.nodes[0], variables, None, hide_suggestions)

    def may_share_arguments(self, values: dict[str, Any]) -> bool:
        """Whether several calls may get the same values: they cannot be changed, or are the variables themselves."""
        given = {node.name.value: node.value for node in self.nodes[0].arguments or ()}
        names = {argument.out_name or name: name for name, argument in self.definition.args.items()}
        return all(
            is_immutable(value) or isinstance(given.get(names.get(name, name)), VariableNode)
            for name, value in values.items()
        )

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


class Value:
    """What kind of value a place takes."""

    has_resolver = False

    build: Builder

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """What a value that is neither null nor an error becomes. Raises whatever is wrong with it."""
        raise NotImplementedError


class Leaf(Value):
    """A scalar or an enum."""

    def __init__(self, type_: GraphQLLeafType, known: PlainClasses) -> None:
        self.type = type_
        self.coerce = type_.coerce_output_value
        self.known = known
        """Classes whose instances only need to be serialized."""
        self.test = find_test(type_)
        """The test for values that need it, with a gap for the variable's name; None where all do."""
        self.names = find_names(type_)
        """Names by members' ids, for an enum of Strawberry's."""

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:  # noqa: ARG002
        """The serialized value."""
        self.known.admit(value)
        coerced = self.coerce(value)
        if coerced is Undefined or coerced is None:
            raise TypeError(
                f"Expected `{inspect(self.type)}.coerce_output_value({inspect(value)})`"
                f" to return non-nullable value, returned: {inspect(coerced)}"
            )
        if coerced.__class__ is not str and run.is_awaitable(coerced):
            return run.later(place._wait_coerced(run, coerced, path), coerced)  # noqa: SLF001
        return coerced


class Owner(Protocol):
    """Plans and compiles objects when they come: the plan that they are in."""

    compile_after: int

    def select(self, value: "Object") -> tuple[Field, ...]:
        """The fields of an object. Raises GraphQLError where a directive's variable does not fit."""
        ...

    def generate(self, value: "Object") -> None:
        """Make the code of an object, and give it to it."""
        ...


class Object(Value):
    """An object type with its selected fields."""

    def __init__(self, type_: GraphQLObjectType, place: Place, known: set[type], owner: Owner) -> None:
        self.type = type_
        self.place = place
        self.known = known
        """Classes whose instances are of this type for sure."""
        self.fields: tuple[Field, ...] | None = None
        """The selected fields in the response's order; None before the first object comes."""
        self.has_resolver = True
        """Whether a resolver may be called below, which can look at the path."""
        self.build = self._build_slowly
        self._owner = owner
        self._built = 0

    @property
    def is_to_generate(self) -> bool:
        """Whether it has no generated code yet, and can get some."""
        return self.build == self._build_slowly and self.fields is not None

    def _build_slowly(self, run: Run, source: Any, path: PathLike) -> Any:
        """The first few objects: not worth code of their own. Those after them have it made."""
        if self.fields is None:
            try:
                self.fields = self._owner.select(self)
            except GraphQLError as error:  # a directive's variable does not fit
                return self.place.fail(run, error, path)
        self._built += 1
        if self._built <= self._owner.compile_after:
            return self._build_rest(run, source, path, {}, None)
        self._owner.generate(self)
        return self.build(run, source, path)

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The object's dict, or a coroutine."""
        if self.type.is_type_of is not None:
            is_type_of = self.type.is_type_of(value, place.field.info(run, path))
            if run.is_awaitable(is_type_of):
                return run.later(self._complete_later(run, value, path, is_type_of), is_type_of)
            if not is_type_of:
                raise self._wrong_type(value)
        elif isinstance(self.known, PlainClasses):
            self.known.admit(value)
        return self.build(run, value, path)

    def resume(self, run: Run, source: Any, path: PathLike, done: dict[str, Any]) -> Any:
        """Finish an object that generated code had to leave, in an ``except`` clause of it, because of an error.

        ``done`` holds the fields that were completed, by the names of their local variables. The error is that of the
        first field that is missing there; or it has come up from below and goes on, if it must.
        """
        error = sys.exception()
        assert isinstance(error, Exception)  # noqa: S101 - for the type checker
        if error is run.bubbling or isinstance(error, RecursionError | MemoryError):
            run.abandon(done[field.local] for field in self.fields or () if field.local in done)
            return self.place.fail(run, error, path)
        return self._build_rest(run, source, path, done, error)

    def _build_rest(
        self, run: Run, source: Any, path: PathLike, done: dict[str, Any], error: Exception | None
    ) -> Any:
        fields = self.fields or ()
        data: dict[str, Any] = {}
        try:
            for field in fields:
                if field.local in done:
                    data[field.key] = done[field.local]
                elif error is None or field.has_no_code:
                    data[field.key] = field.execute(run, source, path)
                else:
                    raw, error = error, None
                    data[field.key] = field.fail(run, raw, (path, field.key, field.typename))
        except Exception as bubbling:  # noqa: BLE001 - a field that may not be null failed
            run.abandon(data.values())
            return self.place.fail(run, bubbling, path)
        for field in fields:
            if field.batch is not None:
                run.batch(field, source, path, data)
        return self.place.wait_object(run, data, path)

    async def _complete_later(self, run: Run, value: Any, path: Path, is_type_of: Any) -> Any:
        try:
            if not await is_type_of:
                raise self._wrong_type(value)  # noqa: TRY301
            data = self.build(run, value, path)
            return await data if data.__class__ is CoroutineType else data
        except Exception as error:  # noqa: BLE001 - errors of predicates become errors of the response
            return self.place.fail(run, error, path)

    def _wrong_type(self, value: Any) -> GraphQLError:
        return GraphQLError(f"Expected value of type '{self.type}' but got: {inspect(value)}.", self.place.field.nodes)


class Abstract(Value):
    """An interface or a union. The code for each type is made when the first object of that type comes."""

    def __init__(
        self,
        type_: GraphQLAbstractType,
        classes: dict[type, GraphQLObjectType],
        plan_member: Callable[[GraphQLObjectType], Object],
    ) -> None:
        self.type = type_
        self.has_resolver = True
        self.builders: dict[type, Builder] = {}
        """For classes whose instances are of one member type for sure."""
        self._classes = classes
        self._plan_member = plan_member
        self._members: dict[str, Object] = {}

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The object's dict, or a coroutine."""
        resolve_type = self.type.resolve_type or run.executor.type_resolver
        name = resolve_type(value, place.field.info(run, path), self.type)
        if run.is_awaitable(name):
            return run.later(self._complete_later(run, place, value, path, name), name)
        return self._complete_member(run, place, value, path, name)

    async def _complete_later(self, run: Run, place: Place, value: Any, path: Path, name: Any) -> Any:
        try:
            data = self._complete_member(run, place, value, path, await name)
            return await data if data.__class__ is CoroutineType else data
        except Exception as error:  # noqa: BLE001 - errors of resolvers become errors of the response
            return place.fail(run, error, path)

    def _complete_member(self, run: Run, place: Place, value: Any, path: Path, name: Any) -> Any:
        member = self._members.get(name) if isinstance(name, str) else None
        if member is None:
            field = place.field
            # graphql-core's own check, and its words for what is wrong.
            type_ = run.executor.ensure_valid_runtime_type(
                name, self.type, field.details, field.info(run, path), value
            )
            member = self._members[type_.name] = self._plan_member(type_)
        data = member.complete(run, place, value, path)
        if self._classes.get(type(value)) is member.type and not member.is_to_generate:
            self.builders[type(value)] = member.build
        return data


class Items(Value):
    """A list."""

    def __init__(self, item: Item, place: Place) -> None:
        self.item = item
        self.place = place
        self.has_resolver = item.value.has_resolver
        self.build = self._build_slowly

    def _build_slowly(self, run: Run, source: Any, path: PathLike) -> Any:
        items: list[Any] = []
        rest = iter(source)
        try:
            for item in rest:
                items.append(self.item.settle(run, item, path, len(items)))  # noqa: PERF401 - an error needs those before
        except Exception as error:  # noqa: BLE001 - an item that may not be null failed
            return self.place.fail_list(run, error, path, items, rest)
        return self.place.wait_list(run, items, path)

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The list of completed items, or a coroutine."""
        if run.executor.is_async_iterable(value):
            return run.later(self._complete_async(run, place, value.__aiter__(), path))
        if not is_iterable(value):
            field = place.field
            raise GraphQLError(
                f"Expected Iterable, but did not find one for field '{field.parent_type}.{field.field_name}'."
            )
        return self.build(run, value, path)

    async def _complete_async(self, run: Run, place: Place, iterator: Any, path: Path) -> Any:
        items: list[Any] = []
        try:
            while True:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    break
                except Exception as error:  # noqa: BLE001 - errors of sources become errors of the response
                    raise located_error(error, place.field.nodes, path.as_list()) from error
                items.append(self.item.settle(run, item, path, len(items)))
        except Exception as error:  # noqa: BLE001 - an item that may not be null failed
            if (close := getattr(iterator, "aclose", None)) is not None:
                try:
                    await close()
                except Exception:  # noqa: BLE001, S110 - the error before it counts
                    pass
            return place.fail_list(run, error, path, items, iter(()))
        completed = place.wait_list(run, items, path)
        return await completed if completed.__class__ is CoroutineType else completed


_IMMUTABLE = (str, int, float, bool, bytes, Enum, Decimal, UUID, date, time, timedelta)


def is_immutable(value: Any) -> bool:
    """Whether nobody who gets a value can change it for the others."""
    if isinstance(value, tuple | frozenset):
        return all(map(is_immutable, value))
    return value is None or isinstance(value, _IMMUTABLE)
