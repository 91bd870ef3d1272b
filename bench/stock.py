"""The same graph on stock parts: Strawberry's router on FastAPI, httpx, and a dataloader for each kind of look-up.

``python -m bench.stock PORT``; what a careful developer writes on a first day, without auth or guards.
"""

import asyncio
import base64
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Any

import httpx
import strawberry
import uvicorn
from fastapi import FastAPI, Request
from strawberry.dataloader import DataLoader
from strawberry.fastapi import GraphQLRouter
from strawberry.scalars import JSON

from bench.linked import CONNECTIONS, UPSTREAM


@strawberry.enum
class UserStatus(Enum):
    ACTIVE = "active"
    INVITED = "invited"
    EXPIRED = "expired"
    RESTRICTED = "restricted"


@strawberry.type
class Role:
    id: strawberry.ID
    external_id: str
    name: str
    group: str | None
    organization: strawberry.ID


@strawberry.type
class Group:
    id: strawberry.ID
    external_id: str
    slug: str
    name: str


@strawberry.federation.type(keys=["id"])
class User:
    id: strawberry.ID
    connection_id: strawberry.ID
    external_id: str | None
    sentry_member_id: str
    name: str | None
    first_name: str | None
    last_name: str | None
    username: str | None
    email: str | None
    title: str | None
    status: UserStatus
    is_email_verified: bool | None
    is_two_factor_enabled: bool | None
    avatar_url: str | None
    roles: list[Role]
    created_at: datetime | None
    last_login_at: datetime | None
    last_active_at: datetime | None

    @classmethod
    def of(cls, connection_id: str, row: dict[str, Any]) -> "User":
        user = row["user"] or {}
        body = connection_id.removeprefix("con_")
        if row["pending"]:
            status = UserStatus.EXPIRED if row["expired"] else UserStatus.INVITED
        else:
            status = UserStatus.RESTRICTED if row["flags"].get("member-limit:restricted") else UserStatus.ACTIVE
        return cls(
            id=strawberry.ID(f"usr_{body}_{row['id']}"),
            connection_id=strawberry.ID(connection_id),
            external_id=user.get("id"),
            sentry_member_id=row["id"],
            name=row["name"] if row["name"] != row["email"] else None,
            first_name=None,
            last_name=None,
            username=user.get("username"),
            email=row["email"],
            title=None,
            status=status,
            is_email_verified=next(
                (each["is_verified"] for each in user.get("emails", ()) if each["email"] == row["email"]), None
            ),
            is_two_factor_enabled=user.get("has2fa"),
            avatar_url=user.get("avatarUrl"),
            roles=[
                Role(
                    id=strawberry.ID(f"rol_{body}_{row['orgRole']}"),
                    external_id=row["orgRole"],
                    name=row["roleName"],
                    group=None,
                    organization=strawberry.ID(f"org_{body}"),
                )
            ],
            created_at=_moment(row["dateCreated"]),
            last_login_at=_moment(user.get("lastLogin")),
            last_active_at=_moment(user.get("lastActive")),
        )

    @strawberry.field
    async def groups(self, info: strawberry.Info) -> list[Group]:
        return await info.context["groups"].load((self.connection_id, self.sentry_member_id))

    @strawberry.field
    async def remote_detail(self, info: strawberry.Info) -> JSON:
        return await info.context["details"].load((self.connection_id, self.sentry_member_id))

    @classmethod
    async def resolve_reference(cls, info: strawberry.Info, id: strawberry.ID) -> "User":  # noqa: A002
        return await info.context["users"].load(id)


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class UserEdge:
    node: User
    cursor: str


@strawberry.type
class UserConnection:
    edges: list[UserEdge]
    page_info: PageInfo

    @classmethod
    def of(cls, users: list[User], *, has_next_page: bool) -> "UserConnection":
        edges = [
            UserEdge(node=user, cursor=base64.b64encode(f"{user.connection_id}:{index}".encode()).decode())
            for index, user in enumerate(users)
        ]
        return cls(
            edges=edges,
            page_info=PageInfo(
                has_next_page=has_next_page,
                has_previous_page=False,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
        )

    @strawberry.field
    def nodes(self) -> list[User]:
        return [edge.node for edge in self.edges]


@strawberry.type
class Connection:
    id: strawberry.ID
    name: str

    @strawberry.field
    async def users(self, info: strawberry.Info, first: int = 50) -> UserConnection:
        return await list_users(info, [self.id], first)


@strawberry.type
class ConnectionConnection:
    nodes: list[Connection]


@strawberry.input
class ConnectionFilter:
    customer_id: str | None = None


@strawberry.type
class Proxy:
    status_code: int
    result: JSON


@strawberry.type
class Query:
    @strawberry.field
    def connections(self, first: int = 50, filter: ConnectionFilter | None = None) -> ConnectionConnection:  # noqa: A002
        wanted = filter.customer_id if filter else None
        rows = [row for row in CONNECTIONS.values() if wanted is None or row["customerId"] == wanted]
        return ConnectionConnection(
            nodes=[Connection(id=strawberry.ID(row["id"]), name=row["name"]) for row in rows[:first]]
        )

    @strawberry.field
    async def users(
        self, info: strawberry.Info, connection_ids: list[strawberry.ID], first: int = 50
    ) -> UserConnection:
        return await list_users(info, connection_ids, first)

    @strawberry.field
    async def proxy(self, info: strawberry.Info, connection_id: strawberry.ID, path: str) -> Proxy:
        organization = CONNECTIONS[connection_id]["organization"]
        response = await info.context["http"].get(path.replace("{organization}", organization))
        return Proxy(status_code=response.status_code, result=response.json())


async def list_users(info: strawberry.Info, connection_ids: list[strawberry.ID], first: int) -> UserConnection:
    pages = await info.context["pages"].load_many(connection_ids)
    users = [user for page, _ in pages for user in page]
    return UserConnection.of(users[:first], has_next_page=len(users) > first or any(more for _, more in pages))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Loads:
    """What the dataloaders of a request call."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def pages(self, connection_ids: list[str]) -> list[tuple[list[User], bool]]:
        return await asyncio.gather(*map(self._page, connection_ids))

    async def users(self, ids: list[str]) -> list[User | None]:
        wanted: dict[str, list[str]] = defaultdict(list)
        for each in ids:
            body, _, member_id = each.removeprefix("usr_").partition("_")
            wanted[f"con_{body}"].append(member_id)
        found = await asyncio.gather(*(self._find(*each) for each in wanted.items()))
        by_id = {user.id: user for users in found for user in users}
        return [by_id.get(each) for each in ids]

    async def groups(self, keys: list[tuple[str, str]]) -> list[list[Group]]:
        by_member: dict[tuple[str, str], list[Group]] = defaultdict(list)
        for found in await asyncio.gather(*map(self._walk, {connection_id for connection_id, _ in keys})):
            for key, group in found:
                by_member[key].append(group)
        return [by_member[key] for key in keys]

    async def details(self, keys: list[tuple[str, str]]) -> list[Any]:
        return await asyncio.gather(*(self._detail(*key) for key in keys))

    async def _page(self, connection_id: str) -> tuple[list[User], bool]:
        organization = CONNECTIONS[connection_id]["organization"]
        response = await self._http.get(f"organizations/{organization}/members/", params={"per_page": 100})
        response.raise_for_status()
        users = [User.of(connection_id, row) for row in response.json()]
        return users, response.links.get("next", {}).get("results") == "true"

    async def _find(self, connection_id: str, member_ids: list[str]) -> list[User]:
        organization = CONNECTIONS[connection_id]["organization"]
        query = " ".join(f"id:{member_id}" for member_id in member_ids)
        rows = await self._get(f"organizations/{organization}/members/", query=query, per_page=100)
        return [User.of(connection_id, row) for row in rows]

    async def _walk(self, connection_id: str) -> list[tuple[tuple[str, str], Group]]:
        organization = CONNECTIONS[connection_id]["organization"]
        body = connection_id.removeprefix("con_")
        teams = await self._get(f"organizations/{organization}/teams/", detailed=0, per_page=100)
        walks = [self._get(f"teams/{organization}/{team['slug']}/members/", per_page=100) for team in teams]
        found = []
        for team, rows in zip(teams, await asyncio.gather(*walks), strict=True):
            group = Group(
                id=strawberry.ID(f"grp_{body}_{team['id']}"),
                external_id=team["id"],
                slug=team["slug"],
                name=team["name"],
            )
            found += [((connection_id, row["id"]), group) for row in rows]
        return found

    async def _detail(self, connection_id: str, member_id: str) -> Any:
        organization = CONNECTIONS[connection_id]["organization"]
        detail = await self._get(f"organizations/{organization}/members/{member_id}/")
        del detail["invite_link"]  # whoever has it can join
        return detail

    async def _get(self, path: str, **query: Any) -> Any:
        response = await self._http.get(path, params=query)
        response.raise_for_status()
        return response.json()


async def get_context(request: Request) -> dict[str, Any]:
    loads = Loads(request.app.state.http)
    return {
        "http": request.app.state.http,
        "pages": DataLoader(loads.pages),
        "users": DataLoader(loads.users),
        "groups": DataLoader(loads.groups),
        "details": DataLoader(loads.details),
    }


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(
        base_url=f"{UPSTREAM}/api/0/", headers={"Authorization": "Bearer bench"}
    ) as app.state.http:
        yield


def create_app() -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    schema = strawberry.federation.Schema(Query, types=[User])
    app.include_router(GraphQLRouter(schema, context_getter=get_context), prefix="/graphql")
    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
