"""Types whose objects are of classes that know nothing of GraphQL."""

from dataclasses import dataclass
from typing import Any

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import ExecutionResult

from service.executor import backed_by, create_executor
from service.executor.classes import find_classes, find_member_classes


@dataclass
class Row:
    id: str = "row"


class LongRow(Row):
    pass


@dataclass
class Page:
    id: str = "page"
    title: str = "t"


@strawberry.interface
class Node:
    id: str


@strawberry.type
class Line(Node):
    is_type_of = backed_by(Row)


@strawberry.type
class Sheet(Node):
    title: str
    is_type_of = backed_by(Page, LongRow)

    @strawberry.field
    @staticmethod
    def way(info: strawberry.Info) -> list[str]:
        return [str(key) for key in info.path.as_list()]


@strawberry.type
class Own:
    id: str = "own"


@strawberry.type
class Odd:
    id: str = "odd"

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        return isinstance(value, Row | Odd)


@strawberry.type
class Query:
    @strawberry.field
    def nodes(self) -> list[Node | None]:
        return [Row(), LongRow(), Page(), object(), strawberry.cast(Sheet, Page())]  # type: ignore[list-item]

    @strawberry.field
    def lines(self) -> list[Line | None]:
        return [Row(), LongRow(), Page(), Line(id="own")]  # type: ignore[list-item]

    @strawberry.field
    def either(self) -> list[Line | Sheet | Own | None]:
        return [Row(), LongRow(), Page(), Own(), Line(id="own")]  # type: ignore[list-item]

    @strawberry.field
    def sheets(self) -> list[Node]:
        return [Page(), Page(), Page()]  # type: ignore[list-item]

    @strawberry.field
    def odd(self) -> list[Odd | Line | None]:
        return [Row(), LongRow(), Odd(), Page()]  # type: ignore[list-item]


def make_schema(executor_class: Any) -> strawberry.Schema:
    return strawberry.Schema(query=Query, execution_context_class=executor_class)


@pytest.mark.parametrize("field", ["nodes", "lines", "either", "odd"])
def test_objects_are_told_by_their_class_as_graphql_core_tells_them(field: str):
    text = f"{{ {field} {{ __typename ... on Line {{ id }} ... on Sheet {{ title }} ... on Odd {{ id }} }} }}"
    text = text if field != "lines" else "{ lines { __typename id } }"
    text = text if field == "odd" else text.replace(" ... on Odd { id }", "")
    text = (
        text
        if field != "odd"
        else text.replace(" ... on Sheet { title }", "").replace("on Odd { id }", "on Odd { x: id }")
    )
    expected = make_schema(StrawberryGraphQLCoreExecutionContext).execute_sync(text)
    schema = make_schema(create_executor(pytest.fail, compile_after=0))
    for _ in range(2):
        found = schema.execute_sync(text)
        assert isinstance(found, ExecutionResult)
        assert found.data == expected.data
        assert [(e.message, e.path) for e in found.errors or ()] == [(e.message, e.path) for e in expected.errors or ()]


def test_resolvers_of_an_abstract_types_objects_see_where_they_are():
    text = "{ sheets { ... on Sheet { title way } } }"
    expected = make_schema(StrawberryGraphQLCoreExecutionContext).execute_sync(text)
    found = make_schema(create_executor(pytest.fail, compile_after=0)).execute_sync(text)
    assert found == expected
    assert [sheet["way"] for sheet in (found.data or {})["sheets"]] == [["sheets", str(i), "way"] for i in range(3)]


def test_what_a_type_is_backed_by_is_known():
    schema = make_schema(create_executor())._schema
    types: Any = schema.type_map
    assert find_classes(types["Line"]) == {Row}
    assert find_classes(types["Sheet"]) == {Page, LongRow}
    classes = find_member_classes(schema, types["LineSheetOwn"])
    # The first type that takes it: a long row is a row.
    assert classes == {Row: types["Line"], LongRow: types["Line"], Page: types["Sheet"], Own: types["Own"]}
    assert find_member_classes(schema, types["OddLine"]) == {}
