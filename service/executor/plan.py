"""From an operation to its places: fields collected, merged and typed once, by graphql-core's own rules."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    ExecutableDefinitionNode,
    FieldNode,

    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.types.field import StrawberryField

from service.executor.batch import find_batch
from service.executor.classes import PlainClasses, find_member_classes, find_own_class
from service.executor.codegen import Unit, is_attribute, is_name
from service.executor.places import Abstract, Field, Item, Items, Leaf, Object, Place, Root, Value, is_immutable

EAGER_FIELDS: Final = 400
"""Fields that are planned and compiled at once. What lies beyond is, when the first object of it comes: fragments within
fragments can hold exponentially many, and graphql-core looks only at those that have data, too."""


class NotCompiled(Exception):
    """The operation is left to graphql-core; ``reason`` is one word for a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Plan:
    """The places of one operation, for one set of values of the variables in its ``@skip`` and ``@include``."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, Any],
        conditions: VariableValues,
        plain: PlainClasses,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self.fragments = fragments
        self._conditions = conditions
        self._plain = plain
        self._budget = 0
        self.size = 0
        """How many fields have been compiled."""
        self.units: list[Unit] = []
        """The generated code: that of the operation, and of what came up while running."""
        root_type = schema.get_root_type(operation.operation)
        if root_type is None:
            raise NotCompiled("root_type")
        try:
            grouped = collect_fields(schema, fragments, conditions, root_type, operation).grouped_field_set
        except GraphQLError:
            raise NotCompiled("directive") from None
        self.root = Object(root_type, Root(), set(), lambda root: self._compile(root, grouped))
        self._compile(self.root, grouped)

    def _compile(self, value: Object, grouped: GroupedFieldSet) -> None:
        self._budget = EAGER_FIELDS
        value.fields = self._select(value.type, grouped, value.place)
        name = self._operation.name.value if self._operation.name else self._operation.operation.value
        unit = Unit(f"<graphql {name[:40]} {len(self.units) + 1} at {id(self):x}>")
        unit.write(value)
        self.units.append(unit)

    def _select(self, type_: GraphQLObjectType, grouped: GroupedFieldSet, outer: Place) -> tuple[Field, ...]:
        return tuple(self._fields(type_, grouped, outer))

    def _fields(self, type_: GraphQLObjectType, grouped: GroupedFieldSet, outer: Place) -> Iterator[Field]:
        for key, details in grouped.items():
            definition = self._schema.get_field(type_, details[0].node.name.value)
            if definition is None:  # graphql-core leaves it out as well
                continue
            self.size += 1
            self._budget -= 1
            yield self._field(key, type_, definition, details, outer)

    def _field(
        self, key: str, type_: GraphQLObjectType, definition: GraphQLField, details: FieldDetailsList, outer: Place
    ) -> Field:
        field = Field(key=key, parent_type=type_, definition=definition, details=details, outer=outer)
        field.local = f"{key}_{self.size}"
        field.attribute = find_attribute(definition)
        field.batch = find_batch(definition)
        field.constants = self._constants(field)
        field.value = self._value(_nullable(definition.type), field, field)
        return field

    def _constants(self, field: Field) -> dict[str, Any] | None:
        given = field.nodes[0].arguments or ()
        if not given and not field.definition.args:
            return {}
        if not any(_has_variable(argument.value) for argument in given):
            try:
                values = field.coerce_arguments(self._conditions, hide_suggestions=False)
            except GraphQLError:
                return None
            if all(map(is_immutable, values.values())):
                return values
        return None

    def _value(self, type_: GraphQLOutputType, place: Place, field: Field) -> Value:
        if is_list_type(type_):
            item = Item(field, outer=place, is_nullable=not is_non_null_type(type_.of_type))
            item.value = self._value(_nullable(type_.of_type), item, field)
            return Items(item)
        if is_leaf_type(type_):
            return Leaf(type_)
        if is_abstract_type(type_):
            classes = find_member_classes(self._schema, type_)
            return Abstract(type_, classes, lambda member: self._object(member, place, field, eagerly=False))
        assert isinstance(type_, GraphQLObjectType)  # noqa: S101 - for the type checker
        return self._object(type_, place, field, eagerly=self._budget > 0)

    def _object(self, type_: GraphQLObjectType, place: Place, field: Field, *, eagerly: bool) -> Object:
        own = find_own_class(type_)
        known = self._plain if type_.is_type_of is None else {own} if own is not None else set[type]()
        value = Object(type_, place, known, lambda value: self._compile(value, self._collect(type_, field)))
        if eagerly:
            with suppress(GraphQLError):  # to be met again, and told of, by each object here
                value.fields = self._select(type_, self._collect(type_, field), place)
        return value

    def _collect(self, type_: GraphQLObjectType, field: Field) -> GroupedFieldSet:
        return collect_subfields(
            self._schema, self.fragments, self._conditions, self._operation, type_, field.details
        ).grouped_field_set


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


_BASIC: Final = "GraphQLCoreConverter.from_resolver.<locals>._get_basic_result"


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be known of an operation before it can be compiled."""

    conditions: tuple[str, ...]
    """The variables in ``@skip`` and ``@include``."""
    reason: str | None
    """Why it cannot be compiled."""

    @classmethod
    def of(cls, operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]) -> "Survey":
        """Look through an operation, and all fragments of its document."""
        names: dict[str, None] = {}
        reason = None
        definitions: list[ExecutableDefinitionNode] = [operation, *fragments]
        if any(fragment.variable_definitions for fragment in definitions[1:]):
            reason = "fragment_arguments"
        pending: list[SelectionSetNode] = [definition.selection_set for definition in definitions]
        while pending:
            for selection in pending.pop().selections:
                if isinstance(selection, FieldNode) and not is_name((selection.alias or selection.name).value):
                    reason = "name"
                for directive in selection.directives or ():
                    if directive.name.value in {"defer", "stream"}:
                        reason = "incremental"
                    elif directive.name.value in {"skip", "include"}:
                        values = (argument.value for argument in directive.arguments or ())
                        names |= {value.name.value: None for value in values if isinstance(value, VariableNode)}
                if not isinstance(selection, FragmentSpreadNode) and selection.selection_set is not None:
                    pending.append(selection.selection_set)
        return cls(tuple(names), reason)

    def read(self, values: VariableValues) -> VariableValues:
        """These variables alone: a compiled operation keeps no other value of the request it was compiled for."""
        sources = {name: values.sources[name] for name in self.conditions if name in values.sources}
        return VariableValues(sources, {name: values.coerced[name] for name in self.conditions if name in values.coerced})


def _nullable(type_: GraphQLOutputType) -> Any:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _has_variable(node: Node) -> bool:
    if isinstance(node, VariableNode):
        return True
    parts = [*getattr(node, "values", ()), *(field.value for field in getattr(node, "fields", ()))]
    return any(map(_has_variable, parts))


