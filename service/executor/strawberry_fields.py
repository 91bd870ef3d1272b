"""Strawberry's fields seen through: those that read an attribute, and resolvers that need nothing of Strawberry's own.

What Strawberry does around a resolver (arguments converted, extensions and permissions run, exceptions handled) is done
by the resolver that it builds. Only where none of this applies is the function called directly.
"""

from collections.abc import Callable
from typing import Any, Final

from graphql import GraphQLField, GraphQLSchema
from strawberry.relay.types import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.enum import has_enum_definition
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
        or own.exception_handlers
        or type(field).get_result is not StrawberryField.get_result
        or type(field.base_resolver) is not StrawberryResolver
    ):
        return definition.resolve
    resolver: StrawberryResolver[Any] = field.base_resolver
    call = resolver.wrapped_func
    whole: Any = definition.resolve
    if not callable(call) or any(argument.is_maybe for argument in field.arguments):  # null is a value of these
        return definition.resolve
    takes_self = resolver.self_parameter is not None
    source_names = [each.name for each in (resolver.root_parameter, resolver.parent_parameter) if each]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    info_class = own.config.info_class
    converters = _find_converters(own, field)

    def resolve(source: Any, info: Any, **given: Any) -> Any:
        arguments: dict[str, Any] = {}
        for name, value in given.items():
            python_name, convert = converters[name]
            if value is None:
                arguments[python_name] = None
            elif convert is None:
                return whole(source, info, **given)
            else:
                arguments[python_name] = convert(value)
        if info_name is not None:
            arguments[info_name] = info_class(_raw_info=info, _field=field)
        for name in source_names:
            arguments[name] = source
        return call(source, **arguments) if takes_self else call(**arguments)

    return resolve


def _find_converters(schema: Any, field: StrawberryField) -> dict[str, tuple[str, Callable[[Any], Any] | None]]:
    """What Strawberry calls each argument, and what it does to a value that is not null; None where only it knows."""
    converter = schema.schema_converter
    return {
        schema.config.name_converter.from_argument(argument): (
            argument.python_name,
            _find_converter(argument.type, converter.scalar_registry),
        )
        for argument in field.arguments
    }


def _find_converter(type_: Any, scalars: Any) -> Callable[[Any], Any] | None:
    """See :func:`strawberry.types.arguments.convert_argument`, whose short cases these are."""
    type_ = _without_null(type_)
    if isinstance(type_, StrawberryList):
        return list if _is_leaf(_without_null(type_.of_type), scalars) else None  # a copy, that may be changed
    return _same if _is_leaf(type_, scalars) else None


def _without_null(type_: Any) -> Any:
    return type_.of_type if isinstance(type_, StrawberryOptional) else type_


def _is_leaf(type_: Any, scalars: Any) -> bool:
    return type_ is not GlobalID and (is_scalar(type_, scalars) or has_enum_definition(type_))


def _same(value: Any) -> Any:
    return value
