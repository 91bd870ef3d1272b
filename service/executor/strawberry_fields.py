"""Strawberry's fields seen through: those that read an attribute, and resolvers that need nothing of Strawberry's own.

What Strawberry does around a resolver (arguments converted, extensions and permissions run, exceptions handled) is done
by the resolver that it builds. Only where none of this applies is the function called directly.
"""

from collections.abc import Callable
from typing import Any, Final

from graphql import GraphQLField, GraphQLSchema
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from service.executor.names import is_attribute

Resolve = Callable[..., Any]

# The functions that Strawberry makes for its fields.
_BASIC: Final = "GraphQLCoreConverter.from_resolver.<locals>._get_basic_result"
_RESOLVERS: Final = frozenset(
    {
        "GraphQLCoreConverter.from_resolver.<locals>._resolver",
        "GraphQLCoreConverter.from_resolver.<locals>._async_resolver",
    }
)


def find_attribute(definition: GraphQLField) -> str | None:
    """The attribute that a field's resolver reads, if that is all it does.

    Such are Strawberry's basic fields, and resolvers that say so by an attribute ``reads_attribute``.
    """
    name = getattr(definition.resolve, "reads_attribute", None)
    field = definition.extensions.get("strawberry-definition")
    if (
        name is None
        and isinstance(field, StrawberryField)
        and getattr(definition.resolve, "__qualname__", "") == _BASIC
        and field.is_basic_field
        and field.default_resolver is getattr
        and type(field).get_result is StrawberryField.get_result
    ):
        name = field.python_name
    return name if isinstance(name, str) and is_attribute(name) else None


def find_resolver(schema: GraphQLSchema, definition: GraphQLField) -> Resolve | None:
    """A field's resolver, without Strawberry's calls in between where they would do nothing."""
    field = definition.extensions.get("strawberry-definition")
    own = getattr(schema, "_strawberry_schema", None)
    if (
        own is None
        or not isinstance(field, StrawberryField)
        or getattr(definition.resolve, "__qualname__", "") not in _RESOLVERS
        or field.extensions
        or definition.args
        or own.exception_handlers
        or type(field).get_result is not StrawberryField.get_result
        or type(field.base_resolver) is not StrawberryResolver
    ):
        return definition.resolve
    resolver: StrawberryResolver[Any] = field.base_resolver
    call = resolver.wrapped_func
    sources = [each.name for each in (resolver.root_parameter, resolver.parent_parameter) if each]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    if sources or resolver.arguments or not callable(call):
        return definition.resolve
    info_class = own.config.info_class
    if resolver.self_parameter and info_name:
        return lambda source, info: call(source, **{info_name: info_class(_raw_info=info, _field=field)})
    if resolver.self_parameter:
        return lambda source, _: call(source)
    if info_name:
        return lambda _, info: call(**{info_name: info_class(_raw_info=info, _field=field)})
    return lambda _, __: call()
