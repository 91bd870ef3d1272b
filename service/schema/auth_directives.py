"""Auth directives for gateways that enforce them. They are a courtesy: the check is ours, in every resolver.

Behind a setting, since not every gateway composes them.
https://www.apollographql.com/docs/graphos/routing/security/authorization
"""

from dataclasses import replace
from typing import cast

from graphql import (
    ConstDirectiveNode,
    ConstListValueNode,
    DefinitionNode,
    DocumentNode,
    ObjectTypeDefinitionNode,
    SchemaDefinitionNode,
    StringValueNode,
    parse,
    print_ast,
)

_ON_FIELDS_OF = {
    "Query": "@authenticated",
    "Mutation": '@requiresScopes(scopes: [["write"], ["admin"]])',
    "Subscription": "@authenticated",
}
_IMPORTS = ("@authenticated", "@requiresScopes")


def add_auth_directives(sdl: str) -> str:
    """The SDL with ``@requiresScopes`` on the fields of ``Mutation`` and ``@authenticated`` on the other roots'."""
    document = parse(sdl)
    return print_ast(replace(document, definitions=tuple(map(_add, document.definitions))))


def _add(definition: DefinitionNode) -> DefinitionNode:
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


def _import(link: ConstDirectiveNode) -> ConstDirectiveNode:
    arguments = []
    for argument in link.arguments or ():
        if argument.name.value == "import":
            imports = cast("ConstListValueNode", argument.value)
            added = tuple(StringValueNode(value=name) for name in _IMPORTS)
            argument = replace(argument, value=replace(imports, values=(*imports.values, *added)))  # noqa: PLW2901 - the changed one
        arguments.append(argument)
    return replace(link, arguments=tuple(arguments))


def _parse_directive(text: str) -> ConstDirectiveNode:
    document: DocumentNode = parse(f"scalar S {text}")
    return cast("ConstDirectiveNode", document.definitions[0].directives[0])  # type: ignore[attr-defined]  # a scalar's definition
