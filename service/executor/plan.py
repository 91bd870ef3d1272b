"""From an operation to its places: fields collected, merged and typed once, by graphql-core's own rules."""

from contextlib import suppress
from typing import Any, Final

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet, collect_fields, collect_subfields
from graphql.execution.values import VariableValues

from service.executor.batch import BatchResolver, find_batch
from service.executor.classes import PlainClasses, find_classes, find_member_classes
from service.executor.codegen import Unit
from service.executor.places import Field, Item, Place, Root
from service.executor.strawberry_fields import Resolve, find_attribute, find_resolver
from service.executor.survey import NotCompiled
from service.executor.values import Abstract, Items, Leaf, Object, Value


class Facts:
    """What is found out once about a schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        self.plain = PlainClasses()
        self._leaves: dict[str, Leaf] = {}
        self._fields: dict[int, tuple[str | None, Resolve | None, BatchResolver | None]] = {}

    def leaf(self, type_: GraphQLLeafType) -> Leaf:
        """A scalar or an enum."""
        if type_.name not in self._leaves:
            self._leaves[type_.name] = Leaf(type_, self.plain)
        return self._leaves[type_.name]

    def find(self, definition: GraphQLField) -> tuple[str | None, Resolve | None, BatchResolver | None]:
        """How a field gets its value: the attribute it reads, or its resolver, and its resolver for many."""
        found = self._fields.get(id(definition))  # the schema keeps it, and so its id
        if found is None:
            found = find_attribute(definition), find_resolver(self.schema, definition), find_batch(definition)
            self._fields[id(definition)] = found
        return found


EAGER_FIELDS: Final = 400
"""Fields that are planned at once. What lies beyond is planned when the first object of it comes: fragments within
fragments can hold exponentially many, and graphql-core looks only at those that have data, too."""


class Plan:
    """The places of one operation, for one set of values of the variables in its ``@skip`` and ``@include``."""

    def __init__(
        self,
        facts: Facts,
        operation: OperationDefinitionNode,
        fragments: dict[str, Any],
        conditions: VariableValues,
        compile_after: int,
    ) -> None:
        schema = self._schema = facts.schema
        self._operation = operation
        self.fragments = fragments
        self._conditions = conditions
        self._facts = facts
        self._budget = EAGER_FIELDS
        self.compile_after = compile_after
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
        self.root = Object(root_type, Root(), set(), self)
        self.root.fields = self._fields(self.root, grouped)

    def select(self, value: Object) -> tuple[Field, ...]:
        """The fields of an object that came up while running. Raises GraphQLError if a directive does not fit."""
        self._budget = EAGER_FIELDS
        return self._fields(value, self._collect(value))

    def generate(self, value: Object) -> None:
        """Make the code of an object, and of what is below it."""
        name = self._operation.name.value if self._operation.name else self._operation.operation.value
        unit = Unit(f"<graphql {name[:40]} {len(self.units) + 1} at {id(self):x}>")
        unit.write(value)
        self.units.append(unit)

    def _fields(self, value: Object, grouped: GroupedFieldSet) -> tuple[Field, ...]:
        type_ = value.type
        # graphql-core leaves out what the schema does not have, as well.
        named = (
            (key, self._schema.get_field(type_, nodes[0].node.name.value), nodes) for key, nodes in grouped.items()
        )
        fields = tuple(
            self._field(key, type_, definition, details, value.place)
            for key, definition, details in named
            if definition
        )
        value.has_resolver = any(
            not field.has_no_code and (field.attribute is None or field.value.has_resolver) for field in fields
        )
        return fields

    def _field(
        self, key: str, type_: GraphQLObjectType, definition: GraphQLField, details: FieldDetailsList, outer: Place
    ) -> Field:
        self.size += 1
        self._budget -= 1
        field = Field(key=key, parent_type=type_, definition=definition, details=details, outer=outer)
        field.local = f"{key}_{self.size}"
        field.attribute, field.resolve, field.batch = self._facts.find(definition)
        field.value = self._value(_nullable(definition.type), field, field)
        return field

    def _value(self, type_: GraphQLOutputType, place: Place, field: Field) -> Value:
        if is_list_type(type_):
            item = Item(field, outer=place, is_nullable=not is_non_null_type(type_.of_type))
            item.value = self._value(_nullable(type_.of_type), item, field)
            return Items(item, place)
        if is_leaf_type(type_):
            return self._facts.leaf(type_)
        if is_abstract_type(type_):
            classes = find_member_classes(self._schema, type_)
            return Abstract(type_, classes, lambda member: self._object(member, place, eagerly=False))
        assert isinstance(type_, GraphQLObjectType)  # noqa: S101 - for the type checker
        return self._object(type_, place, eagerly=self._budget > 0)

    def _object(self, type_: GraphQLObjectType, place: Place, *, eagerly: bool) -> Object:
        known = self._facts.plain if type_.is_type_of is None else find_classes(type_)
        value = Object(type_, place, known, self)
        if eagerly:
            # Both are met again by each object here: the one is told of, the other may not be with less around it.
            with suppress(GraphQLError, RecursionError):
                value.fields = self._fields(value, self._collect(value))
        return value

    def _collect(self, value: Object) -> GroupedFieldSet:
        return collect_subfields(
            self._schema, self.fragments, self._conditions, self._operation, value.type, value.place.field.details
        ).grouped_field_set


def _nullable(type_: GraphQLOutputType) -> Any:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_
