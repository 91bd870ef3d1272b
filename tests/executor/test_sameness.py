"""Generated operations on generated schemas: graphql-core and compiled code must answer the same, to the last error."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import DocumentNode, ExecutionResult, GraphQLSchema, build_schema, parse
from graphql.pyutils.is_awaitable import is_awaitable
from hypothesis import HealthCheck, given, settings
from strawberry.execution import optimized_is_awaitable

from service.executor import create_executor
from tests.executor.outcomes import (
    REFERENCE,
    Outcome,
    assert_nothing_runs,
    build,
    describe,
    leaving_nothing_behind,
    leaving_what_it_may,
    quick_collections,
    run,
)
from tests.executor.worlds import Builder, World, Writer
from tests.scale import scaled

OPERATIONS = 5
WORLDS = 20


class Case:
    """Some operations on one schema."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.world: World = Builder(seed, trouble=self.chance.choice([0, 0.03, 0.1, 0.2]), **options).build()
        self.operations: list[tuple[str, DocumentNode, dict[str, Any]]] = []
        for _ in range(OPERATIONS):
            writer = Writer(self.world, self.chance)
            text = writer.write(self.chance.choice(["query", "query", "mutation"]))
            self.operations.append((text, parse(text), writer.variables))
        self.is_awaitable = self.chance.choice([is_awaitable, optimized_is_awaitable])
        self.compile_after = self.chance.choice([0, 0, 1, 2])

    def executors(self, executor_class: type) -> Iterator[Any]:
        for _, document, variables in self.operations:
            yield build(
                executor_class,
                self.world.schema,
                document,
                root_value=self.world.root,
                context_value=self,
                raw_variable_values=dict(variables),
                is_awaitable=self.is_awaitable,
            )

    def compiled(self) -> type:
        return create_executor(pytest.fail, compile_after=self.compile_after)

    def check(self, expected: list[Outcome], found: list[Outcome]) -> None:
        for number, (text, _, variables) in enumerate(self.operations):
            assert found[number] == expected[number], f"seed {self.seed}: {text} {variables}"


async def run_all(case: Case, executor_class: type, *, is_reference: bool) -> list[Outcome]:
    outcomes = []
    for executor in case.executors(executor_class):
        outcomes.append(describe(await run(executor)))
        if is_reference:
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            await assert_nothing_runs(executor)
    return outcomes


@pytest.fixture(autouse=True)
def _quickly() -> Iterator[None]:
    with quick_collections():
        yield


@pytest.mark.parametrize("chunk", range(scaled(test=18, soak=450)))
async def test_operations_answer_the_same(chunk: int):
    cases = [Case(chunk * WORLDS + number) for number in range(WORLDS)]
    with leaving_what_it_may():
        expected = [await run_all(case, REFERENCE, is_reference=True) for case in cases]
    with leaving_nothing_behind():
        found = [await run_all(case, case.compiled(), is_reference=False) for case in cases]
    for case, *outcomes in zip(cases, expected, found, strict=True):
        case.check(*outcomes)


@pytest.mark.parametrize("chunk", range(scaled(test=2, soak=50)))
def test_without_awaitables_there_is_a_result_at_once(chunk: int):
    for number in range(WORLDS):
        case = Case(chunk * WORLDS + number, waits=False)
        outcomes = []
        for executor_class in (REFERENCE, case.compiled()):
            results = [executor.execute_operation() for executor in case.executors(executor_class)]
            assert all(isinstance(result, ExecutionResult) for result in results)
            outcomes.append([describe(result) for result in results])
        case.check(*outcomes)


@pytest.mark.parametrize("chunk", range(scaled(test=3, soak=75)))
async def test_batched_fields_answer_the_same_as_with_a_loader(chunk: int):
    cases = [Case(chunk * WORLDS + number, batches=True) for number in range(WORLDS)]
    with leaving_what_it_may():
        expected = [await run_all(case, REFERENCE, is_reference=True) for case in cases]
    with leaving_nothing_behind():
        found = [await run_all(case, case.compiled(), is_reference=False) for case in cases]
    for case, *outcomes in zip(cases, expected, found, strict=True):
        case.check(*([(data, find_heard(data, errors)) for data, errors in each] for each in outcomes))


def find_heard(text: str, errors: list[Any]) -> list[Any]:
    """The errors whose object is in the answer, in any order.

    Of several that null the same place the first is told, and a loader's turn comes at another time than a batch's.
    """
    data = eval(text, {"nan": "nan", "inf": "inf"})
    return sorted((error for error in errors if _holds(data, error[1][:-1])), key=repr)


def _holds(data: Any, path: list[Any]) -> bool:
    for key in path:
        if data is None:
            return False
        data = data[key]
    return data is not None


SDL = """
interface Node { id: ID! }
enum Size { SMALL LARGE }
input Filter { size: Size = SMALL, words: [String!], depth: Int, inner: Filter }
scalar Moment
type User implements Node { id: ID!, name(upper: Boolean = false): String, size: Size, friends(first: Int): [User!]! }
type Team implements Node { id: ID!, title: String!, members(filter: Filter): [[User]], since: Moment }
union Thing = User | Team
type Query { node(id: ID!): Node, things(filter: Filter, ids: [ID!]! = ["a"]): [Thing!], me: User!, number: Float }
type Mutation { rename(id: ID!, name: String): Thing, count(by: Int! = 1): Int! }
"""


def make_schema() -> GraphQLSchema:
    """Every field echoes what it got, so that arguments are compared as well."""
    schema = build_schema(SDL)

    def resolve(source: Any, info: Any, **arguments: Any) -> Any:
        depth = len([key for key in info.path.as_list() if isinstance(key, str)])
        text = f"{info.path.key}{sorted(arguments.items())!r}"
        chance = random.Random(text + str(source))
        if chance.random() < 0.1:
            raise ValueError(text)
        named = str(info.return_type).strip("[]!")
        value: Any = {"Float": 1.5, "Int": 7, "Size": "SMALL"}.get(named, text)
        if named in {"Node", "Thing", "User", "Team"}:
            value = {
                "__typename": named if named in {"User", "Team"} else chance.choice(["User", "Team"]),
                "text": text,
            }
        if "[" in str(info.return_type):
            value = [value, value] if depth < 4 else []
            value = [value] if "[[" in str(info.return_type) else value
        return value

    for name in ("Query", "Mutation", "User", "Team"):
        for field in schema.type_map[name].fields.values():  # type: ignore[attr-defined]
            field.resolve = resolve
    return schema


def test_operations_of_hypothesis_graphql_answer_the_same():
    strategies = pytest.importorskip("hypothesis_graphql")
    schema = make_schema()
    compiled = create_executor(pytest.fail, compile_after=0)

    @settings(
        max_examples=scaled(test=40, soak=2500), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategies.from_schema(SDL))
    def check(text: str) -> None:
        document = parse(text)
        results = [build(each, schema, document).execute_operation() for each in (REFERENCE, compiled)]
        assert describe(results[1]) == describe(results[0])

    check()
