"""Made-up schemas, the values behind them, and operations: each a function of its seed, so that two executors meet the
same.

A value depends on nothing but the seed, the object it belongs to, the field and its arguments; never on when it is
asked for.
"""

import asyncio
import random
import types
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    Undefined,
)

from service.executor.batch import batched_field


class Color(Enum):
    RED = 1
    GREEN = "green"


class Odd:
    """No value of any type."""

    def __repr__(self) -> str:
        return "'<odd>'"


class Unprintable(Exception):
    """Has no message."""


@dataclass(frozen=True)
class World:
    """A schema and the object at its root."""

    schema: GraphQLSchema
    root: Any
    objects: dict[str, GraphQLObjectType]
    modes: dict[str, str]


class Awaitable:
    """Awaitable without being a coroutine or a future."""

    def __init__(self, value: Any, ticks: int) -> None:
        self._value, self._ticks = value, ticks

    def __repr__(self) -> str:
        return "'<Awaitable>'"

    def __await__(self) -> Generator[None, None, Any]:
        for _ in range(self._ticks):
            yield
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def _serialize(value: Any) -> Any:
    if value == "odd":
        return None
    if value == "bad":
        raise ValueError("Bad value.")
    if value == "undefined":
        return Undefined
    return {"wrapped": value} if isinstance(value, int) else value


class Builder:
    """Makes a world."""

    def __init__(self, seed: int, *, trouble: float = 0.08, waits: bool = True, batches: bool = False) -> None:
        self.seed = seed
        self.trouble = trouble
        self.waits = waits
        self.batches = batches
        self.random = random.Random(seed)
        self.modes: dict[str, str] = {}
        self.leaves: list[Any] = [
            GraphQLString,
            GraphQLInt,
            GraphQLFloat,
            GraphQLBoolean,
            GraphQLID,
            GraphQLEnumType("E", {"RED": Color.RED, "GREEN": Color.GREEN, "ONE": 1, "WORD": "word"}),
            GraphQLScalarType("S", serialize=_serialize),
        ]
        self.classes: dict[str, type] = {}
        self.objects: dict[str, GraphQLObjectType] = {}
        self.interfaces: dict[str, GraphQLInterfaceType] = {}
        self.unions: dict[str, GraphQLUnionType] = {}

    def build(self) -> World:
        count = self.random.randint(2, 4)
        for number in range(self.random.randint(0, 2)):
            self._add_interface(f"I{number}")
        for number in range(count):
            self._add_object(f"T{number}")
        for number in range(self.random.randint(0, 1)):
            self._add_union(f"U{number}")
        query = self._object("Query", {}, [])
        mutation = self._object("Mutation", {}, [])
        schema = GraphQLSchema(query, mutation, types=list(self.objects.values()))
        for name in ("Query", "Mutation", *self.objects):
            self._add_class(name, schema)
        return World(schema, self.classes["Query"]("root"), self.objects, self.modes)

    # --- types ---

    def _add_interface(self, name: str) -> None:
        def fields() -> dict[str, GraphQLField]:
            return {f"{name.lower()}_{i}": self._field(f"{name}.{i}") for i in range(2)}

        made: dict[str, GraphQLField] = {}

        def once() -> dict[str, GraphQLField]:
            if not made:
                made.update(fields())
            return made

        self.interfaces[name] = GraphQLInterfaceType(name, once, resolve_type=self._type_resolver(name))

    def _add_union(self, name: str) -> None:
        members = self.random.sample(list(self.objects.values()), self.random.randint(1, len(self.objects)))
        self.unions[name] = GraphQLUnionType(name, members, resolve_type=self._type_resolver(name))

    def _add_object(self, name: str) -> None:
        interfaces = [each for each in self.interfaces.values() if self.random.random() < 0.7]
        self.objects[name] = self._object(name, {}, interfaces)

    def _object(self, name: str, _: Any, interfaces: list[GraphQLInterfaceType]) -> GraphQLObjectType:
        made: dict[str, GraphQLField] = {}
        count = self.random.randint(3, 6)

        def fields() -> dict[str, GraphQLField]:
            if not made:
                for interface in interfaces:
                    for key, field in interface.fields.items():
                        made[key] = self._with_resolver(GraphQLField(field.type, field.args), name, key)
                for i in range(count):
                    key = f"{name.lower()}_{i}"
                    made[key] = self._with_resolver(self._field(f"{name}.{i}"), name, key)
            return made

        is_type_of = None
        kind = self.random.random() if name.startswith("T") else 1
        if kind < 0.4:

            def is_type_of(value: Any, info: Any) -> Any:
                assert info.field_name
                answer = getattr(value, "typename", None) == name
                if kind < 0.1 and self.waits:
                    return Awaitable(answer, 1)
                return answer

        return GraphQLObjectType(name, fields, interfaces=interfaces, is_type_of=is_type_of)

    def _field(self, label: str) -> GraphQLField:
        chance = random.Random(f"{self.seed}{label}")
        args = {}
        if chance.random() < 0.3:
            args = {
                "number": GraphQLArgument(GraphQLInt, default_value=chance.choice([Undefined, 3])),
                "list": GraphQLArgument(GraphQLList(GraphQLInt), out_name=chance.choice([None, "items"])),
                "color": GraphQLArgument(self.leaves[5], default_value=chance.choice([Undefined, Color.RED])),
                "input": GraphQLArgument(_INPUT),
            }
        return GraphQLField(self._type(chance), args)

    def _type(self, chance: random.Random, depth: int = 0) -> Any:
        type_: Any
        kind = chance.random()
        if kind < 0.3 and depth < 3:
            type_ = GraphQLList(self._type(chance, depth + 1))
        elif kind < 0.6:
            composites = [*self.objects.values(), *self.interfaces.values(), *self.unions.values()]
            type_ = chance.choice(composites or self.leaves)
        else:
            type_ = chance.choice(self.leaves)
        return GraphQLNonNull(type_) if chance.random() < 0.3 else type_

    def _type_resolver(self, name: str) -> Any:
        kind = self.random.random()
        if kind < 0.3:
            return None

        def resolve_type(value: Any, info: Any, type_: Any) -> Any:
            assert type_.name == name
            assert all(isinstance(key, str) for key in (info.path.key, info.field_name))
            chance = self._chance(getattr(value, "id", type(value).__name__), f"type {name}")
            answer: Any = getattr(value, "typename", None)
            trouble = chance.random()
            if trouble < self.trouble / 2:
                answer = chance.choice([None, "Nothing", "Int", 7, "Query"])
            elif trouble < self.trouble:
                raise ValueError(f"No type for {name}.")
            return Awaitable(answer, 1) if kind > 0.8 and self.waits else answer

        return resolve_type

    # --- values ---

    def _add_class(self, name: str, schema: GraphQLSchema) -> None:
        type_ = schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)

        def prepare(namespace: dict[str, Any]) -> None:
            def init(self: Any, id_: str) -> None:
                self.id = id_

            namespace |= {"typename": name, "__init__": init, "__repr__": lambda self: f"<{name} {self.id}>"}
            for key, field in type_.fields.items():
                if self.modes[f"{name}.{key}"] in {"attribute", "default"}:

                    def read(source: Any, key: str = key, field: GraphQLField = field) -> Any:
                        return self._value(f"{source.id}.{key}", field.type, "plain")

                    namespace[key] = property(read)

        self.classes[name] = types.new_class(name, (), {}, prepare)

    def _with_resolver(self, field: GraphQLField, name: str, key: str) -> GraphQLField:
        modes = ["attribute", "attribute", "default", "sync"]
        if self.waits:
            modes += ["async", "mixed", "future"]
        if self.batches and name.startswith("T"):
            modes += ["batched"] * 3
        mode = self.random.choice(modes)
        self.modes[f"{name}.{key}"] = mode

        def resolve(source: Any, info: Any, **arguments: Any) -> Any:
            assert info.path.as_list()[-1] == info.path.key
            assert info.parent_type.name == name
            place = f"{getattr(source, 'id', 'root')}.{key}{sorted(arguments.items())}"
            return self._value(place, field.type, mode)

        if mode == "attribute":

            def read(source: Any, _info: Any, **_: Any) -> Any:
                return getattr(source, key)

            read.reads_attribute = key  # type: ignore[attr-defined]
            field.resolve = read
        elif mode == "batched":

            async def resolve_many(parents: Any, info: Any, **arguments: Any) -> list[Any]:
                await asyncio.sleep(0)
                if self._chance(key, "batch").random() < self.trouble:
                    raise ValueError(f"No {key} at all.")
                return [self._make_one(parent, info, key, field.type, arguments) for parent in parents]

            batched_field(field, resolve_many)
        elif mode != "default":
            field.resolve = resolve
        return field

    def _make_one(self, parent: Any, info: Any, key: str, type_: Any, arguments: dict[str, Any]) -> Any:
        assert info.path.key
        place = f"{getattr(parent, 'id', 'root')}.{key}{sorted(arguments.items())}"
        try:
            return self._value(place, type_, "sync")
        except Exception as error:  # noqa: BLE001 - it is the result for this parent
            return error

    def _chance(self, place: str, what: str) -> random.Random:
        return random.Random(zlib.crc32(f"{self.seed} {place} {what}".encode()))

    def _value(self, place: str, type_: Any, mode: str) -> Any:
        chance = self._chance(place, "value")
        if mode == "mixed":
            mode = chance.choice(["sync", "async"])
        ticks = chance.choice([0, 0, 1, 1, 2, 3])
        try:
            value = self._make(place, type_, chance)
        except Exception as error:
            if mode not in {"async", "future"}:
                raise
            value = error
        if mode == "future" and _has_loop():
            future = asyncio.get_running_loop().create_future()
            if isinstance(value, Exception):
                asyncio.get_running_loop().call_soon(_fail, future, value)
            else:
                asyncio.get_running_loop().call_soon(_set, future, value)
            return future
        return _later(value, ticks) if mode in {"async", "future"} else value

    def _make(self, place: str, type_: Any, chance: random.Random) -> Any:
        trouble = chance.random()
        if trouble < self.trouble:
            return self._trouble(place, chance)
        if isinstance(type_, GraphQLNonNull):
            type_ = type_.of_type
        elif chance.random() < 0.15:
            return chance.choice([None, None, None, Undefined])
        if isinstance(type_, GraphQLList):
            return self._list(place, type_.of_type, chance)
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            members = [
                each
                for each in self.objects.values()
                if type_ in each.interfaces or each in getattr(type_, "types", ())
            ]
            if not members:
                return None
            type_ = chance.choice(members)
        if isinstance(type_, GraphQLObjectType):
            return self.classes[type_.name](place)
        leaves: dict[str, Callable[[], Any]] = {
            "String": lambda: chance.choice(["text", "text", "", 'quo"te', 7, True, 2.5]),
            "Int": lambda: chance.choice([1, 2, -5, 2**31 - 1, 2**31, True, "12", 1.0]),
            "Float": lambda: chance.choice([1.5, 2, -0.0, float("inf"), float("nan"), "2.5"]),
            "Boolean": lambda: chance.choice([True, False, False, 1]),
            "ID": lambda: chance.choice(["id", "id2", 7]),
            "E": lambda: chance.choice([Color.RED, Color.GREEN, 1, "word"]),
            "S": lambda: chance.choice(["odd", "bad", "undefined", 5, "fine", ["fine"]]),
        }
        return leaves[type_.name]()

    def _trouble(self, place: str, chance: random.Random) -> Any:
        kind = chance.choice([0, 1, 2, 3, 4, 5, 6] if self.waits else [0, 1, 2, 4, 5, 6])
        if kind == 0:
            raise ValueError(f"Trouble at {place[-12:]}.")
        if kind == 1:
            raise Unprintable
        if kind == 2:
            return RuntimeError(f"Returned at {place[-12:]}.")
        if kind == 3:
            return Awaitable(ValueError("Later."), 1)
        return [None, Odd(), {"a": 1}][kind - 4]

    def _list(self, place: str, type_: Any, chance: random.Random) -> Any:
        items = []
        kind = chance.random()
        for index in range(chance.choice([0, 1, 2, 2, 3])):
            try:
                item = self._make(f"{place}[{index}]", type_, self._chance(f"{place}[{index}]", "item"))
            except Exception as error:  # noqa: BLE001 - it is the item
                item = error
            if chance.random() < 0.1 and self.waits:
                # Of coroutines that a source never hands out, or that stand in a list left aside, nobody can know.
                item = (_later if kind < 0.8 and "[" not in place else Awaitable)(item, chance.choice([0, 1, 2]))
            items.append(item)
        if kind < 0.7:
            return items
        if kind < 0.8:
            return tuple(items)
        if kind < 0.9:
            return _iterate(items, fails=chance.random() < 0.3)
        return (_iterate_later if self.waits else _iterate)(items, fails=chance.random() < 0.3)


_INPUT = GraphQLInputObjectType(
    "Input",
    {"a": GraphQLInputField(GraphQLInt), "b": GraphQLInputField(GraphQLList(GraphQLString), default_value=["x"])},
)


def _fail(future: Any, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()


def _set(future: Any, value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _later(value: Any, ticks: int) -> Any:
    for _ in range(ticks):
        await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


def _iterate(items: list[Any], *, fails: bool) -> Any:
    yield from items
    if fails:
        raise ValueError("The iterator failed.")


async def _iterate_later(items: list[Any], *, fails: bool) -> Any:
    for item in items:
        await asyncio.sleep(0)
        yield item
    if fails:
        raise ValueError("The source failed.")


# --- operations ---


class Writer:
    """Writes an operation's text; the variables that it uses get values."""

    def __init__(self, world: World, chance: random.Random, *, fields: int = 30) -> None:
        self._world = world
        self._chance = chance
        self._left = fields
        self._count = 0
        self._fragments: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        self.variables: dict[str, Any] = {}

    def write(self, kind: str = "query") -> str:
        type_ = self._world.schema.query_type if kind == "query" else self._world.schema.mutation_type
        body = self._selection(type_, 0)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in self._declared.items())
        head = f"{kind} Op{f'({declared})' if declared else ''}"
        return "\n".join([f"{head} {body}", *self._fragments.values()])

    def _selection(self, type_: Any, depth: int) -> str:
        chance = self._chance
        parts = []
        for _ in range(chance.randint(1, 5)):
            kind = chance.random()
            if kind < 0.1:
                parts.append(chance.choice(["__typename", "t: __typename"]) + self._directives())
            elif kind < 0.3:
                parts.append(self._fragment(type_, depth))
            elif fields := getattr(type_, "fields", {}):
                parts.append(self._field(type_, chance.choice(list(fields)), depth))
            else:
                parts.append("__typename")
        return "{ " + " ".join(parts) + " }"

    def _field(self, type_: Any, name: str, depth: int) -> str:
        self._left -= 1
        field = type_.fields[name]
        named = field.type
        while hasattr(named, "of_type"):
            named = named.of_type
        is_leaf = not hasattr(named, "fields") and not hasattr(named, "types")
        if not is_leaf and (depth > 4 or self._left < 0):
            return "__typename"
        text = name
        if field.args and self._chance.random() < 0.7:
            variant = self._chance.randrange(5)
            text = f"{name}_{variant}: {name}{self._arguments(variant)}"
        elif self._chance.random() < 0.2:
            text = f"other_{name}: {name}"
        text += self._directives()
        return text if is_leaf else f"{text} {self._selection(named, depth + 1)}"

    def _arguments(self, variant: int) -> str:
        if variant == 0:
            return "(number: 5)"
        if variant == 1:
            return '(list: [1, 2], color: GREEN, input: {a: 1, b: ["y"]})'
        if variant == 2:
            self._declare("number", "Int", self._chance.choice([4, None, Undefined]))
            return "(number: $number)"
        if variant == 3:
            self._declare("items", "[Int]", self._chance.choice([[1, 2], None, Undefined]))
            self._declare("number", "Int", self._chance.choice([4, None, Undefined]))
            return "(list: $items, input: {a: $number})"
        self._declare("number", "Int", self._chance.choice([4, None, Undefined]))
        return "(list: [1, $number], color: null)"

    def _declare(self, name: str, type_: str, value: Any) -> None:
        if name not in self._declared:
            self._declared[name] = type_
            if value is not Undefined:
                self.variables[name] = value

    def _directives(self) -> str:
        chance = self._chance
        text = ""
        for directive in ("skip", "include"):
            if chance.random() < 0.07:
                if chance.random() < 0.3:
                    text += f" @{directive}(if: {chance.choice(['true', 'false'])})"
                else:
                    name = chance.choice(["yes", "no", "maybe"])
                    value = {"yes": True, "no": False, "maybe": chance.random() < 0.5}[name]
                    declared = "Boolean! = true" if name == "maybe" else "Boolean!"
                    self._declare(name, declared, Undefined if declared != "Boolean!" and value else value)
                    text += f" @{directive}(if: ${name})"
        return text

    def _fragment(self, type_: Any, depth: int) -> str:
        chance = self._chance
        if isinstance(type_, GraphQLObjectType):
            condition: Any = chance.choice([type_, *type_.interfaces])
        else:
            condition = chance.choice([type_, *self._world.schema.get_possible_types(type_)])
        if chance.random() < 0.5:
            head = chance.choice(["...", f"... on {condition.name}"])
            return f"{head}{self._directives()} {self._selection(type_ if head == '...' else condition, depth)}"
        if self._fragments and chance.random() < 0.3:
            return f"...{chance.choice(list(self._fragments))}{self._directives()}"
        # It can be spread again once its text is there: never within itself.
        self._count += 1
        name = f"F{self._count}"
        text = f"fragment {name} on {condition.name} {self._selection(condition, depth + 1)}"
        self._fragments[name] = text
        return f"...{name}{self._directives()}"
