"""Leaf values that need no serializing: the tests that generated code makes before it takes the long way."""

from enum import Enum
from typing import Any, Final

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
)
from strawberry.schema.schema_converter import CustomGraphQLEnumType

_IS_NO_STRING: Final = "{0}.__class__ is not str"
_TESTS: Final[dict[Any, str]] = {
    GraphQLString.coerce_output_value: _IS_NO_STRING,
    GraphQLID.coerce_output_value: _IS_NO_STRING,
    GraphQLBoolean.coerce_output_value: "{0} is not True and {0} is not False",
    GraphQLInt.coerce_output_value: (
        f"not ({{0}}.__class__ is int and {GRAPHQL_MIN_INT} <= {{0}} <= {GRAPHQL_MAX_INT})"
    ),
    # Neither infinite nor NaN, which is equal to nothing.
    GraphQLFloat.coerce_output_value: "not ({0}.__class__ is float and {0} - {0} == 0)",
}


def find_test(type_: GraphQLLeafType) -> str | None:
    """The test, as source, for values that serializing would change; None where only serializing can tell."""
    return None if isinstance(type_, GraphQLEnumType) else _TESTS.get(type_.coerce_output_value)


def find_names(type_: GraphQLLeafType) -> dict[int, str]:
    """The names of a Strawberry enum's members by their ``id``: they live as long as their class.

    Hashing a member would call Python's ``Enum.__hash__``.
    """
    if type(type_) is not CustomGraphQLEnumType or not issubclass(type_.wrapped_cls, Enum):
        return {}
    members = type_.wrapped_cls.__members__.values()
    values = [value.value for value in type_.values.values()]
    return {id(member): type_.coerce_output_value(member) for member in members if member.value in values}
