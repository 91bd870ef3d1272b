"""What a field's selection holds, read from the document: so that work can start before its turn comes."""

from functools import cache
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, InlineFragmentNode, SelectionSetNode

Tree = dict[str, "Tree | None"]
"""Fields by name, each with those looked for below it; None is one that is looked for itself."""


def selects(info: GraphQLResolveInfo[Any], *paths: tuple[str, ...]) -> bool:
    """Whether the field being resolved selects a field at one of ``paths`` below it, through fragments too.

    A field under ``@skip`` or ``@include`` counts as selected: the answer is a hint, never a promise.
    """
    tree = _plant(paths)
    return any(_holds(info, node.selection_set, tree) for node in info.field_nodes)


@cache  # there are as many as calls in this program
def _plant(paths: tuple[tuple[str, ...], ...]) -> Tree:
    tree: Tree = {}
    for *way, last in paths:
        branch: Tree | None = tree
        for name in way:
            branch = branch.setdefault(name, {}) if branch is not None else None
        if branch is not None:
            branch[last] = None
    return tree


def _holds(info: GraphQLResolveInfo[Any], selection_set: SelectionSetNode | None, tree: Tree) -> bool:
    for selection in selection_set.selections if selection_set is not None else ():
        if isinstance(selection, FieldNode):
            name = selection.name.value
            if name in tree:
                below = tree[name]
                if below is None or _holds(info, selection.selection_set, below):
                    return True
        elif isinstance(selection, InlineFragmentNode):
            if _holds(info, selection.selection_set, tree):
                return True
        elif isinstance(selection, FragmentSpreadNode) and (fragment := info.fragments.get(selection.name.value)):
            definition = getattr(fragment, "definition", fragment)
            if _holds(info, definition.selection_set, tree):
                return True
    return False
