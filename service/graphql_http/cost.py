"""What a request will cost, estimated before it runs from the document, its variables and declared list sizes.

As in the GraphQL Cost Directives specification, which gateways follow too, an object weighs 1 and a leaf 0; ``@cost``
adds to a field what it costs by itself, a call to Sentry say; a list multiplies what is below it by the size that its
arguments ask for, or else by the size that ``@listSize`` assumes.

An operation is compiled once into a :class:`CostPlan`: a short list of sums, one for each list whose size is a variable
and one for each fragment that holds such a list. Estimating a request is then a pass over that list, however often the
fragments are spread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeNameMetaFieldDef,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from strawberry.federation.schema_directives import Cost, ListSize

from service.errors import RequestTooLarge

# A whole introspection answer takes about as long as a thousand objects do.
_INTROSPECTION = {"__schema": 1000, "__type": 50}
_CEILING = 10**9


@dataclass(frozen=True, slots=True)
class FieldCost:
    """What one field costs.

    ``cost`` is what the field adds once, beside the 1 of each object that it answers. ``size_arguments`` names the
    arguments that ask for a size: a number, or a list whose length counts; the largest wins, and without any the
    arguments' defaults or else ``default_size`` count. The size multiplies everything below the field: a Relay list's
    ``pageInfo`` too, which errs on the safe side.
    """

    cost: int = 0
    size_arguments: tuple[str, ...] = ()
    default_size: int = 1


CostTable = Mapping[str, Mapping[str, FieldCost]]
"""Type name → field name → cost. Fields that are not listed cost their objects only."""
_UNDECLARED = FieldCost()


def read_costs(schema: strawberry.Schema) -> CostTable:
    """The costs that a schema declares by federation's ``@cost`` and ``@listSize``, and those its arguments imply.

    A list without ``@listSize`` is as long as its longest list argument: ``nodes(ids:)``, ``_entities``.
    Raises ``ValueError`` where a ``slicingArguments`` names no argument.
    """
    table: dict[str, dict[str, FieldCost]] = {}
    for type_name, type_ in schema._schema.type_map.items():  # noqa: SLF001 - where every integration finds it
        for name, graphql_field in getattr(type_, "fields", {}).items():
            if isinstance(graphql_field, GraphQLField) and (cost := _read_cost(graphql_field)) != _UNDECLARED:
                if unknown := set(cost.size_arguments) - set(graphql_field.args):
                    raise ValueError(f"@listSize of {type_name}.{name} names no argument of it: {sorted(unknown)}")
                table.setdefault(type_name, {})[name] = cost
    return table


def _read_cost(graphql_field: GraphQLField) -> FieldCost:
    definition = graphql_field.extensions.get("strawberry-definition")
    directives = getattr(definition, "directives", ())
    weight = next((one.weight for one in directives if isinstance(one, Cost)), 0)
    size = next((one for one in directives if isinstance(one, ListSize)), None)
    if size is not None:
        return FieldCost(weight, tuple(size.slicing_arguments or ()), size.assumed_size or 1)
    if not is_list_type(get_nullable_type(graphql_field.type)):
        return FieldCost(weight)
    arguments = graphql_field.args.items()
    return FieldCost(weight, tuple(name for name, one in arguments if is_list_type(get_nullable_type(one.type))))


@dataclass(frozen=True, slots=True)
class _Size:
    """A list's size: the largest of ``variables`` (name, default) and ``literal``, or ``fallback``."""

    variables: tuple[tuple[str, int | None], ...]
    literal: int | None
    fallback: int

    def of(self, variables: Mapping[str, Any]) -> int:
        asked = [_size_of(variables[name]) if name in variables else default for name, default in self.variables]
        return max((size for size in (*asked, self.literal) if size is not None), default=self.fallback)


@dataclass(slots=True)
class _Sum:
    """``constant`` plus earlier steps of the plan, each so many times."""

    constant: int = 0
    steps: dict[int, int] = field(default_factory=dict)

    def add(self, other: "_Sum", times: int = 1) -> None:
        self.constant = min(self.constant + other.constant * times, _CEILING)
        for step, count in other.steps.items():
            self.steps[step] = min(self.steps.get(step, 0) + count * times, _CEILING)

    def value(self, values: list[int]) -> int:
        return min(self.constant + sum(values[step] * count for step, count in self.steps.items()), _CEILING)


@dataclass(frozen=True, slots=True)
class CostPlan:
    """The cost of one operation, but for its variables. ``visits`` counts the selections that were looked at."""

    _steps: tuple[tuple[_Size | None, _Sum], ...]
    _total: _Sum
    visits: int

    def estimate(self, variables: Mapping[str, Any]) -> int:
        """The cost with these variables, raw as the client sent them; at most 10^9."""
        values: list[int] = []
        for size, inner in self._steps:
            value = inner.value(values)
            values.append(value if size is None else min(value * size.of(variables), _CEILING))
        return self._total.value(values)

    def check(self, variables: Mapping[str, Any], limit: int) -> None:
        """Raise :class:`RequestTooLarge` where the estimate is over the limit."""
        cost = self.estimate(variables)
        if cost > limit:
            raise RequestTooLarge(
                f"The request's estimated cost of {cost} is over the limit of {limit}.",
                cure="Ask for fewer items per list (`first`) or fewer nested lists, or split the request.",
            )


def compile_cost(
    schema: GraphQLSchema, table: CostTable, document: DocumentNode, operation: OperationDefinitionNode
) -> CostPlan:
    """Compile one operation of a valid document: each field, and each fragment it uses, is looked at once."""
    return _Compiler(schema, table, document, operation).plan(operation)


class _Compiler:
    def __init__(
        self, schema: GraphQLSchema, table: CostTable, document: DocumentNode, operation: OperationDefinitionNode
    ) -> None:
        self._schema = schema
        self._table = table
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._defaults = {
            definition.variable.name.value: _literal_size(definition.default_value)
            for definition in operation.variable_definitions or ()
        }
        self._compiled: dict[str, _Sum] = {}
        self._steps: list[tuple[_Size | None, _Sum]] = []
        self._visits = 0

    def plan(self, operation: OperationDefinitionNode) -> CostPlan:
        root = self._schema.get_root_type(operation.operation)
        total = self._selection_set(root, operation.selection_set)
        return CostPlan(tuple(self._steps), total, self._visits)

    def _selection_set(self, parent: GraphQLNamedType | None, selection_set: SelectionSetNode) -> _Sum:
        total = _Sum()
        for selection in selection_set.selections:
            self._visits += 1
            if isinstance(selection, FieldNode):
                total.add(self._field(parent, selection))
            elif isinstance(selection, FragmentSpreadNode):
                total.add(self._fragment(selection.name.value))
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner = self._schema.get_type(condition.name.value) if condition is not None else parent
                total.add(self._selection_set(inner, selection.selection_set))
        return total

    def _fragment(self, name: str) -> _Sum:
        if name not in self._compiled:
            fragment = self._fragments[name]
            on = self._schema.get_type(fragment.type_condition.name.value)
            inner = self._selection_set(on, fragment.selection_set)
            self._compiled[name] = self._step(None, inner) if inner.steps else inner
        return self._compiled[name]

    def _field(self, parent: GraphQLNamedType | None, node: FieldNode) -> _Sum:
        name = node.name.value
        if name in _INTROSPECTION:
            return _Sum(_INTROSPECTION[name])
        graphql_field: GraphQLField = getattr(parent, "fields", {}).get(name, TypeNameMetaFieldDef)
        declared = self._table.get(parent.name if parent is not None else "", {}).get(name, _UNDECLARED)
        total = _Sum(declared.cost)
        if node.selection_set is None:
            return total
        inner = self._selection_set(get_named_type(graphql_field.type), node.selection_set)
        if is_list_type(get_nullable_type(graphql_field.type)):
            inner.constant += 1
        else:
            total.constant += 1
        size = self._size(graphql_field, declared, node)
        if size.variables:
            total.add(self._step(size, inner))
        else:
            total.add(inner, size.of({}))
        return total

    def _step(self, size: _Size | None, inner: _Sum) -> _Sum:
        self._steps.append((size, inner))
        return _Sum(steps={len(self._steps) - 1: 1})

    def _size(self, graphql_field: GraphQLField, declared: FieldCost, node: FieldNode) -> _Size:
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        variables: list[tuple[str, int | None]] = []
        literals: list[int] = []
        defaults: list[int] = []
        for name in declared.size_arguments:
            value = given.get(name)
            if isinstance(value, VariableNode):
                variables.append((value.name.value, self._defaults.get(value.name.value)))
            elif (literal := _literal_size(value)) is not None:
                literals.append(literal)
            if (default := _default_size(graphql_field.args[name])) is not None:
                defaults.append(default)
        fallback = max(defaults, default=declared.default_size)
        return _Size(tuple(variables), max(literals, default=None), fallback)


def _default_size(argument: GraphQLArgument) -> int | None:
    # Strawberry gives the value itself; graphql-core 3.3 also knows defaults as they were written.
    default = argument.default
    if default is None:
        return _size_of(argument.default_value)
    return _literal_size(default.literal) if default.literal is not None else _size_of(default.value)


def _literal_size(value: ValueNode | None) -> int | None:
    if isinstance(value, IntValueNode):
        # A number of thousands of digits is no size, and Python would refuse to read it.
        return _size_of(int(value.value)) if len(value.value) <= 10 else _CEILING
    if isinstance(value, ListValueNode):
        return len(value.values)
    return None


def _size_of(value: object) -> int | None:
    if isinstance(value, list):
        return len(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), _CEILING)
    return None
