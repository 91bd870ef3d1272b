"""Compiled operations that came before; the least used go first."""

from collections import OrderedDict
from typing import Any, Final

from graphql import FragmentDefinitionNode, GraphQLSchema, OperationDefinitionNode
from graphql.execution import Executor

from service.executor.plan import Facts, Plan
from service.executor.survey import NotCompiled, Survey

_MOST_SURVEYS: Final = 1024
_ABSENT: Final = object()

Fragments = dict[str, FragmentDefinitionNode]


class Cache:
    """Plans of one schema's operations, by the values of the variables in ``@skip`` and ``@include``.

    An operation is the same if it is the same object out of the same document: whoever keeps parsed documents gets
    compiled ones. What is kept here holds its nodes, so that their ids stay theirs.
    """

    def __init__(self, most_fields: int, compile_after: int) -> None:
        self._most_fields = most_fields
        self._compile_after = compile_after
        self._facts: Facts | None = None
        self._size = 0
        self._surveys: OrderedDict[int, tuple[OperationDefinitionNode, Fragments, Survey]] = OrderedDict()
        self._plans: OrderedDict[tuple[Any, ...], tuple[Plan, int]] = OrderedDict()

    def find(self, executor: Executor[Any]) -> Plan:
        """The plan of an executor's operation, made if need be. Raises :class:`NotCompiled`."""
        operation, fragments = executor.operation, executor.fragment_definitions
        survey = self._survey(operation, fragments)
        if survey.reason is not None:
            raise NotCompiled(survey.reason)
        conditions = survey.read(executor.variable_values)
        key = (id(operation), *(conditions.coerced.get(name, _ABSENT) for name in survey.conditions))
        plan, size = self._plans.get(key, (None, 0))
        if plan is None or plan.fragments != executor.fragments:
            facts = self._find_facts(executor.schema)
            plan = Plan(facts, operation, executor.fragments, conditions, self._compile_after)
        self._plans[key] = (plan, plan.size)
        self._plans.move_to_end(key)
        self._size += plan.size - size  # it grows while it runs
        while self._size > self._most_fields and len(self._plans) > 1:
            self._size -= self._plans.popitem(last=False)[1][1]
        return plan

    def _find_facts(self, schema: GraphQLSchema) -> Facts:
        if self._facts is None:
            self._facts = Facts(schema)
        if self._facts.schema is not schema:
            raise NotCompiled("schema")
        return self._facts

    def _survey(self, operation: OperationDefinitionNode, fragments: Fragments) -> Survey:
        known = self._surveys.get(id(operation))
        if known is None or known[0] is not operation or known[1] != fragments:
            known = self._surveys[id(operation)] = (operation, fragments, Survey.of(operation, fragments.values()))
            if len(self._surveys) > _MOST_SURVEYS:
                self._surveys.popitem(last=False)
        self._surveys.move_to_end(id(operation))
        return known[2]
