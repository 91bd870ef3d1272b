"""What Strawberry adds: types told by class, resolvers of every kind, permissions, extensions, federation."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, TypeVar

import pytest
import strawberry
from graphql import GraphQLInterfaceType, GraphQLObjectType, GraphQLUnionType, get_introspection_query
from strawberry.extensions import FieldExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from service.executor import create_executor
from service.executor.classes import find_member_classes, find_own_class
from service.executor.strawberry_fields import find_attribute, find_resolver

T = TypeVar("T")


@strawberry.enum
class Color(Enum):
    RED = "red"
    GREEN = 2
    CRIMSON = "red"  # noqa: PIE796 - the alias is what is tested


@strawberry.enum
class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Allow(strawberry.BasePermission):
    message = "not for you"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return bool(kwargs.get("good", False))


class AllowLater(strawberry.BasePermission):
    message = "not yet"

    async def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        await asyncio.sleep(0)
        return False


class Shout(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return f"{next_(source, info, **kwargs)}!"


class ShoutLater(FieldExtension):
    async def resolve_async(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return f"{await next_(source, info, **kwargs)}!!"


@strawberry.interface
class Animal:
    name: str

    @strawberry.field
    def loud(self) -> str:
        return self.name.upper()


@strawberry.type
class Cat(Animal):
    lives: int = 9


@strawberry.type
class Dog(Animal):
    tricks: list[str] = strawberry.field(default_factory=list)


class Kitten(Cat):
    """Not a type of its own."""


class Row:
    """Of no type until it is cast."""

    name, lives, tricks = "row", 1, ("sit", "roll")


@strawberry.type
class Box(Generic[T]):
    content: T


@strawberry.type
class Plain:
    text: str
    color: Color
    level: Level
    at: datetime | None
    amount: Decimal | None = None
    flag: bool | None = None
    ratio: float = 0.5


@strawberry.input
class Point:
    x: int
    y: int = 3


@strawberry.federation.type(keys=["id"])
class Entity:
    id: strawberry.ID
    text: str

    @classmethod
    def resolve_reference(cls, id: strawberry.ID, info: strawberry.Info[Any, None]) -> "Entity":  # noqa: A002
        if id == "bad":
            raise ValueError("no such entity")
        return Entity(id=id, text=info.field_name)


def read_root(root: Any, info: strawberry.Info[Any, None]) -> str:
    return f"{root}{info.field_name}{info.path.key}{info.return_type}"


@strawberry.type
class Query:
    @strawberry.field
    def animals(self) -> list[Animal]:
        return [Cat(name="tom"), Dog(name="rex", tricks=["sit"]), Kitten(name="kit")]

    @strawberry.field
    async def either(self) -> list[Cat | Dog]:
        return [Dog(name="rex"), Cat(name="tom"), strawberry.cast(Cat, Row()), strawberry.cast(Dog, Row())]  # type: ignore[list-item]

    @strawberry.field
    def miscast(self) -> list[Cat | Dog]:
        return [strawberry.cast(Dog, Cat(name="tom")), Cat(name="tom")]

    @strawberry.field
    def cat(self) -> Cat | None:
        return strawberry.cast(Dog, Cat(name="tom"))

    @strawberry.field
    def wrong(self) -> list[Cat | Dog | None]:
        return [Plain(text="x", color=Color.RED, level=Level.LOW, at=None), Row()]  # type: ignore[list-item]

    @strawberry.field
    def boxes(self) -> list[Box[int] | Box[str]]:
        return [Box(content=1), Box(content="one")]

    @strawberry.field
    def plain(self, bad: bool = False) -> list[Plain]:
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        fine = Plain(text="t", color=Color.CRIMSON, level=Level.HIGH, at=moment, amount=Decimal("1.5"), flag=True)
        odd: Any = Plain(text=7, color="red", level=2, at=None, ratio=2)  # type: ignore[arg-type]
        return [fine, odd, *([Plain(text=None, color=3, level=9, at="x")] if bad else [])]  # type: ignore[arg-type]

    @strawberry.field
    def point(self, at: Point, more: list[Point] | None = None, color: Color = Color.GREEN) -> str:
        return f"{at} {more} {color}"

    @strawberry.field
    def given(
        self,
        parent: strawberry.Parent[Any],
        number: int | None = None,
        ids: list[strawberry.ID] | None = None,
        colors: list[Color | None] | None = None,
        color: Color = Color.GREEN,
        moment: datetime | None = None,
        place: Annotated[Point | None, strawberry.argument(name="at")] = None,
        texts: list[str] = ["a"],  # noqa: B006 - whether one call's changes come up in another is what is tested
    ) -> str:
        found = repr((parent, number, ids, colors, color, moment, place, texts))
        texts.append("changed")
        if ids is not None:
            ids.append(strawberry.ID("changed"))
        return found

    @strawberry.field
    def maybe(self, number: strawberry.Maybe[int | None] = None) -> str:
        return repr(number)

    @strawberry.field(permission_classes=[Allow])  # type: ignore[untyped-decorator]
    def guarded(self, good: bool = False) -> str | None:
        return "in"

    @strawberry.field(permission_classes=[AllowLater])  # type: ignore[untyped-decorator]
    async def guarded_later(self) -> str | None:
        return "in"

    @strawberry.field(extensions=[Shout()])  # type: ignore[untyped-decorator]
    def shouted(self) -> str:
        return "hey"

    @strawberry.field(extensions=[ShoutLater()])  # type: ignore[untyped-decorator]
    async def shouted_later(self) -> str:
        return "hey"

    rooted: str = strawberry.field(resolver=read_root)

    @strawberry.field
    def parent(self, parent: strawberry.Parent[Any]) -> str:
        return str(parent)

    @strawberry.field
    @staticmethod
    def still() -> str:
        return "still"

    @strawberry.field
    def path(self, info: strawberry.Info[Any, None]) -> str:
        return f"{info.path} {info.variable_values} {info.operation.name and info.operation.name.value} {info.context}"

    @strawberry.field
    async def later(self, info: strawberry.Info[Any, None]) -> list[str]:
        await asyncio.sleep(0)
        return [repr(field)[:40] for field in info.selected_fields]

    @strawberry.field
    def entity(self) -> Entity:
        return Entity(id=strawberry.ID("1"), text="e")


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def first(self, n: int) -> int:
        await asyncio.sleep(0)
        LOG.append(n)
        return n

    @strawberry.mutation
    def second(self, n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        LOG.append(n)
        return n


LOG: list[int] = []
GIVEN = {"i": ["1", 2], "c": ["RED", None], "n": 3}

QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("{ animals { __typename name loud ... on Cat { lives } ... on Dog { tricks } } }", {}),
    ("{ either { ... on Cat { name lives } ... on Dog { name tricks } } }", {}),
    ("{ miscast { __typename } }", {}),
    ("{ cat { name } }", {}),
    ("{ wrong { __typename ... on Cat { name } } }", {}),
    ("{ boxes { __typename ... on IntBox { int: content } ... on StrBox { str: content } } }", {}),
    ("query ($bad: Boolean) { plain(bad: $bad) { text color level at amount flag ratio } }", {}),
    ("query ($bad: Boolean) { plain(bad: $bad) { text color level at amount flag ratio } }", {"bad": True}),
    ("{ point(at: {x: 1}) }", {}),
    ("query ($p: Point!, $m: [Point!]) { point(at: $p, more: $m, color: RED) }", {"p": {"x": 1}, "m": [{"x": 2}]}),
    ("{ given b: given c: given(at: null, number: null) }", {}),
    ('{ given(ids: 1, colors: [RED, null], color: RED, moment: "2026-01-02T03:04:05Z", at: {x: 1}, texts: []) }', {}),
    ("query ($i: [ID!], $c: [Color], $n: Int) { a: given(ids: $i, colors: $c, number: $n) b: given(ids: $i) }", GIVEN),
    ("query ($i: [ID!], $c: [Color], $n: Int) { given(ids: $i, colors: $c, number: $n) }", {"i": None}),
    ('query ($n: Int = 7, $t: [String!]! = ["d"]) { a: given(number: $n, texts: $t) b: given(texts: $t) }', {}),
    ("query ($i: ID!, $p: Point) { given(ids: [$i], at: $p) b: given(at: {x: 1, y: 2}) }", {"i": 1, "p": {"x": 2}}),
    ("query ($p: Point, $c: Color! = RED) { given(at: $p, color: $c) }", {"p": None}),
    ("query ($c: Color = RED) { given(color: $c) point(at: {x: 1}, color: $c) }", {"c": None}),
    ("query ($n: Int) { a: maybe b: maybe(number: null) c: maybe(number: $n) d: maybe(number: 1) }", {}),
    ("query ($n: Int) { maybe(number: $n) }", {"n": None}),
    ("{ guarded a: guarded(good: true) guardedLater }", {}),
    ("{ shouted shoutedLater }", {}),
    ("{ rooted parent still path }", {}),
    ("query Named($a: Int) { later path entity { id text } }", {"a": 1}),
    ("{ _service { sdl } }", {}),
    (
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on Entity { id text } } }",
        {"r": [{"__typename": "Entity", "id": "1"}, {"__typename": "Entity", "id": "2"}]},
    ),
    (
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on Entity { id } } }",
        {"r": [{"__typename": "Entity", "id": "bad"}, {"__typename": "Nothing"}]},
    ),
    (get_introspection_query(), {}),
    ('{ __type(name: "Cat") { fields { name args { name } } } __schema { types { name } } }', {}),
    ("mutation { a: first(n: 1) b: second(n: 2) c: first(n: 3) }", {}),
    ("mutation { a: first(n: 1) b: second(n: -2) c: first(n: 3) }", {}),
]


def make_schema(executor_class: Any = None, **options: Any) -> strawberry.federation.Schema:
    return strawberry.federation.Schema(
        Query, Mutation, types=[Cat, Dog], execution_context_class=executor_class, **options
    )


def describe(result: Any) -> Any:
    assert isinstance(result, ExecutionResult)
    errors = [(each.message, each.path, each.locations, type(each.original_error)) for each in result.errors or ()]
    return repr(result.data), errors


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    logging.getLogger("strawberry.execution").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("strawberry.execution").setLevel(logging.NOTSET)


@pytest.mark.parametrize("compile_after", [0, 1])
@pytest.mark.parametrize(("text", "variables"), QUERIES, ids=range(len(QUERIES)))
async def test_it_answers_like_graphql_core(text: str, variables: dict[str, Any], compile_after: int):
    reference = make_schema()
    compiled = make_schema(create_executor(pytest.fail, compile_after=compile_after))
    options: Any = {"context_value": "context", "root_value": "root"}
    LOG.clear()
    expected = describe(await reference.execute(text, deepcopy(variables), **options))
    log = LOG.copy()
    for _ in range(3):
        LOG.clear()
        assert describe(await compiled.execute(text, deepcopy(variables), **options)) == expected
        assert log == LOG


async def test_subscriptions_run_compiled_for_each_event():
    @strawberry.type
    class Subscribed:
        @strawberry.subscription
        async def cats(self, to: int) -> AsyncIterator[Cat]:
            for i in range(to):
                yield Cat(name=str(i), lives=i)

    schema = strawberry.federation.Schema(
        Query, subscription=Subscribed, execution_context_class=create_executor(pytest.fail, compile_after=0)
    )
    stream: Any = await schema.subscribe("subscription { cats(to: 3) { name lives loud } }")
    found = [result.data["cats"] async for result in stream]
    assert found == [{"name": str(i), "lives": i, "loud": str(i)} for i in range(3)]


async def test_a_default_resolver_of_ones_own_is_asked():
    config = StrawberryConfig(default_resolver=lambda source, name: getattr(source, name, "missing"))
    schema = make_schema(create_executor(pytest.fail, compile_after=0), config=config)
    result: Any = await schema.execute("{ entity { id text } }")
    assert result.data == {"entity": {"id": "1", "text": "e"}}
    field = schema._schema.type_map["Entity"].fields["text"]  # type: ignore[attr-defined]
    assert find_attribute(field) is None


def test_what_strawberry_makes_is_recognized():
    schema = make_schema()._schema
    types: Any = schema.type_map
    assert find_own_class(types["Cat"]) is Cat
    assert find_own_class(types["Plain"]) is Plain
    assert find_own_class(types["IntBox"]) is None
    for name in ("Animal", "CatDog"):
        assert isinstance(types[name], GraphQLInterfaceType | GraphQLUnionType)
        assert find_member_classes(schema, types[name]) == {Cat: types["Cat"], Dog: types["Dog"]}
    assert find_member_classes(schema, types["_Entity"]) == {Entity: types["Entity"]}
    query: GraphQLObjectType = types["Query"]
    assert find_attribute(types["Plain"].fields["text"]) == "text"
    assert find_attribute(query.fields["still"]) is None
    direct = {name for name, field in query.fields.items() if find_resolver(schema, field) is not field.resolve}
    assert {"animals", "path", "later", "still", "either"} <= direct
    assert not direct & {"guarded", "guardedLater", "shouted", "shoutedLater", "maybe"}
    assert direct >= {"given", "point", "rooted", "parent"}
