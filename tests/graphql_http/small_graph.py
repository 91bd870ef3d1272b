"""A small graph behind the real HTTP room: what its tests ask."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import msgspec
import strawberry
from starlette.applications import Starlette
from strawberry.federation.schema_directives import Cost, ListSize
from strawberry.scalars import JSON

from service.errors import NotFound, Unauthenticated
from service.graphql_http.endpoint import create_graphql_routes
from service.graphql_http.origins import cors_middleware
from service.graphql_http.requests import GraphQLRequest
from service.schema.graphiql.demo_key import create_demo_key_route
from service.schema.graphiql.page import PreparedQuery, create_graphiql
from service.settings import Settings
from service.tenants.caller import Caller, Role

SECRET = "sntrys_canary_secret"


@dataclass
class Context:
    caller: Caller
    events: list[str]
    extensions: dict[str, Any] = field(default_factory=dict)


Info = strawberry.Info[Context, None]


friends_size = ListSize(
    assumed_size=10, slicing_arguments=["first"], sized_fields=None, require_one_slicing_argument=False
)


@strawberry.type
class Person:
    id: strawberry.ID
    name: str
    friend_count: int = 3

    @strawberry.field(directives=[friends_size])  # type: ignore[untyped-decorator] # the overloads lose the type
    def friends(self, first: int = 10) -> list["Person"]:
        return people(min(first, 20))


@strawberry.type
class People:
    nodes: list[Person]


def people(count: int) -> list[Person]:
    return [Person(id=strawberry.ID(str(number)), name=f"Person {number}") for number in range(count)]


sized = ListSize(
    assumed_size=50, slicing_arguments=["first", "last"], sized_fields=["nodes"], require_one_slicing_argument=False
)
weighed = Cost(weight=10)


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "world"

    @strawberry.field
    def echo(self, text: str = "") -> str:
        return text

    @strawberry.field
    def person(self) -> Person:
        return people(1)[0]

    @strawberry.field(directives=[sized])  # type: ignore[untyped-decorator] # its overloads lose the type here
    def people(self, first: int | None = None, last: int | None = None) -> People:
        return People(nodes=people(first or last or 2))

    @strawberry.field(directives=[weighed])  # type: ignore[untyped-decorator] # the same
    def nodes(self, ids: list[strawberry.ID]) -> list[Person]:
        return [Person(id=one, name="some") for one in ids]

    @strawberry.field
    def raw(self) -> JSON:
        return msgspec.Raw(b'{"from":  "upstream",  "big": 123456789012345678901234567890}')  # type: ignore[return-value]

    @strawberry.field
    def unencodable(self) -> str:
        return "\ud800"

    @strawberry.field
    def missing(self) -> str | None:
        raise NotFound("No such thing.", cure="Look elsewhere.")

    @strawberry.field
    def broken(self) -> str | None:
        local_secret = SECRET.upper()
        raise RuntimeError(f"connection string {len(local_secret)} leaked: {SECRET}")

    @strawberry.field
    def broken_root(self) -> str:
        raise RuntimeError("no root")

    @strawberry.field
    def many_broken(self) -> list[str | None]:
        return [RuntimeError("one of many")] * 200  # type: ignore[list-item]

    @strawberry.field
    async def slow(self, info: Info, seconds: float = 30) -> str:
        info.context.events.append("slow began")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            info.context.events.append("slow cancelled")
            raise
        return "done"

    @strawberry.field
    def with_extensions(self, info: Info) -> str:
        info.context.extensions["rateLimit"] = {"remaining": 7}
        return "see extensions"

    @strawberry.field
    def operation_extensions(self, info: Info) -> JSON:
        return info.input_extensions  # type: ignore[return-value]


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def write(self, info: Info, seconds: Annotated[float, strawberry.argument()] = 0) -> str:
        info.context.events.append("write began")
        await asyncio.sleep(seconds)
        info.context.events.append("write ended")
        return "written"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int = 3, ends: bool = True) -> AsyncIterator[int]:
        try:
            for number in range(1, to + 1):
                yield number
            if not ends:
                await asyncio.Event().wait()
        finally:
            info.context.events.append("count ended")


schema = strawberry.Schema(Query, Mutation, Subscription)


class Keys:
    """Knows the caller by ``Bearer <tenant>``."""

    async def authenticate(self, authorization: str | None) -> Caller:
        kind, _, tenant = (authorization or "").partition(" ")
        if kind != "Bearer" or not tenant:
            raise Unauthenticated("There is no valid API key.")
        return Caller(tenant, Role.READ, "test")


class Anyone:
    """Lets everybody in, as an authentication by cookie might."""

    async def authenticate(self, authorization: str | None) -> Caller:
        return Caller("anyone", Role.READ, "test")


def make_app(
    *,
    events: list[str] | None = None,
    authenticator: Keys | Anyone | None = None,
    queries: Sequence[PreparedQuery] = (),
    graph: strawberry.Schema = schema,
    demo_key: str | None = None,
    **settings: Any,
) -> Starlette:
    chosen = Settings(**settings)
    log = events if events is not None else []

    def get_context(caller: Caller, wanted: GraphQLRequest) -> Context:
        return Context(caller, log)

    page, files = create_graphiql(queries, demo_key=demo_key is not None) if chosen.graphiql else (None, [])
    if demo_key is not None:
        files.append(create_demo_key_route(demo_key, bound_host=chosen.host, bound_port=chosen.port))
    routes = create_graphql_routes(
        graph, settings=chosen, get_context=get_context, authenticator=authenticator or Keys(), page=page
    )
    return Starlette(routes=[*routes, *files], middleware=[cors_middleware(chosen)])


@contextlib.asynccontextmanager
async def connect(app: Starlette, *, tenant: str | None = "acme") -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, without a socket between them."""
    headers = {"authorization": f"Bearer {tenant}"} if tenant else {}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://graph.test", headers=headers) as client:
        yield client
