"""Batched fields: one call for all objects that a field is selected on, instead of one for each.

    async def load_groups(parents: Sequence["User"], info: Info, first: int = 10) -> list[list[Group] | Exception]: ...

    @strawberry.type
    class User:
        groups: list[Group] = batched(load_groups)

The compiled executor calls the resolver with all parents at one place of the operation that are there together. Under
any other executor the field has an ordinary resolver, which gathers parents until the loop's next turn. Both give it
parents and expect as many results, in their order; a result may be an exception, or awaitable.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

import strawberry
from graphql import GraphQLField, GraphQLResolveInfo
from graphql.pyutils import Path
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from service.executor.run import PathLike, Run, make_path, real_path

if TYPE_CHECKING:
    from service.executor.places import Field

BATCH: Final = "batch"
"""The key, in a Strawberry field's ``metadata`` or a ``GraphQLField``'s ``extensions``, of the resolver for many."""

ResolveMany = Callable[..., Awaitable[Sequence[Any]] | Sequence[Any]]


@dataclass(frozen=True, slots=True)
class BatchResolver:
    """A resolver for many parents, and the Strawberry field that it was declared on."""

    resolve: ResolveMany
    field: StrawberryField | None

    def begin(self, place: "Field") -> "Batch":
        """A batch without parents."""
        return Batch(self, place)

    def prepare(self, info: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What the resolver gets beside the parents: Strawberry's info and types, if it was declared there."""
        if self.field is None:
            return info, arguments
        schema = info.schema._strawberry_schema  # noqa: SLF001 - where Strawberry itself finds it
        converter = schema.schema_converter
        wrapped = schema.config.info_class(_raw_info=info, _field=self.field)
        return wrapped, convert_arguments(
            arguments,
            self.field.arguments,
            scalar_registry=converter.scalar_registry,
            config=schema.config,
            info=wrapped,
        )


def find_batch(definition: GraphQLField) -> BatchResolver | None:
    """The resolver for many that a field declares.

    A field with extensions has none: permissions look at each parent, so it keeps its ordinary resolver.
    """
    declared = definition.extensions.get("strawberry-definition")
    if isinstance(declared, StrawberryField):
        resolve = declared.metadata.get(BATCH)
        return BatchResolver(resolve, declared) if resolve is not None and not declared.extensions else None
    resolve = definition.extensions.get(BATCH)
    return BatchResolver(resolve, None) if resolve is not None else None


class Batch:
    """Parents at one place of the operation, that wait for one call."""

    def __init__(self, resolver: BatchResolver, place: "Field") -> None:
        self._resolver = resolver
        self._place = place
        self._rows: list[tuple[Any, PathLike, dict[str, Any]]] = []

    def add(self, source: Any, path: PathLike, data: dict[str, Any]) -> None:
        """Take a parent, where it is, and the dict that its value goes into."""
        self._rows.append((source, path, data))

    async def gather(self) -> None:
        """Wait for the first turn of the loop in which no further parent comes: those that are late get their own."""
        count = -1
        while count != len(self._rows):
            count = len(self._rows)
            await asyncio.sleep(0)

    async def run(self, run: Run) -> None:
        """Call the resolver, and complete a value for each parent."""
        place = self._place
        rows = self._rows
        if run.errors.errors:  # else nothing is nulled, and nobody needs all the paths
            rows = [row for row in rows if not run.errors.has_nulled_position(real_path(row[1]))]
        if not rows:
            return
        results: Sequence[Any]
        try:
            path = make_path((real_path(rows[0][1]), place.key, place.typename))
            constants = place.arguments.constants
            arguments = run.arguments(place) if constants is None else constants
            info, arguments = self._resolver.prepare(run.info(place.info_head, path), arguments)
            results = await call(self._resolver.resolve, [source for source, _, _ in rows], info, arguments)
        except Exception as error:  # noqa: BLE001 - the error of each of them
            results = [error] * len(rows)
        waiting: list[Awaitable[None]] = []
        for (_, path, data), result in zip(rows, results, strict=True):
            try:
                data[place.key] = place.settle(run, result, path)
            except Exception as error:  # noqa: BLE001 - null may not stand here
                self._bubble(run, error, path)
            else:
                if data[place.key].__class__ is CoroutineType:
                    waiting.append(self._wait(run, path, data))
        await run.gather(waiting)

    async def _wait(self, run: Run, path: PathLike, data: dict[str, Any]) -> None:
        try:
            data[self._place.key] = await data[self._place.key]
        except Exception as error:  # noqa: BLE001 - null may not stand here
            self._bubble(run, error, path)

    def _bubble(self, run: Run, error: Any, object_path: PathLike) -> None:
        """Null the nearest place around the object that may be null."""
        place, path = self._place.outer, real_path(object_path)
        while not place.is_root and not place.is_nullable:
            place, path = place.outer, path.prev
        run.null(path, error)


async def call(resolve: ResolveMany, parents: Sequence[Any], info: Any, arguments: dict[str, Any]) -> Sequence[Any]:
    """The results of a resolver for many, as many as there are parents. Raises what it raises."""
    results = resolve(parents, info, **arguments)
    if inspect.isawaitable(results):
        results = await results
    if len(results) != len(parents):
        name = getattr(resolve, "__name__", "a batched resolver")
        raise TypeError(f"{name} gave {len(results)} results for {len(parents)} parents.")
    return results


# --- under other executors ---


@dataclass(slots=True)
class _Gathering:
    parents: list[Any] = field(default_factory=list)
    results: "asyncio.Future[Sequence[Any]] | None" = None


_gatherings: dict[tuple[Any, ...], _Gathering] = {}
"""Those of this turn of the loop, by execution and place."""


async def load(resolve: ResolveMany, parent: Any, info: Any, raw: GraphQLResolveInfo[Any], arguments: Any) -> Any:
    """The result for one parent, by one call for all that ask at the same place in the same turn of the loop.

    Raises the parent's error.
    """
    key = (id(raw.async_helpers), resolve, *_names(raw.path))
    gathering = _gatherings.get(key)
    index = len(gathering.parents) if gathering else 0
    if gathering is None:
        gathering = _gatherings[key] = _Gathering()
        gathering.results = asyncio.ensure_future(_run_gathering(key, gathering, resolve, info, arguments))
    gathering.parents.append(parent)
    assert gathering.results is not None  # noqa: S101 - for the type checker
    result = (await asyncio.shield(gathering.results))[index]
    if isinstance(result, Exception):
        raise result
    return await result if inspect.isawaitable(result) else result


async def _run_gathering(
    key: tuple[Any, ...], gathering: _Gathering, resolve: ResolveMany, info: Any, arguments: Any
) -> Sequence[Any]:
    count = -1
    while count != len(gathering.parents):
        count = len(gathering.parents)
        await asyncio.sleep(0)
    del _gatherings[key]
    try:
        return await call(resolve, gathering.parents, info, arguments)
    except Exception as error:  # noqa: BLE001 - the error of each of them
        return [error] * len(gathering.parents)


def _names(path: Path | None) -> list[str | int]:
    return [key for key in path.as_list() if isinstance(key, str)] if path is not None else []


def batched(resolve: ResolveMany, **options: Any) -> Any:
    """A Strawberry field whose resolver takes many parents; its type is the annotation in the class.

    ``resolve(parents, info, **arguments)``: the arguments are those of the field; ``options`` are those of
    ``strawberry.field``.
    """
    signature = inspect.signature(resolve)
    parents, info, *arguments = signature.parameters.values()

    async def resolve_one(root: Any, info: Any, **arguments: Any) -> Any:
        return await load(resolve, root, info, info._raw_info, arguments)  # noqa: SLF001 - has no public name

    resolve_one.__name__ = getattr(resolve, "__name__", "resolve")
    resolve_one.__module__ = resolve.__module__
    kept = [parents.replace(name="root", annotation=Any), info.replace(name="info"), *arguments]
    resolve_one.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[each.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for each in kept],
        return_annotation=inspect.Signature.empty,
    )
    resolve_one.__annotations__ = {each.name: each.annotation for each in kept}
    return strawberry.field(resolver=resolve_one, metadata={BATCH: resolve, **options.pop("metadata", {})}, **options)


def batched_field(definition: GraphQLField, resolve: ResolveMany) -> GraphQLField:
    """Make a field of a plain graphql-core schema a batched one."""

    def resolve_one(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        return load(resolve, source, info, info, arguments)

    definition.extensions[BATCH] = resolve
    definition.resolve = resolve_one
    return definition
