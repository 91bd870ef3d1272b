"""Depth, aliases, root fields, directives and introspection of a document, each node looked at once.

A fragment is surveyed once, however often it is spread: what it adds is memorised, so 22 fragments that each spread the
next one twice cost 22 surveys and not four million. Counts are of the *expanded* document, so fragments hide nothing;
a cycle adds nothing here, because validation refuses it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from service.errors import RequestTooLarge, ServiceError
from service.graphql_http.problems import IntrospectionDisabled
from service.settings import Settings

# Characters a token may have on average: bounds long names, strings and comments, which the token limit does not see.
_CHARACTERS_PER_TOKEN = 25


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may ask for; see the settings of the same names."""

    tokens: int
    depth: int
    aliases: int
    root_fields: int
    directives: int
    introspection: bool
    suggestions: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the settings name."""
        return cls(
            tokens=settings.max_tokens,
            depth=settings.max_depth,
            aliases=settings.max_aliases,
            root_fields=settings.max_root_fields,
            directives=settings.max_directives,
            introspection=settings.introspection,
            suggestions=settings.suggestions,
        )

    @property
    def characters(self) -> int:
        """How long a document's text may be."""
        return self.tokens * _CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Extent:
    """What a document comes to: the worst of its operations, fragments expanded; ``directives`` as written.

    ``visits`` counts the nodes looked at and the spreads followed: it grows with the document's text, not with its
    expansion.
    """

    depth: int
    aliases: int
    root_fields: int
    directives: int
    introspects: bool
    visits: int


@dataclass(frozen=True, slots=True)
class _Counts:
    depth: int
    aliases: int
    root_fields: int


@dataclass(frozen=True, slots=True)
class _Survey:
    """One definition by itself. ``spreads`` holds (fragment name, how many fields are around it)."""

    own: _Counts
    directives: int
    introspects: bool
    visits: int
    spreads: tuple[tuple[str, int], ...]


def measure(document: DocumentNode) -> Extent:
    """Measure a parsed document; it need not be valid."""
    fragments: dict[str, _Survey] = {}
    operations: list[_Survey] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments[definition.name.value] = _survey(definition)
        elif isinstance(definition, OperationDefinitionNode):
            operations.append(_survey(definition))
    expanded: dict[str, _Counts] = {}
    for name in _innermost_first(fragments):
        expanded[name] = _expand(fragments[name], expanded)
    totals = [_expand(operation, expanded) for operation in operations]
    surveys = [*fragments.values(), *operations]
    return Extent(
        depth=max((one.depth for one in totals), default=0),
        aliases=max((one.aliases for one in totals), default=0),
        root_fields=max((one.root_fields for one in totals), default=0),
        directives=sum(one.directives for one in surveys),
        introspects=any(one.introspects for one in surveys),
        visits=sum(one.visits + len(one.spreads) for one in surveys),
    )


def check_limits(document: DocumentNode, limits: Limits) -> Extent:
    """Measure a parsed document and hold it to the limits.

    Raises :class:`RequestTooLarge` or :class:`IntrospectionDisabled` for the first limit that it breaks.
    """
    extent = measure(document)
    for problem in _problems(extent, limits):
        raise problem
    return extent


def _problems(extent: Extent, limits: Limits) -> Iterator[ServiceError]:
    if extent.depth > limits.depth:
        yield RequestTooLarge(
            f"Fields are nested more than {limits.depth} deep.", cure="Ask for fewer levels in one request."
        )
    if extent.aliases > limits.aliases:
        yield RequestTooLarge(
            f"More than {limits.aliases} aliases, counting those in fragments each time they are spread.",
            cure="Ask for lists instead of many aliased fields, or split the request.",
        )
    if extent.root_fields > limits.root_fields:
        yield RequestTooLarge(
            f"An operation has more than {limits.root_fields} fields at its root.", cure="Split the request."
        )
    if extent.directives > limits.directives:
        yield RequestTooLarge(
            f"The document has more than {limits.directives} directives.",
            cure="Put @include or @skip on a fragment instead of on each field.",
        )
    if extent.introspects and not limits.introspection:
        yield IntrospectionDisabled("Introspection is off.")


def _survey(definition: OperationDefinitionNode | FragmentDefinitionNode) -> _Survey:
    depth = aliases = root_fields = 0
    visits, directives, introspects = 1, len(definition.directives or ()), False
    spreads: list[tuple[str, int]] = []
    pending: list[tuple[SelectionSetNode, int]] = [(definition.selection_set, 0)]
    while pending:
        selection_set, around = pending.pop()
        for selection in selection_set.selections:
            visits += 1
            directives += len(selection.directives or ())
            if isinstance(selection, FieldNode):
                depth = max(depth, around + 1)
                aliases += selection.alias is not None
                root_fields += around == 0
                introspects |= selection.name.value in {"__schema", "__type"}
                if selection.selection_set is not None:
                    pending.append((selection.selection_set, around + 1))
            elif isinstance(selection, InlineFragmentNode):
                pending.append((selection.selection_set, around))
            elif isinstance(selection, FragmentSpreadNode):
                spreads.append((selection.name.value, around))
    return _Survey(_Counts(depth, aliases, root_fields), directives, introspects, visits, tuple(spreads))


def _innermost_first(fragments: Mapping[str, _Survey]) -> Iterator[str]:
    """Fragment names, each after those that it spreads; one that closes a cycle comes before those it waits for."""
    begun: set[str] = set()
    for root in fragments:
        if root in begun:
            continue
        begun.add(root)
        path = [(root, iter(fragments[root].spreads))]
        while path:
            name, spreads = path[-1]
            for spread, _ in spreads:
                if spread in fragments and spread not in begun:
                    begun.add(spread)
                    path.append((spread, iter(fragments[spread].spreads)))
                    break
            else:
                path.pop()
                yield name


def _expand(survey: _Survey, expanded: Mapping[str, _Counts]) -> _Counts:
    depth, aliases, root_fields = survey.own.depth, survey.own.aliases, survey.own.root_fields
    for name, around in survey.spreads:
        if inner := expanded.get(name):
            depth = max(depth, around + inner.depth)
            aliases += inner.aliases
            root_fields += inner.root_fields if around == 0 else 0
    return _Counts(depth, aliases, root_fields)
