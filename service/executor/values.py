"""What kinds of values places take: leaves, objects, abstract types and lists, and how each is completed."""

import sys
from collections.abc import Callable
from contextlib import suppress
from types import CoroutineType
from typing import Any, Final, Protocol, cast

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLLeafType,
    GraphQLObjectType,
    Undefined,
    located_error,
)
from graphql.pyutils import Path, inspect, is_iterable

from service.executor.classes import CAST, PlainClasses
from service.executor.leaves import find_names, find_test
from service.executor.places import Field, Item, Place
from service.executor.run import PathLike, Run

Builder = Callable[[Run, Any, PathLike], Any]
"""Generated: an object's dict or a list's items; None where an error nulled it, or a coroutine."""


READY: Final = frozenset({str, int, float, bool, dict, list})
"""Classes of what scalars are serialized to that need no further look."""


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

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The serialized value."""
        self.known.admit(value)
        return self.check(run, place, value, self.coerce(value), path)

    def check(self, run: Run, place: Place, value: Any, coerced: Any, path: Path) -> Any:
        """What a value was serialized to, if it may stand in a response. Raises TypeError if it may not."""
        if coerced is Undefined or coerced is None:
            raise TypeError(
                f"Expected `{inspect(self.type)}.coerce_output_value({inspect(value)})`"
                f" to return non-nullable value, returned: {inspect(coerced)}"
            )
        if coerced.__class__ not in READY and run.is_awaitable(coerced):
            return run.later(place.wait_coerced(run, coerced, path), coerced)
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
        if self._built > self._owner.compile_after:
            with suppress(RecursionError):  # too deep to be compiled from here
                self._owner.generate(self)
            if not self.is_to_generate:
                return self.build(run, source, path)
        return self._build_rest(run, source, path, {}, None)

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The object's dict, or a coroutine."""
        if type(value) in self.known and not hasattr(value, CAST):
            return self.build(run, value, path)
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
        error = cast("Exception", sys.exception())
        if error is run.bubbling or isinstance(error, RecursionError | MemoryError):
            run.abandon(done[field.local] for field in self.fields or () if field.local in done)
            return self.place.fail(run, error, path)
        return self._build_rest(run, source, path, done, error)

    def _build_rest(self, run: Run, source: Any, path: PathLike, done: dict[str, Any], error: Exception | None) -> Any:
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
                    data[field.key] = None
                    field.fail(run, raw, (path, field.key, field.typename))
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
            type_ = run.executor.ensure_valid_runtime_type(name, self.type, field.details, field.info(run, path), value)
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
                items.append(self.item.settle(run, item, path, len(items)))
        except Exception as error:  # noqa: BLE001 - an item that may not be null failed
            return self.place.fail_list(run, error, path, items, rest)
        return self.place.wait_list(run, items, path)

    def complete(self, run: Run, place: Place, value: Any, path: Path) -> Any:
        """The list of completed items, or a coroutine."""
        if value.__class__ is list:
            return self.build(run, value, path)
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
                except Exception as error:
                    raise located_error(error, place.field.nodes, path.as_list()) from error
                items.append(self.item.settle(run, item, path, len(items)))
        except Exception as error:  # noqa: BLE001 - an item that may not be null failed
            if (close := getattr(iterator, "aclose", None)) is not None:
                with suppress(Exception):
                    await close()
            place.fail_list(run, error, path, items, iter(()))
            return None
        completed = place.wait_list(run, items, path)
        return await completed if completed.__class__ is CoroutineType else completed
