"""Apollo Federation: the subgraph's SDL, and entities that answer one by one.

https://www.apollographql.com/docs/graphos/reference/federation/subgraph-specific-fields
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from strawberry.federation import Schema
from strawberry.federation.schema import FederationAny

from service.errors import BadInput, RequestTooLarge
from service.ids import parse_user_id
from service.schema.context import Context, Info
from service.tasks import together

MOST_REPRESENTATIONS = 100

Loader = Callable[[Context, Sequence[tuple[str, ...]]], Awaitable[list[Any]]]


class Subgraph(Schema):
    """A federated schema whose ``_entities`` loads each kind of key in one batch, and fails item by item."""

    async def entities_resolver(  # type: ignore[override]  # Strawberry awaits what it returns
        self, info: Info, representations: list[FederationAny]
    ) -> list[Any]:
        """Objects for representations, in their order: None where there is none or it is not the caller's.

        Raises :class:`RequestTooLarge` over 100; a representation that is malformed is an error of its own.
        """
        if len(representations) > MOST_REPRESENTATIONS:
            raise RequestTooLarge(f"At most {MOST_REPRESENTATIONS} representations at once.")
        found: list[Any] = [None] * len(representations)
        wanted: dict[Loader, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        for index, representation in enumerate(representations):
            try:
                load, key = _parse(representation)
            except BadInput as error:
                found[index] = error
            else:
                wanted[load].append((index, key))

        async def load_kind(load: Loader, rows: list[tuple[int, tuple[str, ...]]]) -> None:
            values = await load(info.context, [key for _, key in rows])
            for (index, _), value in zip(rows, values, strict=True):
                found[index] = value

        await together(load_kind(*each) for each in wanted.items())
        return found


def _parse(representation: object) -> tuple[Loader, tuple[str, ...]]:
    """How to load a representation, and its key. Fields beyond the key are left alone."""
    if not isinstance(representation, dict):
        raise BadInput("A representation must be an object.")
    name = representation.get("__typename")
    keys = _KEYS.get(name) if isinstance(name, str) else None
    if keys is None:
        raise BadInput("`__typename` must be one of " + ", ".join(f"`{name}`" for name in _KEYS) + ".")
    for fields, load in keys:
        try:
            values = tuple(map(representation.__getitem__, fields))
        except KeyError:
            continue
        for value in values:
            if not isinstance(value, str):
                raise BadInput("A key's fields must be strings.")
        return load, values
    raise BadInput("A representation must hold all fields of a key.")


async def _connections(context: Context, keys: Sequence[tuple[str, ...]]) -> list[Any]:
    return await context.loaders.load_connections([connection_id for (connection_id,) in keys])


async def _connections_by_external_id(context: Context, keys: Sequence[tuple[str, ...]]) -> list[Any]:
    return await context.loaders.connection_by_external_id.load_many([external_id for (external_id,) in keys])


async def _users(context: Context, keys: Sequence[tuple[str, ...]]) -> list[Any]:
    pairs = [parse_user_id(user_id) for (user_id,) in keys]
    return await _visible_users(context, pairs, context.lookups.load_users)


async def _users_by_email(context: Context, keys: Sequence[tuple[str, ...]]) -> list[Any]:
    pairs = [(connection_id, email) for connection_id, email in keys]
    return await _visible_users(context, pairs, context.lookups.load_users_by_email)


async def _visible_users(
    context: Context,
    pairs: Sequence[tuple[str, str] | None],
    load: Callable[[Sequence[tuple[str, str]]], Awaitable[dict[tuple[str, str], Any]]],
) -> list[Any]:
    ids = list(dict.fromkeys(pair[0] for pair in pairs if pair))
    visible = {
        connection_id
        for connection_id, record in zip(ids, await context.loaders.load_connections(ids), strict=True)
        if record is not None
    }
    found = await load([pair for pair in dict.fromkeys(pairs) if pair and pair[0] in visible])
    return [found.get(pair) if pair else None for pair in pairs]


_KEYS: dict[str, list[tuple[tuple[str, ...], Loader]]] = {
    "Connection": [(("id",), _connections), (("externalId",), _connections_by_external_id)],
    "User": [(("id",), _users), (("connectionId", "email"), _users_by_email)],
}
