"""Which events a list or a subscription asks for: from the graph's arguments to one :class:`EventFilter`."""

from collections.abc import Sequence
from typing import Annotated

import strawberry

from service.connections.visibility import storable
from service.errors import BadInput, NotFound
from service.events.filters import EventFilter, is_type_pattern
from service.schema.context import Context

_MOST = 100

ConnectionIds = Annotated[
    list[strawberry.ID] | None,
    strawberry.argument(description="Of these connections; of all that the caller may see if absent."),
]
Types = Annotated[
    list[str] | None,
    strawberry.argument(description="Of these types, such as `issue.resolved`, or `issue.*` for all that begin so."),
]
Project = Annotated[str | None, strawberry.argument(description="Of the project of this slug, or of Sentry's id.")]
Environment = Annotated[
    str | None, strawberry.argument(description="Of this environment. Only single errors and event alerts say theirs.")
]
Level = Annotated[str | None, strawberry.argument(description="Of this level, such as `error` or `fatal`.")]


async def build_event_filter(
    context: Context,
    connection_ids: Sequence[str] | None,
    types: Sequence[str] | None,
    project: str | None,
    environment: str | None,
    level: str | None,
) -> EventFilter:
    """The filter of these arguments, in one form however they are ordered.

    Raises :class:`NotFound` for a connection that is missing or not the caller's, and :class:`BadInput` for a type that
    can match nothing.
    """
    if connection_ids is not None:
        _check_count("connectionIds", connection_ids)
        connection_ids = sorted(set(connection_ids))
        if None in await context.loaders.load_connections(connection_ids):
            raise NotFound("No such connection.")
    if types is not None:
        check_types("types", types)
    return EventFilter(
        connection_ids=connection_ids,
        types=None if types is None else storable(set(types)),
        projects=None if project is None else storable([project]),
        environments=None if environment is None else storable([environment]),
        levels=None if level is None else storable([level]),
    )


def check_types(argument: str, types: Sequence[str]) -> None:
    """Raise :class:`BadInput` where there are too many, or one is neither a type's name nor a pattern."""
    _check_count(argument, types)
    for each in types:
        if not is_type_pattern(each):
            raise BadInput(
                f"`{argument}` holds what is no type.", cure="Name types as `issue.resolved`, or `issue.*` for several."
            )


async def find_seen(context: Context) -> frozenset[str] | None:
    """The ids of the only connections whose events the caller may see now; None where it may see all of the tenant.

    A caller that is narrowed to named connections sees no events of none.
    """
    if not context.caller.is_narrowed:
        return None
    return frozenset(record.id for record in await context.services.connections.every(context.caller))


def _check_count(argument: str, values: Sequence[str]) -> None:
    if len(values) > _MOST:
        raise BadInput(f"`{argument}` holds at most {_MOST}.")
