"""A graph that ticks when a test says so, behind the real room: what the tests of subscriptions subscribe to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import strawberry
from starlette.applications import Starlette

from service.errors import Forbidden, NotFound, Unauthenticated
from service.graphql_http.endpoint import create_graphql_routes
from service.graphql_http.origins import cors_middleware
from service.graphql_http.requests import GraphQLRequest
from service.graphql_http.sessions import Sessions
from service.settings import Settings
from service.tenants.caller import Caller, Role
from tests.graphql_http.small_graph import Keys, Mutation, Query
from tests.streaming import serving


@strawberry.type
class Tick:
    """``resolved`` says how often ticks were resolved before."""

    id: strawberry.ID
    number: int

    @strawberry.field
    async def resolved(self, info: strawberry.Info) -> int:
        await asyncio.sleep(0)
        info.context.clock.resolved += 1
        return int(info.context.clock.resolved)

    @strawberry.field
    def tenant(self, info: strawberry.Info) -> str:
        return str(info.context.caller.tenant_id)

    @strawberry.field
    def missing(self) -> str | None:
        raise NotFound("No such thing.")

    @strawberry.field
    async def slow(self) -> str:
        await asyncio.sleep(30)
        return "done"

    @strawberry.field
    def text(self, size: int = 10) -> str:
        return "x" * size


class Ticks(AsyncIterator[Tick]):
    """What one subscriber gets: a tick, or an error that ends it; None ends it, too."""

    def __init__(self, clock: "Clock") -> None:
        self.queue: asyncio.Queue[Tick | Exception | None] = asyncio.Queue()
        self._clock = clock

    async def __anext__(self) -> Tick:
        item = await self.queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self._clock.subscribers.discard(self)
        self._clock.changed.set()


@dataclass
class Clock:
    """Ticks by hand."""

    subscribers: set[Ticks] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0
    resolved: int = 0
    log: list[str] = field(default_factory=list)

    def tick(self, *, id_: str | None = None) -> None:
        self.number += 1
        self.put(Tick(id=strawberry.ID(id_ or f"tick:{self.number}"), number=self.number))

    def put(self, item: Tick | Exception | None) -> None:
        for subscriber in self.subscribers:
            subscriber.queue.put_nowait(item)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def subscribed(self, number: int = 1) -> None:
        """Wait until so many subscribe."""
        await self.until(lambda: len(self.subscribers) == number)


@dataclass
class Context:
    caller: Caller
    clock: Clock
    extensions: dict[str, Any] = field(default_factory=dict)

    @property
    def events(self) -> list[str]:
        return self.clock.log


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, info: strawberry.Info, label: str = "") -> AsyncIterator[Tick]:
        if label == "forbidden":
            raise Forbidden("Not for you.")
        if label == "broken":
            raise RuntimeError("a secret reason")
        clock: Clock = info.context.clock
        ticks = Ticks(clock)
        clock.subscribers.add(ticks)
        clock.changed.set()
        return ticks

    @strawberry.subscription
    async def countdown(self, start: int = 3) -> AsyncIterator[int]:
        for number in range(start, 0, -1):
            yield number


schema = strawberry.Schema(Query, Mutation, Subscription)


@dataclass
class Ticking:
    """The served graph."""

    port: int
    clock: Clock
    keys: "RevocableKeys"
    sessions: Sessions
    observed: list[dict[str, Any]]


class RevocableKeys(Keys):
    """Knows the caller by ``Bearer <tenant>``, until it is revoked or may do something else."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.roles: dict[str, Role] = {}
        self.failure: Exception | None = None

    async def authenticate(self, authorization: str | None) -> Caller:
        if self.failure is not None:
            raise self.failure
        caller = await super().authenticate(authorization)
        if caller.tenant_id in self.revoked:
            raise Unauthenticated("There is no valid API key.")
        return Caller(caller.tenant_id, self.roles.get(caller.tenant_id, Role.READ), "test")


@asynccontextmanager
async def ticking(
    *, look_seconds: float = 3600, heartbeat_seconds: float = 3600, init_seconds: float = 3600, **settings: Any
) -> AsyncIterator[Ticking]:
    """Serve the graph, whose sessions have these times."""
    chosen = Settings(**settings)
    clock, keys, observed = Clock(), RevocableKeys(), []
    sessions = Sessions(
        keys,
        limit=chosen.subscriptions,
        look_seconds=look_seconds,
        heartbeat_seconds=heartbeat_seconds,
        init_seconds=init_seconds,
    )

    def get_context(caller: Caller, wanted: GraphQLRequest) -> Context:
        return Context(caller, clock)

    routes = create_graphql_routes(
        schema,
        settings=chosen,
        get_context=get_context,
        authenticator=keys,
        sessions=sessions,
        observe=lambda **said: observed.append(said),
    )
    async with serving(Starlette(routes=routes, middleware=[cors_middleware(chosen)])) as port:
        yield Ticking(port, clock, keys, sessions, observed)
