"""CPU time of the compiled executor as ratios over graphql-core's, on Strawberry types; interleaved in one run.

``python -m bench.executor [--rounds N]``. No HTTP and no upstream: a parsed and validated document is executed.
"""

import argparse
import asyncio
import itertools
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import strawberry
from graphql import ExecutionResult, parse
from strawberry.execution import optimized_is_awaitable
from strawberry.federation import Schema as FederationSchema
from strawberry.federation.schema import FederationAny
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from service.executor import batched, create_executor


@strawberry.enum
class Status(Enum):
    ACTIVE = "active"
    INVITED = "invited"


@strawberry.interface
class Node:
    id: strawberry.ID


@strawberry.type
class Role:
    id: strawberry.ID
    name: str


@strawberry.type
class Group:
    id: strawberry.ID
    name: str


async def load_groups(parents: Sequence["User"], info: strawberry.Info) -> list[list[Group]]:  # noqa: ARG001
    await asyncio.sleep(0)
    return [GROUPS for _ in parents]


@strawberry.federation.type(keys=["id"])
class User(Node):
    connection_id: strawberry.ID
    external_id: str | None
    name: str | None
    username: str | None
    email: str | None
    status: Status
    is_email_verified: bool | None
    is_two_factor_enabled: bool | None
    avatar_url: str | None
    created_at: datetime | None
    last_active_at: datetime | None
    roles: list[Role]
    groups: list[Group] = batched(load_groups)


@strawberry.type
class Edge:
    cursor: str
    node: User


@strawberry.type
class Page:
    edges: list[Edge]


@strawberry.type
class Child:
    id: strawberry.ID
    name: str
    size: int


@strawberry.type
class Parent:
    id: strawberry.ID
    name: str

    @strawberry.field
    async def children(self) -> list[Child]:
        await asyncio.sleep(0)
        return CHILDREN


NOW = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS = [Group(id=strawberry.ID(str(i)), name=f"Group {i}") for i in range(3)]
CHILDREN = [Child(id=strawberry.ID(str(i)), name=f"Child {i}", size=i) for i in range(10)]
PARENTS = [Parent(id=strawberry.ID(str(i)), name=f"Parent {i}") for i in range(20)]
USERS = [
    User(
        id=strawberry.ID(f"usr_{i}"),
        connection_id=strawberry.ID("con_1"),
        external_id=str(i),
        name=f"Name {i}",
        username=f"user{i}",
        email=f"user{i}@example.com",
        status=Status.ACTIVE if i % 3 else Status.INVITED,
        is_email_verified=i % 2 == 0,
        is_two_factor_enabled=None,
        avatar_url=None,
        created_at=NOW,
        last_active_at=NOW,
        roles=[Role(id=strawberry.ID("admin"), name="Admin")],
    )
    for i in range(100)
]


@strawberry.type
class Query:
    @strawberry.field
    async def users(self) -> Page:
        return PAGE

    @strawberry.field
    async def me(self) -> User:
        return USERS[0]

    @strawberry.field
    async def parents(self) -> list[Parent]:
        return PARENTS


PAGE = Page(edges=[Edge(cursor=user.id, node=user) for user in USERS])


class Schema(FederationSchema):
    async def entities_resolver(  # type: ignore[override]
        self, info: strawberry.Info, representations: list[FederationAny]
    ) -> list[Any]:
        return USERS[: len(representations)]


PLAIN = (
    "id connectionId externalId name username email status isEmailVerified isTwoFactorEnabled avatarUrl createdAt "
    "lastActiveAt"
)
ENTITIES = {"r": [{"__typename": "User", "id": str(i)} for i in range(100)]}
WORKLOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "page of 100 users, 12 fields and roles": (
        f"{{ users {{ edges {{ cursor node {{ {PLAIN} roles {{ id name }} }} }} }} }}",
        {},
    ),
    "the same with a batched field": (
        f"{{ users {{ edges {{ cursor node {{ {PLAIN} roles {{ id name }} groups {{ id name }} }} }} }} }}",
        {},
    ),
    "100 entities": (
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { id name email status avatarUrl } } }",
        ENTITIES,
    ),
    "one object of 3 fields": ("{ me { id name email } }", {}),
    "20 parents of 10 children": ("{ parents { id name children { id name size } } }", {}),
}

Execute = Callable[[Any, dict[str, Any]], Awaitable[ExecutionResult]]


def make_contenders() -> tuple[Schema, dict[str, type]]:
    schema = Schema(query=Query)
    return schema, {"graphql-core": StrawberryGraphQLCoreExecutionContext, "compiled": create_executor()}


async def execute(schema: Schema, executor_class: Any, document: Any, variables: dict[str, Any]) -> ExecutionResult:
    executor = executor_class.build(
        schema._schema,  # noqa: SLF001 - where every integration finds it
        document,
        None,
        None,
        variables,
        is_awaitable=optimized_is_awaitable,
    )
    result = executor.execute_operation()
    if not isinstance(result, ExecutionResult):
        result = await result
    if result.errors:
        raise SystemExit(result.errors)
    return result


async def measure(rounds: int, repeats: int) -> None:
    schema, contenders = make_contenders()
    print(f"{platform.machine()}, Python {platform.python_version()}; median of {rounds} rounds, ms of CPU\n")
    print("| workload | graphql-core | compiled | ratio |\n|---|---|---|---|")
    for name, (text, variables) in WORKLOADS.items():
        document = parse(text)
        results = [await execute(schema, each, document, variables) for each in contenders.values()]
        if repr(results[0].data) != repr(results[1].data):
            raise SystemExit(f"{name}: the answers differ")
        times: dict[str, list[float]] = {each: [] for each in contenders}
        for _ in range(rounds):
            for contender, executor_class in contenders.items():
                begun = time.process_time()
                for _ in range(repeats):
                    await execute(schema, executor_class, document, variables)
                times[contender].append((time.process_time() - begun) / repeats * 1000)
        report(name, times)
    for name, size in (("new shape of 30 fields, 100 users", 100), ("new shape of 30 fields, one user", 1)):
        PAGE.edges[:] = [Edge(cursor=user.id, node=user) for user in USERS[:size]]
        times = {each: [] for each in contenders}
        numbers = itertools.count()
        for _ in range(rounds):
            for contender, executor_class in contenders.items():
                documents = [parse(new_shape(next(numbers))) for _ in range(repeats)]
                begun = time.process_time()
                for document in documents:
                    await execute(schema, executor_class, document, {})
                times[contender].append((time.process_time() - begun) / repeats * 1000)
        report(name, times)


def new_shape(number: int) -> str:
    """Thirty fields under names that no document had before."""
    fields = PLAIN.split()
    aliased = " ".join(f"f{number}_{i}: {fields[i % len(fields)]}" for i in range(24))
    return f"{{ users {{ edges {{ cursor node {{ {aliased} roles {{ id name }} }} }} }} }}"


def report(name: str, times: dict[str, list[float]]) -> None:
    core, compiled = (statistics.median(each) for each in times.values())
    print(f"| {name} | {core:.2f} | {compiled:.3f} | {core / compiled:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.executor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.rounds, arguments.repeats))


if __name__ == "__main__":
    main()
