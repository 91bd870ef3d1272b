import enum
from typing import Any, NewType

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from structlog.testing import capture_logs

from service.errors import BadInput, RateLimited
from service.graphql_http.responses import format_field_errors
from tests.graphql_http.small_graph import SECRET, connect, make_app


def parse_even(value: Any) -> int:
    if not isinstance(value, int) or value % 2:
        raise BadInput("Not an even number.", cure="Add one.")
    return value


EvenNumber = NewType("EvenNumber", int)
SCALARS: dict[object, Any] = {EvenNumber: strawberry.scalar(name="EvenNumber", parse_value=parse_even, serialize=int)}


@strawberry.input(one_of=True)
class Choice:
    a: strawberry.Maybe[int]
    b: strawberry.Maybe[int]


@strawberry.enum
class Kind(enum.Enum):
    ONE = 1


@strawberry.input
class Link:
    token: str
    host: str
    count: int = 0
    kind: Kind = Kind.ONE


@strawberry.type
class Query:
    @strawberry.field
    def link(self, input: Link) -> str:  # noqa: A002 - GraphQL's usual name
        return "linked"

    @strawberry.field
    def positive(self, number: int = 1) -> int | None:
        return number

    @strawberry.field
    def even(self, number: EvenNumber) -> int:
        return number

    @strawberry.field
    def chosen(self, choice: Choice) -> int:
        return 1

    @strawberry.field
    def deliberate(self) -> str | None:
        raise GraphQLError("Said on purpose.", extensions={"code": "ON_PURPOSE"})

    @strawberry.field
    def uncoded(self) -> str | None:
        raise GraphQLError("says what it should not")

    @strawberry.field
    def limited(self) -> str | None:
        raise RateLimited("Wait.", upstream_status=429, retry_after=1.5) from ValueError("why")

    @strawberry.field
    def wrong_leaf(self) -> int | None:
        return "secret text"  # type: ignore[return-value]


async def answer(query: str, *, suggestions: bool = False, **variables: Any) -> dict[str, Any]:
    graph = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS))
    async with connect(make_app(graph=graph, suggestions=suggestions)) as client:
        response = await client.post("/graphql", json={"query": query, "variables": variables})
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ even(number: 3) }", {}),
        ("query ($n: EvenNumber!) { even(number: $n) }", {"n": 3}),
    ],
)
async def test_what_a_scalar_says_of_its_value_is_shown(query: str, variables: dict[str, Any]) -> None:
    (error,) = (await answer(query, **variables))["errors"]
    assert error["message"].endswith("Expected value of type 'EvenNumber'. Not an even number.")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "retryable": False, "cure": "Add one."}


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (f'{{ even(number: "{SECRET}") }}', {}),
        (f'{{ link(input: {{ token: "{SECRET}" }}) }}', {}),
        (f'{{ link(input: {{ token: "{SECRET}", host: "x", hosst: 1 }}) }}', {}),
        (f'{{ link(input: {{ host: "{SECRET}", count: "{SECRET}" }}) }}', {}),
        (f'{{ link(input: "{SECRET}") }}', {}),
        ("query ($i: Link!) { link(input: $i) }", {"i": SECRET}),
        ("query ($i: Link!) { link(input: $i) }", {"i": [SECRET]}),
        ("query ($i: Link!) { link(input: $i) }", {"i": {"token": SECRET}}),
        ("query ($i: Link!) { link(input: $i) }", {"i": {"token": [SECRET], "host": "x"}}),
        ("query ($i: Link!) { link(input: $i) }", {"i": {"token": SECRET, "host": "x", "hosst": 1}}),
        ("query ($i: Link!) { link(input: $i) }", {"i": {"token": SECRET, "host": "x", "count": SECRET}}),
        ("query ($i: Link!) { link(input: $i) }", {"i": {"token": SECRET, "host": "x", "kind": SECRET}}),
        ("query ($n: EvenNumber!) { even(number: $n) }", {"n": SECRET * 50}),
        ("query ($c: Choice!) { chosen(choice: $c) }", {"c": {"a": SECRET, "b": 1}}),
    ],
)
@pytest.mark.parametrize("suggestions", [True, False])
async def test_a_secret_in_the_wrong_place_is_not_quoted(
    query: str, variables: dict[str, Any], suggestions: bool
) -> None:
    found = await answer(query, suggestions=suggestions, **variables)
    assert found["errors"]
    assert SECRET not in str(found)
    assert "data" not in found


async def test_a_missing_field_is_named() -> None:
    (error,) = (await answer("query ($i: Link!) { link(input: $i) }", i={"token": SECRET}))["errors"]
    assert error["message"] == (
        "Variable '$i' has invalid value: Expected value of type 'Link' to include required field 'host'."
    )


async def test_a_resolvers_own_graphql_error_is_shown_if_it_has_a_code() -> None:
    with capture_logs() as logs:
        found = await answer("{ deliberate uncoded }")
    assert [error["extensions"]["code"] for error in found["errors"]] == ["ON_PURPOSE", "INTERNAL"]
    assert "says what it should not" not in str(found)
    assert len(logs) == 1


async def test_details_of_an_upstream_error_are_shown() -> None:
    (error,) = (await answer("{ limited }"))["errors"]
    assert error["extensions"] == {
        "code": "RATE_LIMITED",
        "retryable": True,
        "cure": "Try again after `retryAfter` seconds.",
        "upstream": {"status": 429, "requestId": None},
        "retryAfter": 1.5,
    }


async def test_a_resolvers_wrong_value_is_masked() -> None:
    with capture_logs() as logs:
        found = await answer("{ wrongLeaf }")
    assert "secret text" not in str(found)
    assert "secret text" in str(logs[0]["exc_info"])


async def test_an_argument_that_only_fails_when_it_is_used_is_explained() -> None:
    with capture_logs() as logs:
        found = await answer("query ($n: Int = 1) { positive(number: $n) }", n=None)
    assert found["data"] == {"positive": None}
    assert [error["extensions"]["code"] for error in found["errors"]] == ["BAD_USER_INPUT"]
    assert logs == []


def test_errors_that_are_each_others_context_let_go_of_their_frames() -> None:
    inner, outer = BadInput("no"), ValueError("again")
    for error in (inner, outer):
        with pytest.raises(type(error)):
            raise error
    inner.__context__, outer.__context__ = outer, inner
    located = GraphQLError("no", original_error=inner)
    format_field_errors([located])
    assert [each.__traceback__ for each in (located, inner, outer)] == [None] * 3
