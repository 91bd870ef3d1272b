"""What is compiled, when, and how long it is kept; what is left to graphql-core, and why."""

import gc
import linecache
import random
import re
from typing import Any

import pytest
from graphql import DocumentNode, GraphQLSchema, build_schema, parse
from graphql.execution import ExecutionHooks, ExperimentalIncrementalExecutionResults
from graphql.execution.middleware import MiddlewareManager
from graphql.pyutils import AbortController

from service.executor import create_executor
from service.executor.cache import Cache
from service.executor.survey import NotCompiled
from tests.executor.outcomes import REFERENCE, build, describe, run

SDL = """
type Query {
  echo(text: String, list: [String], item: In, json: J, choice: [E!] = [A]): String
  me: Item, items: [Item!], any: Named, boom: String, default: String, number: Int
}
type Mutation { echo(text: String): String }
interface Named { name: String }
type Item implements Named { name: String, next: Item, size(unit: String = "m"): Int, echo(text: String): String }
type Other implements Named { name: String, next: Item }
input In { a: String = "x", b: [Int] }
scalar J
enum E { A B }
"""


def make_schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    types: Any = schema.type_map
    echo = lambda _, __, **arguments: repr(arguments)  # noqa: E731
    for name in ("Query", "Item", "Mutation"):
        types[name].fields["echo"].resolve = echo
    thing = {"__typename": "Item", "name": "n", "size": 1}
    query = types["Query"].fields
    query["me"].resolve = lambda *_: dict(thing, next=dict(thing, next=thing))
    query["items"].resolve = lambda *_: [thing] * 3
    query["any"].resolve = lambda *_: thing
    query["boom"].resolve = lambda *_: 1 / 0
    return schema


SCHEMA = make_schema()


def answer(text: str | DocumentNode, executor_class: Any, **options: Any) -> Any:
    document = parse(text) if isinstance(text, str) else text
    return describe(build(executor_class, SCHEMA, document, **options).execute_operation())


def find(cache: Cache, document: DocumentNode, **variables: Any) -> Any:
    return cache.find(build(REFERENCE, SCHEMA, document, raw_variable_values=variables))


# --- what is left to graphql-core ---


@pytest.mark.parametrize(
    ("reason", "text", "options"),
    [
        (
            "middleware",
            "{ number }",
            {"middleware": MiddlewareManager(lambda next_, *args, **kwargs: next_(*args, **kwargs))},
        ),
        ("abort_signal", "{ number }", {"abort_signal": AbortController().signal}),
        ("hooks", "{ number }", {"hooks": ExecutionHooks()}),
        ("error_propagation", "query @experimental_disableErrorPropagation { boom }", {}),
        ("directive", "query ($s: Boolean) { number @skip(if: $s) }", {"raw_variable_values": {"s": None}}),
        ("root_type", "subscription { number }", {}),
    ],
)
def test_what_is_not_compiled_is_left_to_graphql_core_for_a_reason(reason: str, text: str, options: dict[str, Any]):
    reasons: list[str] = []
    compiled, reference = create_executor(reasons.append), REFERENCE
    assert answer(text, compiled, **options) == answer(text, reference, **options)
    assert reasons == [reason]


@pytest.mark.parametrize("text", ["{ ... @defer { number } }", "{ items @stream { name } }"])
async def test_what_comes_piece_by_piece_is_left_to_graphql_core(text: str):
    reasons: list[str] = []
    result = build(create_executor(reasons.append), SCHEMA, parse(text)).execute_operation()
    assert isinstance(result, ExperimentalIncrementalExecutionResults)
    assert [each async for each in result.subsequent_results]
    assert reasons == ["incremental"]


def test_fragments_with_arguments_are_left_to_graphql_core():
    text = 'query { ...F(a: "x") } fragment F($a: String) on Query { echo(text: $a) }'
    document = parse(text, experimental_fragment_arguments=True)
    reasons: list[str] = []
    assert answer(document, create_executor(reasons.append)) == answer(document, REFERENCE)
    assert reasons == ["fragment_arguments"]


def test_a_cache_belongs_to_one_schema():
    reasons: list[str] = []
    executor_class = create_executor(reasons.append)
    for schema in (SCHEMA, make_schema()):
        assert build(executor_class, schema, parse("{ me { name } }")).execute_operation().data
    assert reasons == ["schema"]


# --- when ---


def test_the_first_objects_of_a_place_have_no_code_of_their_own():
    document = parse("{ me { name } items { name } }")
    executor_class = create_executor(pytest.fail, compile_after=2)
    sources = []
    for _ in range(4):
        known = set(linecache.cache)
        build(executor_class, SCHEMA, document).execute_operation()
        sources.append("".join(linecache.getlines(name)[0] for name in set(linecache.cache) - known))
    # The third item of the first request, and then the third request.
    assert [re.findall(r"build_([a-z]+)", source) for source in sources] == [["items"], [], ["me"], []]


@pytest.mark.parametrize("compile_after", [0, 1])
def test_fragments_within_fragments_are_compiled_as_far_as_there_is_data(compile_after: int):
    depth = 25
    fragments = [
        f"fragment F{i} on Item {{ a: next {{ ...F{i + 1} }} b: next {{ ...F{i + 1} }} }}" for i in range(depth)
    ]
    text = f"{{ me {{ ...F0 }} }} {' '.join(fragments)} fragment F{depth} on Item {{ name }}"
    document = parse(text)
    assert answer(document, create_executor(pytest.fail, compile_after=compile_after)) == answer(document, REFERENCE)
    assert find(Cache(10_000, 0), document).size < 1000


@pytest.mark.parametrize("compile_after", [0, 1])
def test_deep_operations_are_compiled_as_far_as_the_stack_goes(compile_after: int):
    schema = make_schema()
    types: Any = schema.type_map
    types["Item"].fields["next"].resolve = lambda source, _: {"name": "n", "depth": source.get("depth", 0) + 1}
    document = parse("{ me " + "{ name next " * 120 + "{ name }" + "}" * 121)
    executor_class = create_executor(pytest.fail, compile_after=compile_after)
    expected = describe(build(REFERENCE, schema, document).execute_operation())
    assert "'n'" in expected[0]
    for _ in range(3):
        assert describe(build(executor_class, schema, document).execute_operation()) == expected


async def test_a_request_leaves_no_cycles_for_the_collector():
    schema = make_schema()
    types: Any = schema.type_map

    async def later(*_: Any) -> list[dict[str, Any]]:
        return [{"__typename": "Item", "name": "n"}] * 3

    types["Query"].fields["items"].resolve = later
    document = parse("{ items { name size } me { name next { name } } any { name } }")
    executor_class = create_executor(pytest.fail, compile_after=0)
    for _ in range(2):
        await run(build(executor_class, schema, document))
    gc.collect()
    gc.disable()
    try:
        await run(build(executor_class, schema, document))
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- how long ---


def test_the_same_operation_is_planned_once():
    cache, document = Cache(1000, 0), parse("query A { number } query B { number }")
    plans = [cache.find(build(REFERENCE, SCHEMA, document, operation_name=name)) for name in ("A", "B", "A")]
    assert plans[0] is plans[2] is not plans[1]
    assert find(cache, parse("query A { number }")) is not plans[0]


def test_a_plan_depends_on_the_variables_of_skip_and_include_alone():
    cache = Cache(1000, 0)
    document = parse(
        "query ($s: Boolean!, $i: Boolean! = true, $t: String) { number @skip(if: $s) ...F echo(text: $t) } "
        "fragment F on Query { boom @include(if: $i) }"
    )
    plan = find(cache, document, s=True, t="secret")
    assert find(cache, document, s=True, i=True, t="other") is plan
    assert find(cache, document, s=True, i=False) is not plan
    assert find(cache, document, s=False) is not plan
    assert "secret" not in repr(vars(plan))
    executor_class = create_executor(pytest.fail, compile_after=0)
    for s in (True, False):
        for i in (True, False):
            values = {"s": s, "i": i, "t": f"{s}{i}"}
            assert answer(document, executor_class, raw_variable_values=values) == answer(
                document, REFERENCE, raw_variable_values=values
            )


def test_the_least_used_plans_go_first():
    cache = Cache(6, 0)
    documents = [parse("{ number a: number }") for _ in range(3)]
    plans = [find(cache, document) for document in documents]
    assert find(cache, documents[0]) is plans[0]
    fourth = parse("{ number a: number }")
    find(cache, fourth)
    assert find(cache, documents[0]) is plans[0]
    assert find(cache, documents[1]) is not plans[1]


def test_many_conditions_do_not_fill_the_memory():
    cache = Cache(100, 0)
    names = [f"v{i}" for i in range(10)]
    fields = " ".join(f"{name}: number @skip(if: ${name})" for name in names)
    document = parse(f"query ({', '.join(f'${name}: Boolean!' for name in names)}) {{ number {fields} }}")
    for seed in range(300):
        find(cache, document, **{name: random.Random(f"{seed}{name}").random() < 0.5 for name in names})
    assert sum(size for _, size in cache._plans.values()) <= 100


def test_documents_that_cannot_be_compiled_do_not_fill_the_memory():
    cache = Cache(100, 0)
    for _ in range(1500):
        with pytest.raises(NotCompiled):
            find(cache, parse("{ ... @defer { number } }"))
    assert len(cache._surveys) <= 1024


# --- arguments ---


@pytest.mark.parametrize("compile_after", [0, 5])
def test_a_resolver_that_changes_its_arguments_changes_nobody_elses(compile_after: int):
    def take(source: Any, info: Any, **arguments: Any) -> str:
        text = repr(arguments)
        arguments.pop("choice")  # its default is graphql-core's own, which it hands to everybody itself
        for value in arguments.values():
            if isinstance(value, list):
                value.append("changed")
            elif isinstance(value, dict):
                value["changed"] = True
        return text

    schema = make_schema()
    schema.query_type.fields["echo"].resolve = take  # type: ignore[union-attr]
    document = parse(
        'query ($w: String, $n: Int) { a: echo(list: ["x"], item: {b: [1]}, json: {k: [1]}) b: echo(item: {b: [$n]}) '
        'c: echo(text: "same") d: echo(list: [$w]) e: echo }'
    )
    outcomes = []
    for executor_class in (REFERENCE, create_executor(pytest.fail, compile_after=compile_after)):
        for _ in range(3):
            executor = build(executor_class, schema, document, raw_variable_values={"w": "w", "n": 1})
            outcomes.append(describe(executor.execute_operation()))
    assert outcomes[3:] == outcomes[:3]


@pytest.mark.parametrize("values", [{}, {"t": None}, {"t": "x", "n": [1, None]}, {"b": {"a": "q"}}])
def test_variables_reach_resolvers_as_with_graphql_core(values: dict[str, Any]):
    document = parse(
        'query ($t: String, $n: [Int], $b: In, $d: String = "d") { a: echo(text: $t) b: echo(item: {b: $n}) '
        "c: echo(item: $b) d: echo(text: $d, list: [$t, $d]) e: echo(list: $d) items { echo(text: $t) size } }"
    )
    compiled = create_executor(pytest.fail, compile_after=0)
    for _ in range(2):
        assert answer(document, compiled, raw_variable_values=values) == answer(
            document, REFERENCE, raw_variable_values=values
        )


def test_arguments_that_do_not_fit_are_errors_of_their_fields():
    # Validation lets none of these pass; execution looks once more.
    text = "query ($e: [E!]) { a: echo(choice: [C]) b: echo(text: 5) number c: echo(choice: $e) d: echo(choice: null) }"
    assert answer(text, create_executor(pytest.fail, compile_after=0)) == answer(text, REFERENCE)


async def test_a_type_that_comes_up_late_gets_its_code_then():
    schema = make_schema()
    types: Any = schema.type_map
    kinds = iter(["Item", "Item", "Item", "Other", "Nothing", "Other"])
    types["Query"].fields["any"].resolve = lambda *_: {"__typename": next(kinds), "name": "n"}
    executor_class = create_executor(pytest.fail, compile_after=0)
    document = parse("{ any { __typename name ... on Item { size } ... on Other { next { name } } } }")
    found = [(await run(build(executor_class, schema, document))).data for _ in range(6)]
    item, other = {"__typename": "Item", "name": "n", "size": None}, {"__typename": "Other", "name": "n", "next": None}
    assert found == [{"any": each} for each in (item, item, item, other, None, other)]
