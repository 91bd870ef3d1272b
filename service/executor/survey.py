"""What is to be known of an operation before it can be compiled: whether it can, and what its shape depends on."""

from collections.abc import Iterable
from dataclasses import dataclass

from graphql import (
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.values import VariableValues

from service.executor.names import is_name


class NotCompiled(Exception):
    """The operation is left to graphql-core; ``reason`` is one word for a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
                below = getattr(selection, "selection_set", None)
                if below is not None:
                    pending.append(below)
        return cls(tuple(names), reason)

    def read(self, values: VariableValues) -> VariableValues:
        """These variables alone: a compiled operation keeps no other value of the request it was compiled for."""
        sources = {name: values.sources[name] for name in self.conditions if name in values.sources}
        return VariableValues(
            sources, {name: values.coerced[name] for name in self.conditions if name in values.coerced}
        )
