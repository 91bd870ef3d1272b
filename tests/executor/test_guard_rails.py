"""No text of a caller becomes code, and code can be read: by people, tracebacks and profilers."""

import ast
import asyncio
import keyword
import linecache
import re
import traceback
from dataclasses import replace
from typing import Any, cast

import pytest
import strawberry
from graphql import FieldNode, NameNode, SelectionSetNode, build_schema, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from service.executor import create_executor
from service.executor.cache import Cache
from service.executor.names import is_attribute, is_name
from service.executor.plan import Plan
from tests.executor.outcomes import REFERENCE, build, describe
from tests.scale import scaled

SDL = """
type Query { echo(text: String, json: J, list: [String], flag: E): String, self: Query, selves: [Query!] }
scalar J
enum E { A B }
"""


def make_schema() -> Any:
    schema = build_schema(SDL)
    fields = schema.query_type.fields  # type: ignore[union-attr]
    fields["echo"].resolve = lambda _, __, **arguments: repr(arguments)
    fields["self"].resolve = lambda *_: 1
    fields["selves"].resolve = lambda *_: [1, 2]
    return schema


SCHEMA = make_schema()


def compile_plan(text: str, schema: Any = SCHEMA) -> Plan:
    executor = build(REFERENCE, schema, parse(text))
    plan = Cache(1000, 0).find(executor)
    plan.generate(plan.root)
    return plan


def assert_only_names(source: str) -> None:
    """The source holds no constants but names, and no calls but of names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert is_name(node.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value is not True:
            assert str(node.value) in {"0", "2147483648", "2147483647", "False"}
        if isinstance(node, ast.Name | ast.arg | ast.FunctionDef):
            name = getattr(node, "id", None) or getattr(node, "arg", None) or node.name  # type: ignore[union-attr]
            assert is_name(name)
        assert not isinstance(node, ast.Import | ast.ImportFrom | ast.Lambda | ast.JoinedStr | ast.Global)


hostile = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ['"', "'''", '"""', "\\", "\n", "{x}", "__import__('os')", "#", "'+exit()+'", "\x00", "\u2028", "]]"]
    ),
)
names = st.one_of(
    st.from_regex(r"\A[_A-Za-z][_0-9A-Za-z]{0,12}\Z"),
    st.sampled_from(
        [*keyword.kwlist, "__class__", "__import__", "run", "source", "path", "data", "item", "settle_a_1"]
    ),
)


@settings(max_examples=scaled(test=60, soak=5000), deadline=None, database=None)
@given(
    st.lists(names, min_size=1, max_size=5, unique=True), hostile, st.lists(hostile, max_size=3), names, st.booleans()
)
def test_no_text_of_a_caller_becomes_code(
    aliases: list[str], text: str, words: list[str], operation: str, as_variable: bool
):
    quoted = [re.sub(r'["\\]|[^\x20-\x7e]', lambda m: f"\\u{{{ord(m.group()):x}}}", each) for each in (text, *words)]
    if any(0xD800 <= ord(letter) <= 0xDFFF for each in (text, *words) for letter in each):
        return
    arguments = f'text: "{quoted[0]}", json: {{a: "{quoted[0]}"}}, list: [{", ".join(f""""{q}" """ for q in quoted)}]'
    if as_variable:
        arguments += ", flag: $flag"
    fields = " ".join(f"{alias}: echo({arguments}) {alias}_: self {{ {alias}: __typename }}" for alias in aliases)
    head = f"query {operation}($flag: E)" if as_variable else f"query {operation}"
    document = parse(
        f"# {quoted[0]}\n{head} {{ {fields} ...{'F' + aliases[0]} }} fragment F{aliases[0]} on Query {{ __typename }}"
    )
    values = {"flag": "A"} if as_variable else {}
    results = [
        build(each, SCHEMA, document, raw_variable_values=values).execute_operation()
        for each in (REFERENCE, create_executor(pytest.fail, compile_after=0))
    ]
    assert describe(results[1]) == describe(results[0])
    plan = Cache(1000, 0).find(build(REFERENCE, SCHEMA, document, raw_variable_values=values))
    plan.generate(plan.root)
    for unit in plan.units:
        assert_only_names(unit.source)


def test_names_that_no_lexer_let_through_are_left_to_graphql_core():
    document = parse("{ echo }")
    field = FieldNode(name=NameNode(value="echo"), alias=NameNode(value="x'] = exit() #"))
    parsed: Any = document.definitions[0]
    operation = replace(parsed, selection_set=SelectionSetNode(selections=(field,)))
    document = replace(document, definitions=(operation,))
    reasons: list[str] = []
    result = build(create_executor(reasons.append), SCHEMA, document).execute_operation()
    assert result.data == {"x'] = exit() #": "{}"}
    assert reasons == ["name"]


@given(st.text(max_size=8))
def test_what_passes_for_a_name_can_stand_in_code(text: str):
    if is_name(text):
        compile(f"{text}_1 = 1", "", "exec")
    if is_attribute(text):
        compile(f"x.{text}", "", "exec")


@pytest.mark.parametrize("text", ["", "1a", "a b", "a\n", "ä", "a'", "ﬁ", "a.b"])
def test_what_is_no_name_does_not_pass(text: str):
    assert not is_name(text)


def test_python_words_are_no_attributes():
    assert not is_attribute("class")
    assert is_name("class")


def test_the_source_reads_like_the_operation():
    plan = compile_plan('query Mine { selves { echo(text: "a") } }')
    [unit] = plan.units
    assert "# Query at selves.[]" in unit.source
    assert "echo_2 = resolve_echo_2(source, run.info(info_echo_2," in unit.source
    assert '"a"' not in unit.source
    assert unit.filename.startswith("<graphql Mine 1 ")


def test_the_source_goes_with_the_plan():
    plan = compile_plan("{ self { echo } }")
    filename = plan.units[0].filename
    assert linecache.getline(filename, 1).startswith("def build_")
    linecache.checkcache()
    assert filename in linecache.cache
    del plan
    import gc  # noqa: PLC0415

    gc.collect()
    assert filename not in linecache.cache


async def test_a_traceback_shows_the_field():
    @strawberry.type
    class Item:
        @strawberry.field
        def broken_one(self) -> str | None:
            raise LookupError("no")

    @strawberry.type
    class Query:
        @strawberry.field
        async def items(self) -> list[Item]:
            await asyncio.sleep(0)
            return [Item()]

    schema = strawberry.Schema(Query, execution_context_class=create_executor(compile_after=0))
    result = await schema.execute("query Broken { items { brokenOne } }")
    [error] = cast("Any", result).errors
    lines = traceback.format_exception(error.original_error)
    [place] = [line for line in lines if "<graphql Broken" in line]
    assert "build_items_item_" in place
    assert "brokenOne_2 = resolve_brokenOne_2(" in place
