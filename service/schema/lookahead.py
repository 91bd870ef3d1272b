"""What a field's selection holds, read from the document: so that work can start before its turn comes."""

from collections.abc import Iterator
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, InlineFragmentNode, SelectionSetNode


def selects(info: GraphQLResolveInfo[Any], *paths: tuple[str, ...]) -> bool:
    """Whether the field being resolved selects a field at one of ``paths`` below it, through fragments too.

    A field under ``@skip`` or ``@include`` counts as selected: the answer is a hint, never a promise.
    """
    return any(_holds(info, node.selection_set, path) for path in paths for node in info.field_nodes)


def _holds(info: GraphQLResolveInfo[Any], selection_set: SelectionSetNode | None, path: tuple[str, ...]) -> bool:
    name, *rest = path
    return any(
        field.name.value == name and (not rest or _holds(info, field.selection_set, tuple(rest)))
        for field in _fields(info, selection_set)
    )


def _fields(info: GraphQLResolveInfo[Any], selection_set: SelectionSetNode | None) -> Iterator[FieldNode]:
    if selection_set is None:
        return
    for selection in selection_set.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            yield from _fields(info, selection.selection_set)
        elif isinstance(selection, FragmentSpreadNode) and (fragment := info.fragments.get(selection.name.value)):
            definition = getattr(fragment, "definition", fragment)
            yield from _fields(info, definition.selection_set)
