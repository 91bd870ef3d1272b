from typing import Any

import pytest
import strawberry
from graphql import GraphQLObjectType
from strawberry.schema.config import StrawberryConfig

from service.schema.fast_fields import install_attribute_resolvers


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Person(Named):
    friend_count: int
    nick: str | None = strawberry.field(name="alias", default=None)

    @strawberry.field
    def shouted(self) -> str:
        return self.name.upper()

    @property
    def not_a_field(self) -> str:
        return ""


class AllowNobody(strawberry.BasePermission):
    message = "no"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return False


@strawberry.type
class Guarded:
    open: str = "o"
    closed: str | None = strawberry.field(permission_classes=[AllowNobody], default="c")


@strawberry.type
class Query:
    @strawberry.field
    def person(self) -> Person:
        return Person(name="Ada", friend_count=2)

    @strawberry.field
    def named(self) -> Named:
        return Person(name="Ada", friend_count=2)

    @strawberry.field
    def guarded(self) -> Guarded:
        return Guarded()


QUERY = "{ person { name friendCount alias shouted } named { name } guarded { open closed } }"


def test_fields_without_a_resolver_read_their_attribute_and_the_others_stay() -> None:
    plain, fast = strawberry.Schema(Query, types=[Person]), strawberry.Schema(Query, types=[Person])
    assert install_attribute_resolvers(fast) == 5
    slow_result, result = plain.execute_sync(QUERY), fast.execute_sync(QUERY)
    assert result.data == slow_result.data
    assert result.data == {
        "person": {"name": "Ada", "friendCount": 2, "alias": None, "shouted": "ADA"},
        "named": {"name": "Ada"},
        "guarded": {"open": "o", "closed": None},
    }
    assert [str(error.message) for error in result.errors or ()] == ["no"]


def test_a_second_time_changes_nothing() -> None:
    schema = strawberry.Schema(Query, types=[Person])
    install_attribute_resolvers(schema)
    assert install_attribute_resolvers(schema) == 0


def test_another_default_resolver_is_respected() -> None:
    schema = strawberry.Schema(Query, types=[Person], config=StrawberryConfig(default_resolver=lambda *_: "mine"))
    assert install_attribute_resolvers(schema) == 0
    assert schema.execute_sync("{ person { name } }").data == {"person": {"name": "mine"}}


@pytest.mark.parametrize("name", ["name", "friendCount", "alias"])
def test_a_missing_attribute_is_an_error_as_before(name: str) -> None:
    schema = strawberry.Schema(Query, types=[Person])
    install_attribute_resolvers(schema)
    person = schema._schema.type_map["Person"]
    assert isinstance(person, GraphQLObjectType)
    resolve = person.fields[name].resolve
    assert resolve is not None
    with pytest.raises(AttributeError):
        resolve(object(), None)
