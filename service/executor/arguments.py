"""A field's arguments, read as far as they can be before anybody's variables are known."""

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
from graphql.execution.values import VariableValues, coerce_argument, get_argument_values


class _Variable(NamedTuple):
    """An argument that is a variable. ``default`` is the argument's own, Undefined where it has none."""

    name: str
    is_required: bool
    may_be_null: bool
    default: Any


class _Literal(NamedTuple):
    """An argument that each call needs its own value of: it holds variables, or can be changed, or does not fit."""

    name: str


class Arguments:
    """The arguments of one field of an operation: constants that nobody can change, whole variables, and others."""

    __slots__ = ("_definition", "_node", "_parts", "can_be_shared", "constants")

    def __init__(self, definition: GraphQLField, node: FieldNode) -> None:
        self._definition = definition
        self._node = node
        self._parts = {argument.out_name or name: self._read(name) for name, argument in definition.args.items()}
        kinds = {part.__class__ for part in self._parts.values()}
        self.can_be_shared = _Literal not in kinds
        """Whether several calls of one request may get the same values."""
        self.constants = None
        """All of them, where they are constants; else None."""
        if not kinds & {_Variable, _Literal}:
            self.constants = {name: part for name, part in self._parts.items() if part is not Undefined}

    def fill(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        """All of them, as graphql-core would coerce them. Raises GraphQLError where one does not fit."""
        coerced = variables.coerced
        found: dict[str, Any] = {}
        for name, part in self._parts.items():
            value = part
            if part.__class__ is _Variable:
                value = coerced.get(part.name, Undefined)
                if value is Undefined and not part.is_required:
                    value = part.default
                elif value is Undefined or (value is None and not part.may_be_null):
                    return get_argument_values(self._definition, self._node, variables, None, hide_suggestions)
            elif part.__class__ is _Literal:
                value = self._coerce(part.name, variables, hide_suggestions=hide_suggestions)
            if value is not Undefined:
                found[name] = value
        return found

    def _read(self, name: str) -> Any:
        argument = self._definition.args[name]
        given = self._find(name)
        variable = given.value if given is not None and isinstance(given.value, VariableNode) else None
        is_required = is_required_argument(argument)
        if given is not None and variable is None and _has_variable(given.value):
            return _Literal(name)
        try:  # without variables: one that is not given leaves the argument's default
            constant = Undefined if variable is not None and is_required else self._coerce(name, None)
        except GraphQLError:
            return _Literal(name)
        if not is_immutable(constant):
            return _Literal(name)
        if variable is None:
            return constant
        return _Variable(variable.name.value, is_required, not is_non_null_type(argument.type), constant)

    def _coerce(self, name: str, variables: VariableValues | None, *, hide_suggestions: bool = True) -> Any:
        found: dict[str, Any] = {}
        argument = self._definition.args[name]
        coerce_argument(found, self._node, name, argument, self._find(name), variables, None, hide_suggestions)
        return next(iter(found.values()), Undefined)

    def _find(self, name: str) -> ArgumentNode | None:
        return next((each for each in self._node.arguments or () if each.name.value == name), None)


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
