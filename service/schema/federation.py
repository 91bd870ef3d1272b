"""Apollo Federation: the subgraph's SDL, and entities that answer one by one.

https://www.apollographql.com/docs/graphos/reference/federation/subgraph-specific-fields
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from strawberry.federation import Schema
from strawberry.federation.schema import FederationAny

from service.directory.user import User
from service.errors import BadInput, RequestTooLarge
from service.ids import parse_user_ids
from service.schema.context import Context, Info
from service.schema.loaders import Found, UserKey, group_keys, in_order
from service.tasks import together

MOST_REPRESENTATIONS = 100

Key = str | tuple[str, ...]
"""A string, or a tuple of them where a key has several fields."""

Loader = Callable[[Context, Sequence[Any]], Awaitable[list[Any]]]
"""Loads objects by keys."""


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
        if (same := _read_same(representations)) is not None:
            load, ids = same
            return await load(info.context, ids)
        found: list[Any] = [None] * len(representations)
        wanted: dict[Loader, dict[int, Key]] = defaultdict(dict)
        for index, representation in enumerate(representations):
            try:
                load, key = _parse(representation)
            except BadInput as error:
                found[index] = error
            else:
                wanted[load][index] = key

        async def load_kind(load: Loader, keys: dict[int, Key]) -> None:
            values = await load(info.context, list(keys.values()))
            for index, value in zip(keys, values, strict=True):
                found[index] = value

        await together(load_kind(*each) for each in wanted.items())
        return found


def _read_same(representations: Sequence[Any]) -> tuple[Loader, list[str]] | None:
    """How to load representations that are all of one type and by id, as most batches are; None for all others."""
    try:
        (name,) = set(map(itemgetter("__typename"), representations))
        ids = list(map(itemgetter("id"), representations))
        _, load = _KEYS[name][0]
    except (KeyError, TypeError, ValueError):
        return None
    return (load, ids) if set(map(type, ids)) == {str} else None


def _parse(representation: Any) -> tuple[Loader, Key]:
    """How to load a representation, and its key. Fields beyond the key are left alone."""
    try:
        keys = _KEYS[representation["__typename"]]
    except (KeyError, TypeError):  # it has no such name, or is no object at all
        raise _explain(representation) from None
    for read, load in keys:
        try:
            key = read(representation)
        except KeyError:
            continue
        if not isinstance(key, str) and not (isinstance(key, tuple) and all(isinstance(each, str) for each in key)):
            raise BadInput("A key's fields must be strings.")
        return load, key
    raise BadInput("A representation must hold all fields of a key.")


def _explain(representation: object) -> BadInput:
    if not isinstance(representation, dict):
        return BadInput("A representation must be an object.")
    return BadInput("`__typename` must be one of " + ", ".join(f"`{name}`" for name in _KEYS) + ".")


async def _connections(context: Context, ids: Sequence[str]) -> list[Any]:
    return await context.loaders.load_connections(ids)


async def _connections_by_external_id(context: Context, external_ids: Sequence[str]) -> list[Any]:
    return await context.loaders.connection_by_external_id.load_many(external_ids)


async def _users(context: Context, ids: Sequence[str]) -> list[Any]:
    return await _visible_users(context, parse_user_ids(ids), context.lookups.load_users)


async def _users_by_email(context: Context, keys: Sequence[tuple[str, str]]) -> list[Any]:
    return await _visible_users(context, keys, context.lookups.load_users_by_email)


async def _visible_users(
    context: Context,
    keys: Sequence[UserKey | None],
    load: Callable[[Mapping[str, Sequence[str]]], Awaitable[Found[User]]],
) -> list[Any]:
    wanted = group_keys(filter(None, keys))
    connections = await context.loaders.load_connections(list(wanted))
    visible = {each: wanted[each] for each, record in zip(wanted, connections, strict=True) if record is not None}
    return in_order(await load(visible), keys)


_KEYS: dict[str, list[tuple[Callable[[dict[str, Any]], Any], Loader]]] = {
    "Connection": [(itemgetter("id"), _connections), (itemgetter("externalId"), _connections_by_external_id)],
    "User": [(itemgetter("id"), _users), (itemgetter("connectionId", "email"), _users_by_email)],
}
