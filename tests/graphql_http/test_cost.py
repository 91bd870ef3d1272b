from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse
from strawberry.federation.schema_directives import ListSize

from service.errors import RequestTooLarge
from service.graphql_http.cost import CostPlan, CostTable, FieldCost, compile_cost, read_costs
from tests.graphql_http.small_graph import schema as small_graph

SCHEMA = build_schema("""
  type Query { user: User users(first: Int = 50, last: Int): UserList nodes(ids: [ID!]!): [User] q: Query named: Named }
  interface Named { name: String }
  type UserList { nodes: [User] pageInfo: Info }
  type Info { hasNextPage: Boolean }
  type User implements Named { name: String groups: [Group] users(first: Int): UserList }
  type Group { id: ID }
  type Mutation { write: User }
""")
TABLE: CostTable = {
    "Query": {
        "users": FieldCost(cost=5, size_arguments=("first", "last"), default_size=20),
        "nodes": FieldCost(size_arguments=("ids",)),
    },
    "User": {"groups": FieldCost(default_size=10), "users": FieldCost(size_arguments=("first",), default_size=20)},
    "Mutation": {"write": FieldCost(cost=10)},
}


def plan(text: str, schema: GraphQLSchema = SCHEMA, table: CostTable = TABLE) -> CostPlan:
    document = parse(text)
    operation = next(one for one in document.definitions if isinstance(one, OperationDefinitionNode))
    return compile_cost(schema, table, document, operation)


def cost(text: str, **variables: Any) -> int:
    return plan(text).estimate(variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ __typename }", 0),
        ("{ user { name } }", 1),
        ("{ named { name ... on User { groups { id } } } }", 11),
        ("{ user { groups { id } } }", 1 + 10),
        ("{ users(first: 3) { nodes { name } pageInfo { hasNextPage } } }", 5 + 1 + 3 * (1 + 1)),
        ("{ users { nodes { name } } }", 5 + 1 + 50),
        ("{ users(first: 2, last: 7) { nodes { name } } }", 5 + 1 + 7),
        ("{ users(last: 7) { nodes { name } } }", 5 + 1 + 7),
        ("{ users(first: 0) { nodes { name } } }", 6),
        ("{ users(first: -5) { nodes { name } } }", 6),
        ('{ nodes(ids: ["1", "2", "3"]) { name } }', 3),
        ("{ users(first: 10) { nodes { users(first: 10) { nodes { name } } } } }", 6 + 10 * (1 + 1 + 10)),
        ("{ user { users { nodes { name } } } }", 1 + 1 + 20),
        ("mutation { write { name } }", 11),
        ("{ __schema { types { name } } }", 1000),
        ('{ __type(name: "User") { name } }', 50),
        ("{ a: user { name } b: user { name } }", 2),
        ("{ ...F ...F } fragment F on Query { user { name } }", 2),
        ("{ q { ... { user { name } } } }", 2),
    ],
)
def test_a_literal_document_has_a_fixed_cost(text: str, expected: int) -> None:
    assert cost(text) == expected


@pytest.mark.parametrize(
    ("declaration", "variables", "size"),
    [
        ("$n: Int", {"n": 3}, 3),
        ("$n: Int", {}, 50),
        ("$n: Int", {"n": None}, 50),
        ("$n: Int = 4", {}, 4),
        ("$n: Int = 4", {"n": 9}, 9),
        ("$n: Int", {"n": "many"}, 50),
        ("$n: Int", {"n": True}, 50),
        ("$n: Int", {"n": -1}, 0),
    ],
)
def test_variables_ask_for_sizes(declaration: str, variables: dict[str, Any], size: int) -> None:
    text = f"query ({declaration}) {{ users(first: $n) {{ nodes {{ name }} }} }}"
    assert cost(text, **variables) == 6 + size


def test_a_list_variable_is_as_long_as_it_is() -> None:
    assert cost("query ($ids: [ID!]!) { nodes(ids: $ids) { name } }", ids=["a"] * 40) == 40


def test_the_largest_of_several_arguments_counts() -> None:
    text = "query ($n: Int) { users(first: $n, last: 8) { nodes { name } } }"
    assert [cost(text, n=size) for size in (3, 30)] == [6 + 8, 6 + 30]


def test_nested_variable_lists_multiply() -> None:
    text = "query ($a: Int, $b: Int) { users(first: $a) { nodes { users(first: $b) { nodes { name } } } } }"
    assert cost(text, a=10, b=100) == 6 + 10 * (1 + 1 + 100)


def test_a_fragment_with_a_variable_list_is_one_step_however_often_it_is_spread() -> None:
    text = "query ($n: Int) { ...F ...F q { ...F } } fragment F on Query { users(first: $n) { nodes { name } } }"
    assert cost(text, n=100) == 3 * 106 + 1


def test_doubling_fragments_are_looked_at_once_and_counted_in_full() -> None:
    chain = " ".join(f"fragment F{n} on Query{{...F{n + 1} ...F{n + 1}}}" for n in range(22))
    text = f"query($n:Int){{...F0}} {chain} fragment F22 on Query{{users(first:$n){{nodes{{name}}}}}}"
    compiled = plan(text)
    assert compiled.visits == 1 + 22 * 2 + 3
    assert compiled.estimate({"n": 1}) == 2**22 * 7


def test_huge_sizes_stop_at_a_ceiling() -> None:
    assert cost("query ($n: Int) { users(first: $n) { nodes { name } } }", n=10**400) == 10**9
    assert cost("{ users(first: " + "9" * 400 + ") { nodes { name } } }") == 10**9


def test_the_limit_is_held_and_explained() -> None:
    compiled = plan("query ($n: Int) { users(first: $n) { nodes { name } } }")
    compiled.check({"n": 994}, 1000)
    with pytest.raises(RequestTooLarge, match="1001 is over the limit of 1000") as caught:
        compiled.check({"n": 995}, 1000)
    assert "first" in (caught.value.cure or "")


def test_costs_are_read_from_the_schemas_directives_and_arguments() -> None:
    assert read_costs(small_graph)["Query"] == {
        "people": FieldCost(size_arguments=("first", "last"), default_size=50),
        "nodes": FieldCost(cost=10, size_arguments=("ids",)),
    }


def test_a_list_size_that_names_no_argument_is_a_mistake_of_ours() -> None:
    wrong: object = ListSize(assumed_size=1, slicing_arguments=["frist"], sized_fields=None)

    @strawberry.type
    class Query:
        @strawberry.field(directives=[wrong])  # type: ignore[untyped-decorator] # its overloads lose the type here
        def people(self) -> list[str]:
            return []

    with pytest.raises(ValueError, match=r"Query.people names no argument of it: \['frist'\]"):
        read_costs(strawberry.Schema(Query))
