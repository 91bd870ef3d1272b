"""Fields without a resolver answer from an attribute of their object: here, with nothing in between.

Strawberry wraps each of them in two calls of its own, a tenth of what a page of users costs to execute.
"""

from collections.abc import Callable
from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema


def resolve_plain_fields(schema: GraphQLSchema) -> None:
    """Give every field that Strawberry would answer by attribute a resolver that does just that."""
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType):
            continue
        for field in type_.fields.values():
            definition = field.extensions.get("strawberry-definition")
            if definition is not None and definition.is_basic_field:
                field.resolve = _attribute(definition.python_name)


def _attribute(name: str) -> Callable[[Any, Any], Any]:
    def resolve(source: Any, _info: Any) -> Any:
        return getattr(source, name)

    return resolve
