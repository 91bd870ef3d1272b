"""Auth directives for gateways that enforce them. They are a courtesy: the check is ours, in every resolver.

Behind a setting, since not every gateway composes them.
https://www.apollographql.com/docs/graphos/routing/security/authorization
"""

from dataclasses import replace
from typing import cast

from graphql import (
    DirectiveNode,
    DocumentNode,
    ListValueNode,
    Node,
    ObjectTypeDefinitionNode,
    SchemaDefinitionNode,
    StringValueNode,
    parse,
    print_ast,
)

_ON_FIELDS_OF = {"Query": "@authenticated", "Mutation": '@requiresScopes(scopes: [["write"], ["admin"]])'}
_IMPORTS = ("@authenticated", "@requiresScopes")


def add_auth_directives(sdl: str) -> str:
    """The SDL with ``@authenticated`` on the fields of ``Query`` and ``@requiresScopes`` on those of ``Mutation``."""
    document = parse(sdl)
    return print_ast(replace(document, definitions=tuple(map(_add, document.definitions))))


def _add(definition: Node) -> Node:
    if isinstance(definition, SchemaDefinitionNode):
        return replace(definition, directives=tuple(map(_import, definition.directives or ())))
    if isinstance(definition, ObjectTypeDefinitionNode) and (text := _ON_FIELDS_OF.get(definition.name.value)):
        directive = _parse_directive(text)
        fields = [
            # The federation's own fields are for the gateway.
            field
            if field.name.value.startswith("_")
            else replace(field, directives=(*(field.directives or ()), directive))
            for field in definition.fields or ()
        ]
        return replace(definition, fields=tuple(fields))
    return definition


def _import(link: DirectiveNode) -> DirectiveNode:
    arguments = []
    for argument in link.arguments or ():
        if argument.name.value == "import":
            imports = cast("ListValueNode", argument.value)
            added = tuple(StringValueNode(value=name) for name in _IMPORTS)
            argument = replace(argument, value=replace(imports, values=(*imports.values, *added)))  # noqa: PLW2901
        arguments.append(argument)
    return replace(link, arguments=tuple(arguments))


def _parse_directive(text: str) -> DirectiveNode:
    document: DocumentNode = parse(f"scalar S {text}")
    return cast("DirectiveNode", document.definitions[0].directives[0])  # type: ignore[attr-defined]
