"""The same answers without GraphQL: a FastAPI resource for each workload, pydantic models, and httpx.

``python -m bench.rest PORT``; idiomatic, without auth or guards.
"""

import asyncio
import base64
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import httpx
import uvicorn
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bench.linked import CONNECTIONS, UPSTREAM

T = TypeVar("T")


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)


class Role(Model):
    id: str
    name: str


class Group(Model):
    id: str
    name: str


class Known(Model):
    id: str
    name: str | None
    email: str | None
    status: str
    avatar_url: str | None


class Person(Model):
    id: str
    name: str | None
    email: str | None
    status: str
    roles: list[Role]


class User(Model):
    id: str
    connection_id: str
    external_id: str | None
    name: str | None
    username: str | None
    email: str | None
    status: str
    is_email_verified: bool | None
    is_two_factor_enabled: bool | None
    avatar_url: str | None
    created_at: datetime | None
    last_active_at: datetime | None
    roles: list[Role]


class UserWithGroups(User):
    groups: list[Group]


class UserWithDetail(Model):
    id: str
    name: str | None
    remote_detail: Any


class PageInfo(Model):
    has_next_page: bool
    end_cursor: str | None


class Edge(Model, Generic[T]):
    cursor: str
    node: T


class Page(Model, Generic[T]):
    edges: list[Edge[T]]
    page_info: PageInfo


class UserPage(Model, Generic[T]):
    users: Page[T]


class Wanted(Model):
    ids: list[str]


class Entities(Model):
    entities: list[Known | None] = Field(alias="_entities")


class Persons(Model):
    nodes: list[Person]


class Connection(Model):
    id: str
    name: str
    users: Persons


class Connections(Model):
    nodes: list[Connection]


class ConnectionPage(Model):
    connections: Connections


class ProxyAnswer(Model):
    status_code: int
    result: Any


class Proxied(Model):
    proxy: ProxyAnswer


class Sentry:
    """Sentry's API, as far as it is needed here."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, connection_id: str, path: str, **query: Any) -> httpx.Response:
        path = path.replace("{organization}", CONNECTIONS[connection_id]["organization"])
        response = await self._http.get(path, params=query)
        response.raise_for_status()
        return response

    async def page(self, connection_id: str, first: int) -> tuple[list[Any], bool]:
        response = await self.get(connection_id, "organizations/{organization}/members/", per_page=100)
        rows = response.json()
        return rows[:first], len(rows) > first or response.links.get("next", {}).get("results") == "true"

    async def lookup(self, connection_id: str, member_ids: list[str]) -> list[Known]:
        query = " ".join(f"id:{member_id}" for member_id in member_ids)
        found = await self.get(connection_id, "organizations/{organization}/members/", query=query, per_page=100)
        return [Known(**build_known(connection_id, row)) for row in found.json()]

    async def groups(self, connection_id: str) -> dict[str, list[Group]]:
        body = connection_id.removeprefix("con_")
        teams = (await self.get(connection_id, "organizations/{organization}/teams/", detailed=0, per_page=100)).json()
        walks = await asyncio.gather(
            *(
                self.get(connection_id, f"teams/{{organization}}/{team['slug']}/members/", per_page=100)
                for team in teams
            )
        )
        found: dict[str, list[Group]] = defaultdict(list)
        for team, walk in zip(teams, walks, strict=True):
            group = Group(id=f"grp_{body}_{team['id']}", name=team["name"])
            for row in walk.json():
                found[row["id"]].append(group)
        return found

    async def detail(self, connection_id: str, member_id: str) -> Any:
        detail = (await self.get(connection_id, f"organizations/{{organization}}/members/{member_id}/")).json()
        del detail["invite_link"]  # whoever has it can join
        return detail


async def get_sentry(request: Request) -> Sentry:
    return Sentry(request.app.state.http)


Upstream = Annotated[Sentry, Depends(get_sentry)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(
        base_url=f"{UPSTREAM}/api/0/", headers={"Authorization": "Bearer bench"}
    ) as app.state.http:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/users")
async def list_users(sentry: Upstream, connection_id: str, first: int = 50) -> UserPage[User]:
    rows, has_next = await sentry.page(connection_id, first)
    return build_page([User(**build_user(connection_id, row)) for row in rows], connection_id, has_next=has_next)


@app.get("/users-with-groups")
async def list_users_with_groups(sentry: Upstream, connection_id: str, first: int = 50) -> UserPage[UserWithGroups]:
    (rows, has_next), groups = await asyncio.gather(sentry.page(connection_id, first), sentry.groups(connection_id))
    users = [UserWithGroups(**build_user(connection_id, row), groups=groups[row["id"]]) for row in rows]
    return build_page(users, connection_id, has_next=has_next)


@app.get("/users-with-details")
async def list_users_with_details(sentry: Upstream, connection_id: str, first: int = 50) -> UserPage[UserWithDetail]:
    rows, has_next = await sentry.page(connection_id, first)
    details = await asyncio.gather(*(sentry.detail(connection_id, row["id"]) for row in rows))
    users = [
        UserWithDetail(id=build_user_id(connection_id, row), name=find_name(row), remote_detail=detail)
        for row, detail in zip(rows, details, strict=True)
    ]
    return build_page(users, connection_id, has_next=has_next)


@app.post("/users/lookup")
async def look_up(sentry: Upstream, wanted: Wanted) -> Entities:
    by_connection: dict[str, list[str]] = defaultdict(list)
    for each in wanted.ids:
        body, _, member_id = each.removeprefix("usr_").partition("_")
        by_connection[f"con_{body}"].append(member_id)
    found = await asyncio.gather(*(sentry.lookup(*each) for each in by_connection.items()))
    by_id = {user.id: user for users in found for user in users}
    return Entities(entities=[by_id.get(each) for each in wanted.ids])


@app.get("/connections")
async def list_connections(sentry: Upstream, customer_id: str, first: int = 50) -> ConnectionPage:
    rows = [row for row in CONNECTIONS.values() if row["customerId"] == customer_id][:first]
    pages = await asyncio.gather(*(sentry.page(row["id"], 10) for row in rows))
    nodes = [
        Connection(
            id=row["id"],
            name=row["name"],
            users=Persons(nodes=[Person(**build_person(row["id"], member)) for member in members]),
        )
        for row, (members, _) in zip(rows, pages, strict=True)
    ]
    return ConnectionPage(connections=Connections(nodes=nodes))


@app.get("/proxy")
async def proxy(sentry: Upstream, connection_id: str, path: str) -> Proxied:
    response = await sentry.get(connection_id, path)
    return Proxied(proxy=ProxyAnswer(status_code=response.status_code, result=response.json()))


def build_page(users: list[Any], connection_id: str, *, has_next: bool) -> Any:
    edges = [
        {"cursor": base64.b64encode(f"{connection_id}:{index}".encode()).decode(), "node": user}
        for index, user in enumerate(users)
    ]
    end = edges[-1]["cursor"] if edges else None
    return {"users": {"edges": edges, "page_info": {"has_next_page": has_next, "end_cursor": end}}}


def build_user_id(connection_id: str, row: dict[str, Any]) -> str:
    return f"usr_{connection_id.removeprefix('con_')}_{row['id']}"


def find_name(row: dict[str, Any]) -> str | None:
    return row["name"] if row["name"] != row["email"] else None


def find_status(row: dict[str, Any]) -> str:
    if row["pending"]:
        return "EXPIRED" if row["expired"] else "INVITED"
    return "RESTRICTED" if row["flags"].get("member-limit:restricted") else "ACTIVE"


def build_known(connection_id: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": build_user_id(connection_id, row),
        "name": find_name(row),
        "email": row["email"],
        "status": find_status(row),
        "avatar_url": (row["user"] or {}).get("avatarUrl"),
    }


def build_person(connection_id: str, row: dict[str, Any]) -> dict[str, Any]:
    body = connection_id.removeprefix("con_")
    return {
        "id": build_user_id(connection_id, row),
        "name": find_name(row),
        "email": row["email"],
        "status": find_status(row),
        "roles": [{"id": f"rol_{body}_{row['orgRole']}", "name": row["roleName"]}],
    }


def build_user(connection_id: str, row: dict[str, Any]) -> dict[str, Any]:
    user = row["user"] or {}
    return build_person(connection_id, row) | {
        "connection_id": connection_id,
        "external_id": user.get("id"),
        "username": user.get("username"),
        "is_email_verified": next(
            (each["is_verified"] for each in user.get("emails", ()) if each["email"] == row["email"]), None
        ),
        "is_two_factor_enabled": user.get("has2fa"),
        "avatar_url": user.get("avatarUrl"),
        "created_at": row["dateCreated"],
        "last_active_at": user.get("lastActive"),
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
