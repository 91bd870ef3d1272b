"""From a document's text to an operation that may run: parsed, held to the limits, validated; once for each text."""

from dataclasses import dataclass, field

from cachetools import LRUCache
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Lexer,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    Source,
    TokenKind,
    ValidationContext,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from service.errors import RequestTooLarge
from service.graphql_http.cost import CostPlan, CostTable, compile_cost
from service.graphql_http.limits import Limits, check_limits
from service.graphql_http.problems import InvalidDocument, OperationNotFound, UnparsableDocument
from service.graphql_http.variables import Variables

# Errors in one document or its variables; the rest would only repeat the reason.
MAX_ERRORS = 20
# Tokens of all cached documents together. A token of a parsed document takes about 350 bytes: 18 MB when full.
_CACHED_TOKENS = 50_000


class _OverlappingFields(OverlappingFieldsCanBeMergedRule):
    """The specification's merging rule with a tenth of the work that graphql-core allows it.

    A hostile document of 4.5 KB takes 0.9 s there. Real ones stay below a hundredth of this budget.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = 50_000


_RULES = (
    *(_OverlappingFields if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules),
    # Strawberry's own, as its `validate_document` adds them.
    MaybeNullValidationRule,
    OneOfInputValidationRule,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document."""

    name: str | None
    node: OperationDefinitionNode
    variables: Variables
    cost: CostPlan

    @property
    def is_query(self) -> bool:
        """Whether it only reads."""
        return self.node.operation is OperationType.QUERY

    @property
    def is_subscription(self) -> bool:
        """Whether it is answered by a stream of events."""
        return self.node.operation is OperationType.SUBSCRIPTION


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document within the limits."""

    ast: DocumentNode
    fragments: dict[str, FragmentDefinitionNode]
    _schema: GraphQLSchema
    _costs: CostTable
    _operations: dict[str | None, Operation] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many lexical tokens it has."""
        count: int = getattr(self.ast, "token_count", 0)
        return count

    def operation(self, name: str | None) -> Operation:
        """The operation of that name, or the only one. Raises :class:`OperationNotFound`."""
        if name not in self._operations:
            node = self._find(name)
            variables = Variables.compile(self._schema, node.variable_definitions or ())
            cost = compile_cost(self._schema, self._costs, self.ast, node)
            self._operations[name] = Operation(name, node, variables, cost)
        return self._operations[name]

    def _find(self, name: str | None) -> OperationDefinitionNode:
        nodes = [node for node in self.ast.definitions if isinstance(node, OperationDefinitionNode)]
        if name is not None:
            nodes = [node for node in nodes if node.name is not None and node.name.value == name]
        if len(nodes) == 1:
            return nodes[0]
        if nodes:
            raise OperationNotFound(
                "The document has several operations.", cure="Set `operationName` to the one that is to run."
            )
        raise OperationNotFound(
            "The document has no such operation." if name else "The document has no operation.",
            cure="Set `operationName` to one of the document's operations, or leave it out.",
        )


class Documents:
    """Parses, checks and validates documents; remembers the valid ones, the least used going first.

    What does not pass is not remembered, so that a flood of bad documents evicts no good one.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits, costs: CostTable) -> None:
        self._schema = schema
        self._limits = limits
        self._costs = costs
        self._cache: LRUCache[str, Document] = LRUCache(_CACHED_TOKENS, getsizeof=lambda document: document.tokens)

    def load(self, text: str) -> Document:
        """The document of this text.

        Raises :class:`UnparsableDocument`, :class:`InvalidDocument`, :class:`RequestTooLarge` or
        :class:`IntrospectionDisabled`.
        """
        found = self._cache.get(text)
        if found is None:
            ast = self._check(text)
            fragments = {node.name.value: node for node in ast.definitions if isinstance(node, FragmentDefinitionNode)}
            found = Document(ast, fragments, self._schema, self._costs)
            if found.tokens <= self._cache.maxsize:
                self._cache[text] = found
        return found

    def _check(self, text: str) -> DocumentNode:
        ast = self._parse(text)
        check_limits(ast, self._limits)
        errors = validate(
            self._schema, ast, _RULES, max_errors=MAX_ERRORS, hide_suggestions=not self._limits.suggestions
        )
        if errors:
            raise InvalidDocument(errors)
        return ast

    def _parse(self, text: str) -> DocumentNode:
        limits = self._limits
        if len(text) > limits.characters:
            raise RequestTooLarge(
                f"The document has {len(text)} characters; the limit is {limits.characters}.",
                cure="Send long values as variables, and split large documents.",
            )
        try:
            return parse(text, max_lexical_tokens=limits.tokens)
        except GraphQLSyntaxError as error:
            if _has_more_tokens(text, limits.tokens):
                raise RequestTooLarge(
                    f"The document has more than {limits.tokens} tokens.", cure="Split the request."
                ) from None
            raise UnparsableDocument([error]) from None


def _has_more_tokens(text: str, limit: int) -> bool:
    """Whether the parser gave up at its limit: it answers that with a syntax error like any other."""
    lexer = Lexer(Source(text))
    try:
        return all(lexer.advance().kind is not TokenKind.EOF for _ in range(limit + 1))
    except GraphQLError:
        return False
