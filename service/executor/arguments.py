"""A field's arguments, read as far as they can be before anybody's variables are known."""

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLError,
    GraphQLField,
    Node,
    Undefined,
    VariableNode,
    is_non_null_type,
    is_required_argument,
)
from graphql.execution.values import coerce_argument


class _Variable(NamedTuple):
    """An argument that is a variable. ``default`` is the argument's own, Undefined where it has none."""

    name: str
    is_required: bool
    may_be_null: bool
    default: Any


class Arguments:
    """The arguments of one field of an operation: constants that nobody can change, and whole variables."""

    __slots__ = ("_parts", "constants")

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts
        self.constants = None if any(part.__class__ is _Variable for part in parts.values()) else parts
        """All of them; None where some are variables."""

    def fill(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """All of them, for these coerced variables; None where one does not fit, and graphql-core has to say why."""
        found: dict[str, Any] = {}
        for name, part in self._parts.items():
            value = part
            if part.__class__ is _Variable:
                value = variables.get(part.name, Undefined)
                if value is Undefined and not part.is_required:
                    value = part.default
                    if value is Undefined:
                        continue
                elif value is Undefined or (value is None and not part.may_be_null):
                    return None
            found[name] = value
        return found


def read_arguments(definition: GraphQLField, node: FieldNode) -> Arguments | None:
    """Read a field's arguments; None where graphql-core has to coerce them for each call.

    So it is for constants that somebody could change, variables inside of lists and objects, and what does not fit.
    """
    given = {argument.name.value: argument for argument in node.arguments or ()}
    parts: dict[str, Any] = {}
    for name, argument in definition.args.items():
        value = given[name].value if name in given else None
        variable = value if isinstance(value, VariableNode) else None
        is_required = is_required_argument(argument)
        if variable is None and value is not None and _has_variable(value):
            return None
        try:  # without variables: one that is not given leaves the argument's default
            constant = Undefined if variable and is_required else _coerce(definition, node, name, given.get(name))
        except GraphQLError:
            return None
        if not is_immutable(constant):
            return None
        key = argument.out_name or name
        if variable is not None:
            parts[key] = _Variable(variable.name.value, is_required, not is_non_null_type(argument.type), constant)
        elif constant is not Undefined:
            parts[key] = constant
    return Arguments(parts)


def _coerce(definition: GraphQLField, node: FieldNode, name: str, given: ArgumentNode | None) -> Any:
    found: dict[str, Any] = {}
    coerce_argument(found, node, name, definition.args[name], given, None, None)
    return next(iter(found.values()), Undefined)


def _has_variable(node: Node) -> bool:
    if isinstance(node, VariableNode):
        return True
    parts = [*getattr(node, "values", ()), *(field.value for field in getattr(node, "fields", ()))]
    return any(map(_has_variable, parts))


_IMMUTABLE = (str, int, float, bool, bytes, Enum, Decimal, UUID, date, time, timedelta)


def is_immutable(value: Any) -> bool:
    """Whether nobody who gets a value can change it for the others."""
    if isinstance(value, tuple | frozenset):
        return all(map(is_immutable, value))
    return value is None or value is Undefined or isinstance(value, _IMMUTABLE)
