"""The schema object that is served, and the SDL that a gateway composes."""

import asyncio
from datetime import datetime
from functools import cache
from typing import Final

import strawberry
from graphql import Undefined
from strawberry.printer import print_schema
from strawberry.schema.config import StrawberryConfig

import service.schema.enums  # noqa: F401 - describes the enums before the types use them
from service.schema.auth_directives import add_auth_directives
from service.schema.event_types import EVENT_TYPES
from service.schema.fast_fields import install_attribute_resolvers
from service.schema.federation import Subgraph
from service.schema.mutation import Mutation
from service.schema.query import Query, RelayQuery
from service.schema.scalars import DATE_TIME_SCALAR, JSON, JSON_SCALAR
from service.schema.subscription import Subscription, install_event_resolver

# The newest version that all open-source composers accept.
FEDERATION_VERSION: Final = "2.9"


@cache
def build_schema(*, suggestions: bool = True, auth_directives: bool = False) -> Subgraph:
    """The schema that is served; its ``_service.sdl`` is :func:`print_sdl`."""

    @strawberry.type(name="_Service")
    class Service:
        sdl: str

    @strawberry.type(name="Query", description="Reading.")
    class ServedQuery(RelayQuery):
        @strawberry.field(name="_service")
        async def service(self) -> Service:
            # For who asks first: it takes as long as building the schema, so not in the loop.
            return Service(sdl=await asyncio.to_thread(print_sdl, auth_directives=auth_directives))

    schema = _build(ServedQuery, suggestions=suggestions)
    install_attribute_resolvers(schema)
    install_event_resolver(schema)
    return schema


@cache
def print_sdl(*, auth_directives: bool = False) -> str:
    """The subgraph's SDL: all of the schema but ``node`` and ``nodes``, which two Relay subgraphs cannot both have."""
    sdl = print_schema(_build(Query))
    return (add_auth_directives(sdl) if auth_directives else sdl) + "\n"


def print_full_sdl() -> str:
    """The SDL of everything that is served, for code generators."""
    return print_schema(_build(RelayQuery)) + "\n"


def _build(query: type, *, suggestions: bool = True) -> Subgraph:
    schema = Subgraph(
        query=query,
        mutation=Mutation,
        subscription=Subscription,
        types=EVENT_TYPES,
        config=StrawberryConfig(
            scalar_map={JSON: JSON_SCALAR, datetime: DATE_TIME_SCALAR}, disable_field_suggestions=not suggestions
        ),
        federation_version=FEDERATION_VERSION,
    )
    _drop_null_defaults(schema)
    return schema


def _drop_null_defaults(schema: Subgraph) -> None:
    """Undeclare defaults of null, which Strawberry reads off Python's None: absent stays None to the resolver.

    Not every composer takes ``@listSize`` with both an assumed size and an argument that has a default.
    """
    for type_ in schema._schema.type_map.values():  # noqa: SLF001 - where every integration finds it
        fields = getattr(type_, "fields", {}).values()
        for value in [*fields, *(one for field in fields for one in getattr(field, "args", {}).values())]:
            if getattr(value, "default_value", Undefined) is None:
                value.default_value = Undefined
