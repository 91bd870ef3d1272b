"""What the contenders are asked: each workload as GraphQL, and as a REST resource that gives the same JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from bench.upstream import PAGES, SMALL

Ids = Mapping[str, str]
"""The ids of linked connections, by the slugs of their organizations."""

_USER = (
    "id connectionId externalId name username email status isEmailVerified isTwoFactorEnabled avatarUrl "
    "createdAt lastActiveAt roles { id name }"
)
_PAGE = (
    "query ($connection: ID!) {{ users(connectionIds: [$connection], first: 100) "
    "{{ edges {{ cursor node {{ {fields} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
)
PROXY_PATH = "organizations/{organization}/issues/"


@dataclass(frozen=True)
class Workload:
    """One kind of request. ``query`` gets the request's number, all else the number of the client that sends it."""

    name: str
    title: str
    query: Callable[[int], str]
    variables: Callable[[Ids, int], dict[str, Any]]
    rest: Callable[[Ids, int], tuple[str, str, Any]] | None
    """Method, path and body of the REST request; None where there is no such thing."""
    must: float
    """How many times as fast as stock it has to be, and in ``aim`` how many it should be."""
    aim: float
    is_bound_to_lead: bool = True
    """Whether it has to be ahead of every peer."""


def _same(query: str) -> Callable[[int], str]:
    return lambda _: query


def _connection(ids: Ids, client: int) -> dict[str, Any]:
    return {"connection": ids[PAGES[client]]}


def _rest(path: str, first: int | None = 100) -> Callable[[Ids, int], tuple[str, str, Any]]:
    def build(ids: Ids, client: int) -> tuple[str, str, Any]:
        query = {"connection_id": ids[PAGES[client]]} | ({} if first is None else {"first": first})
        return "GET", f"{path}?{urlencode(query)}", None

    return build


def _user_ids(ids: Ids, client: int) -> list[str]:
    body = ids[PAGES[client]].removeprefix("con_")
    return [f"usr_{body}_{number}" for number in range(1, 101)]


def _new_shape(number: int) -> str:
    """Thirty fields under names that nobody has asked for before."""
    fields = [
        "id",
        "connectionId",
        "externalId",
        "sentryMemberId",
        "name",
        "firstName",
        "lastName",
        "username",
        "email",
        "title",
        "status",
        "isEmailVerified",
        "isTwoFactorEnabled",
        "avatarUrl",
        "createdAt",
        "lastLoginAt",
        "lastActiveAt",
    ]
    aliased = " ".join(f"{field}{number}: {field}" for field in fields)
    return (
        "query ($connection: ID!) { users(connectionIds: [$connection], first: 10) "
        f"{{ edges {{ cursor node {{ {aliased} roles {{ id name group organization }} }} }} "
        "pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"
    )


WORKLOADS = (
    Workload(
        "users",
        "users page of 100, 12 fields with roles",
        _same(_PAGE.format(fields=_USER)),
        _connection,
        _rest("/users"),
        must=12,
        aim=28,
    ),
    Workload(
        "groups",
        "the same with groups (20 teams, one walk for each)",
        _same(_PAGE.format(fields=f"{_USER} groups {{ id name }}")),
        _connection,
        _rest("/users-with-groups"),
        must=6,
        aim=15,
    ),
    Workload(
        "entities",
        "100 `_entities`, one batched call",
        _same(
            "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { id name email status avatarUrl } } }"
        ),
        lambda ids, client: {"r": [{"__typename": "User", "id": each} for each in _user_ids(ids, client)]},
        lambda ids, client: ("POST", "/users/lookup", {"ids": _user_ids(ids, client)}),
        must=12,
        aim=18,
    ),
    Workload(
        "proxy",
        "proxy, 300 KB",
        _same(
            "query ($connection: ID!, $path: String!) { proxy(connectionId: $connection, path: $path) "
            "{ statusCode result } }"
        ),
        lambda ids, client: _connection(ids, client) | {"path": PROXY_PATH},
        lambda ids, client: ("GET", f"/proxy?connection_id={ids[PAGES[client]]}&path={quote(PROXY_PATH)}", None),
        must=20,
        aim=28,
    ),
    Workload(
        "many",
        "20 connections x 10 users",
        _same(
            "query ($customer: String!) { connections(first: 20, filter: {customerId: $customer}) { nodes { id name "
            "users(first: 10) { nodes { id name email status roles { id name } } } } } }"
        ),
        lambda _, client: {"customer": customer_of(SMALL[client][0])},
        lambda _, client: ("GET", f"/connections?customer_id={customer_of(SMALL[client][0])}&first=20", None),
        must=8,
        aim=20,
    ),
    Workload(
        "details",
        "users page of 100 with a field of member details (100 single GETs)",
        _same(_PAGE.format(fields="id name remoteDetail")),
        _connection,
        _rest("/users-with-details"),
        must=6,
        aim=15,
        is_bound_to_lead=False,
    ),
    Workload(
        "shapes",
        "a new query shape of 30 fields every request, 10 users",
        _new_shape,
        lambda ids, client: {"connection": ids[SMALL[client][0]]},
        None,
        must=1,
        aim=1.5,
        is_bound_to_lead=False,
    ),
)


def customer_of(slug: str) -> str:
    """The customer whose connection an organization is; the twenty small ones of a client are one customer's."""
    return slug.rpartition("-")[0] or slug
