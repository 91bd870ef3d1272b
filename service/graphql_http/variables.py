"""An operation's variables, looked up once: values that are right as they came need nothing but a look at each.

That is nearly all of them. Whatever else there is (an input object, a default, one value where a list belongs, a
mistake) is left to graphql-core, which coerces all variables of the request anew and says what is wrong with them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

from graphql import (
    GraphQLError,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    VariableValues,
    get_variable_values,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValueSource

Coerce = Callable[[Any], Any]
"""From a value to its coerced one; raises whatever it likes where graphql-core has to look."""


class Variables:
    """The variables that an operation declares."""

    def __init__(
        self,
        schema: GraphQLSchema,
        definitions: Sequence[VariableDefinitionNode],
        plan: Sequence[tuple[GraphQLVariableSignature, Coerce]] | None,
    ) -> None:
        self._schema = schema
        self._definitions = definitions
        self._plan = plan

    @classmethod
    def compile(cls, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode]) -> Self:
        """Look up how to coerce each."""
        try:
            return cls(schema, definitions, [_plan(schema, each) for each in definitions])
        except _NotPlain:
            return cls(schema, definitions, None)

    def coerce(
        self, given: dict[str, Any], *, max_errors: int, hide_suggestions: bool
    ) -> VariableValues | list[GraphQLError]:
        """The values for a request, or what is wrong with those that it gives."""
        if self._plan is not None:
            try:
                return _coerce(self._plan, given)
            except Exception:  # noqa: BLE001, S110 - scalars may raise anything, and graphql-core will meet it again
                pass
        return get_variable_values(self._schema, self._definitions, given, max_errors, hide_suggestions)


class _NotPlain(Exception):
    """Left to graphql-core."""


def _coerce(plan: Sequence[tuple[GraphQLVariableSignature, Coerce]], given: dict[str, Any]) -> VariableValues:
    sources, coerced = {}, {}
    for signature, coerce in plan:
        name = signature.name
        if name in given:
            value = given[name]
            sources[name] = VariableValueSource(signature, value)
            coerced[name] = coerce(value)
        elif signature.default is None and not is_non_null_type(signature.type):
            sources[name] = VariableValueSource(signature)
        else:
            raise _NotPlain
    return VariableValues(sources, coerced)


def _plan(schema: GraphQLSchema, definition: VariableDefinitionNode) -> tuple[GraphQLVariableSignature, Coerce]:
    signature = get_variable_signature(schema, definition)
    if isinstance(signature, GraphQLError):
        raise _NotPlain
    inner, may_be_null = _unwrap(signature.type)
    if is_leaf_type(inner):
        return signature, _leaf(inner, may_be_null=may_be_null)
    item, item_may_be_null = _unwrap(inner.of_type) if is_list_type(inner) else (None, False)
    if is_leaf_type(item):
        return signature, _list(_leaf(item, may_be_null=item_may_be_null), may_be_null=may_be_null)
    raise _NotPlain


def _unwrap(type_: GraphQLInputType) -> tuple[Any, bool]:
    return (type_.of_type, False) if is_non_null_type(type_) else (type_, True)


def _leaf(type_: GraphQLLeafType, *, may_be_null: bool) -> Coerce:
    coerce = type_.coerce_input_value

    def coerce_leaf(value: Any) -> Any:
        if value is None:
            if may_be_null:
                return None
            raise _NotPlain
        found = coerce(value)
        if found is Undefined:
            raise _NotPlain
        return found

    return coerce_leaf


def _list(coerce: Coerce, *, may_be_null: bool) -> Coerce:
    def coerce_list(value: Any) -> list[Any] | None:
        if isinstance(value, list):
            return [coerce(item) for item in value]
        if value is None and may_be_null:
            return None
        raise _NotPlain

    return coerce_list
