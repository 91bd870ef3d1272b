from typing import Any

import pytest
from graphql import GraphQLError, OperationDefinitionNode, VariableValues, build_schema, get_variable_values, parse
from graphql.type import GraphQLScalarType
from hypothesis import given, settings
from hypothesis import strategies as st

from service.graphql_http.variables import Variables
from tests.scale import scaled

SCHEMA = build_schema(
    """
    type Query { field: Int }
    scalar Any
    scalar Picky
    enum Color { RED GREEN }
    input Point { x: Int! y: Int = 2 }
    """
)


def pick(value: Any) -> Any:
    """A scalar's parser that refuses in a way of its own."""
    return {"this": "that"}[value]


picky = SCHEMA.type_map["Picky"]
assert isinstance(picky, GraphQLScalarType)
picky.coerce_input_value = pick

NAMES = ["Int", "Float", "String", "Boolean", "ID", "Any", "Picky", "Color", "Point"]
TYPES = st.tuples(st.sampled_from(NAMES), st.sampled_from(["{}", "{}!", "[{}]", "[{}!]", "[{}!]!", "[[{}]]"])).map(
    lambda parts: parts[1].format(parts[0])
)
ATOMS = st.sampled_from(
    [None, True, False, 0, 7, -1, 2**31, 2**80, 1.0, 1.5, "", "7", "RED", "this", {}, {"x": 1}, {"x": 1, "z": 2}]
)
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
DEFAULTS = st.sampled_from(["", "", " = null", " = 7", ' = "this"', " = [1, 2]"])


def describe(found: VariableValues | list[GraphQLError]) -> object:
    if isinstance(found, VariableValues):
        types = {name: [type(value), repr(value)] for name, value in found.coerced.items()}
        sources = {name: (str(each.signature.type), each.value) for name, each in found.sources.items()}
        return types, list(found.coerced), sources, list(found.sources)
    return [(error.message, error.locations) for error in found]


@settings(max_examples=scaled(test=1000, soak=50_000))
@given(
    declared=st.lists(st.tuples(TYPES, DEFAULTS), max_size=3),
    given_=st.dictionaries(st.sampled_from(["v0", "v1", "v2", "v3"]), VALUES),
)
def test_variables_are_what_graphql_core_makes_of_them(declared: list[tuple[str, str]], given_: dict[str, Any]) -> None:
    listed = ", ".join(f"$v{number}: {type_}{default}" for number, (type_, default) in enumerate(declared))
    operation = parse(f"query Q {f'({listed})' if listed else ''} {{ field }}").definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    definitions = operation.variable_definitions or ()
    compiled = Variables.compile(SCHEMA, definitions)
    expected = get_variable_values(SCHEMA, definitions, given_, 20)
    for _ in range(2):
        assert describe(compiled.coerce(given_, max_errors=20, hide_suggestions=False)) == describe(expected)


@pytest.mark.parametrize("depth", [2, 30, 100])
def test_lists_of_lists_are_left_to_graphql_core(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    operation = parse(f"query ($v: {'[' * depth}Int{']' * depth}) {{ field }}").definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    definitions = operation.variable_definitions or ()
    found = Variables.compile(SCHEMA, definitions).coerce({"v": value}, max_errors=20, hide_suggestions=False)
    assert describe(found) == describe(get_variable_values(SCHEMA, definitions, {"v": value}, 20))
