"""Batched fields: one call for the parents at one place, and one that waits for nobody else."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import ExecutionResult

from service.executor import batched, create_executor

CALLS: list[tuple[list[int], Any]] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@strawberry.input
class Filter:
    word: str = "x"


@strawberry.type
class Group:
    name: str


async def load_groups(
    parents: Sequence["User"], info: strawberry.Info[Any, None], first: int = 2, only: Filter | None = None
) -> list[Any]:
    CALLS.append(([parent.id for parent in parents], (info.field_name, first, only)))
    await asyncio.sleep(0)
    return [
        ValueError(f"No groups of {parent.id}.") if parent.id == 3 else [Group(name=f"g{i}") for i in range(first)]
        for parent in parents
    ]


def load_name(parents: Sequence["User"], info: strawberry.Info[Any, None]) -> list[Any]:
    CALLS.append(([parent.id for parent in parents], info.path.as_list() if hasattr(info.path, "as_list") else None))
    return [None if parent.id == 2 else f"u{parent.id}" for parent in parents]


def load_badly(parents: Sequence["User"], info: strawberry.Info[Any, None]) -> list[Any]:
    return [1]


def load_lists(parents: Sequence["User"], info: strawberry.Info[Any, None]) -> list[Any]:
    CALLS.append(([parent.id for parent in parents], None))
    return [[User(id=parent.id * 10 + i) for i in range(2)] for parent in parents]


class Allow(strawberry.BasePermission):
    message = "not this one"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return bool(source.id != 1)


@strawberry.type
class User:
    id: int
    groups: list[Group] | None = batched(load_groups)
    name: str = batched(load_name, description="What it is called.")
    badly: int | None = batched(load_badly)
    guarded: str | None = batched(load_name, permission_classes=[Allow])
    friends: list["User"] = batched(load_lists)

    @strawberry.field
    async def late(self) -> list["User"]:
        for _ in range(3 * self.id):
            await asyncio.sleep(0)
        return [User(id=self.id * 10)]


GATE: list[asyncio.Event] = []


@strawberry.type
class Query:
    @strawberry.field
    def users(self, count: int = 3) -> list[User]:
        return [User(id=i) for i in range(count)]

    @strawberry.field
    def maybe_users(self, count: int = 3) -> list[User | None]:
        return [User(id=i) for i in range(count)]

    @strawberry.field
    async def slow(self) -> str:
        await GATE[0].wait()
        return "slow"


@strawberry.type
class Mutation:
    @strawberry.mutation
    def user(self, number: int) -> User:
        return User(id=number)


EXECUTORS: dict[str, Callable[[], Any]] = {
    "graphql-core": lambda: StrawberryGraphQLCoreExecutionContext,
    "compiled": lambda: create_executor(pytest.fail, compile_after=0),
    "compiling": lambda: create_executor(pytest.fail),
}


@pytest.fixture(params=EXECUTORS)
def schema(request: pytest.FixtureRequest) -> strawberry.Schema:
    return strawberry.Schema(Query, Mutation, execution_context_class=EXECUTORS[request.param]())


async def execute(schema: strawberry.Schema, text: str, **variables: Any) -> ExecutionResult:
    result = await schema.execute(text, variables)
    assert isinstance(result, ExecutionResult)
    return result


async def test_all_parents_at_one_place_are_one_call(schema: strawberry.Schema):
    result = await execute(schema, "{ users { id groups(first: 1) { name } } }")
    assert result.errors is None
    assert result.data == {"users": [{"id": i, "groups": [{"name": "g0"}]} for i in range(3)]}
    assert CALLS == [([0, 1, 2], ("groups", 1, None))]


async def test_arguments_become_strawberrys_types(schema: strawberry.Schema):
    text = "query ($n: Int!) { users(count: 1) { a: groups(first: $n, only: {}) { name } b: groups { name } } }"
    result = await execute(schema, text, n=1)
    assert result.errors is None
    assert [([0], ("groups", 1, Filter())), ([0], ("groups", 2, None))] == CALLS


async def test_an_error_is_its_parents_alone(schema: strawberry.Schema):
    result = await execute(schema, "{ users(count: 5) { groups { name } } }")
    assert [user["groups"] is None for user in result.data["users"]] == [False, False, False, True, False]  # type: ignore[index]
    assert [(error.message, error.path) for error in result.errors or ()] == [
        ("No groups of 3.", ["users", 3, "groups"])
    ]


@pytest.mark.parametrize(("field", "nulled"), [("maybeUsers", [False, False, True]), ("users", None)])
async def test_null_where_it_must_not_be_nulls_what_is_around_it(schema: strawberry.Schema, field: str, nulled: Any):
    result = await execute(schema, f"{{ {field} {{ id name groups {{ name }} }} }}")
    found = result.data and [user is None for user in result.data[field]]
    assert found == nulled
    assert [error.path for error in result.errors or ()] == [[field, 2, "name"]]


async def test_too_few_results_are_an_error_of_each(schema: strawberry.Schema):
    result = await execute(schema, "{ users { badly } }")
    assert {error.message for error in result.errors or ()} == {"load_badly gave 1 results for 3 parents."}
    assert len(result.errors or ()) == 3


async def test_permissions_look_at_each_parent(schema: strawberry.Schema):
    result = await execute(schema, "{ users { guarded } }")
    assert result.data == {"users": [{"guarded": "u0"}, {"guarded": None}, {"guarded": None}]}
    assert [error.message for error in result.errors or ()] == ["not this one"]
    assert [parents for parents, _ in CALLS] == [[0, 2]]


async def test_batches_within_batches(schema: strawberry.Schema):
    result = await execute(schema, "{ users(count: 2) { friends { friends { id } name } } }")
    assert [parents for parents, _ in CALLS] == [[0, 1], [0, 1, 10, 11], [0, 1, 10, 11]]
    assert result.data["users"][1]["friends"][1] == {"friends": [{"id": 110}, {"id": 111}], "name": "u11"}  # type: ignore[index]


async def test_each_place_of_the_operation_is_a_call_of_its_own(schema: strawberry.Schema):
    await execute(schema, "{ a: users(count: 2) { name } b: users(count: 1) { name } }")
    assert sorted(parents for parents, _ in CALLS) == [[0], [0, 1]]


async def test_parents_that_come_late_hold_nobody_up(schema: strawberry.Schema):
    await execute(schema, "{ users { late { groups { name } } } }")
    assert [parents for parents, _ in CALLS] == [[0], [10], [20]]


async def test_a_slow_field_holds_no_batch_up(schema: strawberry.Schema):
    GATE[:] = [asyncio.Event()]
    task = asyncio.ensure_future(execute(schema, "{ slow users { groups { name } } }"))
    while not CALLS:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    assert not task.done()
    GATE[0].set()
    assert (await task).errors is None


async def test_a_mutation_is_complete_before_the_next_begins(schema: strawberry.Schema):
    result = await execute(schema, "mutation { a: user(number: 1) { groups { name } } b: user(number: 4) { name } }")
    assert result.errors is None
    assert [parents for parents, _ in CALLS] == [[1], [4]]
    assert list(result.data or ()) == ["a", "b"]


def test_a_batched_field_is_an_ordinary_field_of_the_schema():
    sdl = strawberry.Schema(Query).as_str()
    assert "groups(first: Int! = 2, only: Filter = null): [Group!]" in sdl
    assert '"""What it is called."""\n  name: String!' in sdl
