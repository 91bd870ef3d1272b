"""What a value's class alone tells: that it is neither an error nor awaitable, and which GraphQL type it is of.

graphql-core asks each value; here each class is asked once. Classes that could answer differently from one instance to
the next are not remembered, and their values take the long way.
"""

from collections.abc import AsyncIterable, Callable
from types import CoroutineType, GeneratorType, WrapperDescriptorType
from typing import Any, Final

from graphql import GraphQLAbstractType, GraphQLObjectType, GraphQLSchema
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE

CAST: Final = TYPE_CAST_ATTRIBUTE
"""The attribute by which ``strawberry.cast`` overrides what a class says."""

_MOST_CLASSES: Final = 4096

# The functions that Strawberry makes where a type brings none of its own: they look only at the class and a cast.
_IS_TYPE_OF: Final = "GraphQLCoreConverter.from_object.<locals>._get_is_type_of.<locals>.is_type_of"
_RESOLVE_UNION: Final = "StrawberryUnion.get_type_resolver.<locals>._resolve_union_type"
_RESOLVE_INTERFACE: Final = "GraphQLCoreConverter.from_interface.<locals>._get_resolve_type.<locals>.resolve_type"


class PlainClasses(set[type]):
    """Classes seen so far whose instances are neither exceptions nor awaitable. Bounded, since it holds them alive."""

    def __init__(self) -> None:
        super().__init__()
        self._others: set[type] = set()

    def admit(self, value: object) -> None:
        """Remember the class of a value, if it is plain."""
        class_ = type(value)
        if class_ not in self._others and len(self) + len(self._others) < _MOST_CLASSES:
            (self if is_plain(class_) else self._others).add(class_)


def is_plain(class_: type) -> bool:
    """Whether no instance can be an exception, be awaited, be iterated asynchronously or pretend to be another's."""
    return (
        not issubclass(class_, BaseException | CoroutineType | GeneratorType | AsyncIterable)
        and isinstance(class_.__getattribute__, WrapperDescriptorType)  # one written in C, such as object's
        and not any(hasattr(class_, name) for name in ("__await__", "__getattr__"))
        and not any("__class__" in base.__dict__ for base in class_.__mro__ if base is not object)
    )


def backed_by(*classes: type) -> Callable[[Any, Any], bool]:
    """An ``is_type_of`` for a Strawberry type whose objects are of other classes: instances of these, and no others.

    @strawberry.type
    class User(Node):
        is_type_of = backed_by(UserRow)
    """

    def is_type_of(value: Any, _info: Any) -> bool:
        return isinstance(value, classes)

    is_type_of.classes = classes  # type: ignore[attr-defined]
    return is_type_of


def find_backing(type_: GraphQLObjectType) -> tuple[type, ...]:
    """The classes that the type was declared to be backed by."""
    classes: tuple[type, ...] = getattr(type_.is_type_of, "classes", ())
    return classes


def find_classes(type_: GraphQLObjectType) -> set[type]:
    """Classes whose instances, unless cast, pass the type's ``is_type_of`` for sure."""
    own = find_own_class(type_)
    return {class_ for class_ in (own, *find_backing(type_)) if class_ is not None and is_plain(class_)}


def find_own_class(type_: GraphQLObjectType) -> type | None:
    """The class whose instances, unless cast, pass the type's ``is_type_of``; None where only calling it can tell."""
    definition = type_.extensions.get("strawberry-definition")
    if not isinstance(definition, StrawberryObjectDefinition):
        return None
    origin: type = definition.origin
    is_own = (
        not definition.is_graphql_generic
        and not definition.concrete_of
        and getattr(origin, "__strawberry_definition__", None) is definition
        and is_plain(origin)
        and (type_.is_type_of is None or getattr(type_.is_type_of, "__qualname__", "") == _IS_TYPE_OF)
    )
    return origin if is_own else None


def find_member_classes(schema: GraphQLSchema, type_: GraphQLAbstractType) -> dict[type, GraphQLObjectType]:
    """Classes whose instances, unless cast, the type's own ``resolve_type`` gives these types."""
    if getattr(type_.resolve_type, "__qualname__", "") not in {_RESOLVE_UNION, _RESOLVE_INTERFACE}:
        return {}
    origin: Any = getattr(type_.extensions.get("strawberry-definition"), "origin", object)
    members = schema.get_possible_types(type_)
    own = {member.name: find_own_class(member) for member in members}
    found = {
        class_: member
        for member in members
        if (class_ := own[member.name]) is not None and (not isinstance(origin, type) or issubclass(class_, origin))
    }
    # Objects of other classes are of the first type whose ``is_type_of`` takes them: all must be known to tell.
    if all(member.is_type_of is None or own[member.name] or find_backing(member) for member in members):
        for class_ in (each for member in members for each in find_backing(member)):
            if is_plain(class_) and not hasattr(class_, "__strawberry_definition__"):
                takers = (member for member in members if issubclass(class_, find_backing(member)))
                found[class_] = next(takers)
    return found
