"""The same queries on stock parts: Strawberry's router on FastAPI, httpx, and a dataloader for each kind of object.

``python -m bench.stock PORT UPSTREAM``; what a careful developer writes on a first day, without auth or guards.
"""

import asyncio
import base64
import sys
from datetime import datetime
from typing import Any

import httpx
import strawberry
import uvicorn
from aiodataloader import DataLoader
from fastapi import FastAPI, Request
from strawberry.fastapi import GraphQLRouter
from strawberry.scalars import JSON

UPSTREAM = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:9"
HEADERS = {"Authorization": "Bearer bench"}
CONNECTION = "0" * 26


@strawberry.type
class Role:
    id: strawberry.ID
    name: str


@strawberry.federation.type(keys=["id"])
class User:
    id: strawberry.ID
    connection_id: strawberry.ID
    external_id: str | None
    name: str | None
    username: str | None
    email: str | None
    status: str
    is_email_verified: bool | None
    is_two_factor_enabled: bool | None
    avatar_url: str | None
    roles: list[Role]
    created_at: datetime | None
    last_active_at: datetime | None
    member_id: strawberry.Private[str]

    @classmethod
    def of(cls, row: dict[str, Any]) -> "User":
        user = row["user"] or {}
        return cls(
            id=strawberry.ID(f"usr_{CONNECTION}_{row['id']}"),
            connection_id=strawberry.ID(f"con_{CONNECTION}"),
            external_id=user.get("id"),
            name=row["name"],
            username=user.get("username"),
            email=row["email"],
            status="INVITED" if row["pending"] else "ACTIVE",
            is_email_verified=any(each["is_verified"] for each in user.get("emails", ())),
            is_two_factor_enabled=user.get("has2fa"),
            avatar_url=user.get("avatarUrl"),
            roles=[Role(id=strawberry.ID(row["orgRole"]), name=row["roleName"])],
            created_at=_moment(row["dateCreated"]),
            last_active_at=_moment(user.get("lastActive")),
            member_id=row["id"],
        )

    @strawberry.field
    async def remote_detail(self, info: strawberry.Info) -> JSON:
        return await info.context["details"].load(self.member_id)

    @classmethod
    async def resolve_reference(cls, info: strawberry.Info, id: strawberry.ID) -> "User":  # noqa: A002
        return await info.context["users"].load(id.rpartition("_")[2])


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


@strawberry.type
class Proxy:
    status_code: int
    result: JSON


@strawberry.type
class Query:
    @strawberry.field
    async def users(
        self, info: strawberry.Info, connection_ids: list[strawberry.ID] | None = None, first: int = 50
    ) -> UserConnection:
        rows = await _get(info, "organizations/bench/members/", per_page=100)
        users = [User.of(row) for row in rows[:first]]
        edges = [
            UserEdge(node=user, cursor=base64.b64encode(f"con_{CONNECTION}:{index}".encode()).decode())
            for index, user in enumerate(users)
        ]
        return UserConnection(
            edges=edges,
            page_info=PageInfo(
                has_next_page=len(rows) > first,
                has_previous_page=False,
                start_cursor=edges[0].cursor,
                end_cursor=edges[-1].cursor,
            ),
        )

    @strawberry.field
    async def proxy(self, info: strawberry.Info, connection_id: strawberry.ID, path: str) -> Proxy:
        return Proxy(status_code=200, result=await _get(info, path.replace("{organization}", "bench")))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


async def _get(info: strawberry.Info | dict, path: str, **query: Any) -> Any:
    context = info if isinstance(info, dict) else info.context
    response = await context["http"].get(f"{UPSTREAM}/api/0/{path}", params=query, headers=HEADERS)
    response.raise_for_status()
    return response.json()


async def get_context(request: Request) -> dict[str, Any]:
    context: dict[str, Any] = {"http": request.app.state.http}

    async def load_users(ids: list[str]) -> list[User]:
        rows = await _get(context, "organizations/bench/members/", query=" ".join(f"id:{each}" for each in ids))
        by_id = {row["id"]: User.of(row) for row in rows}
        return [by_id[each] for each in ids]

    async def load_details(ids: list[str]) -> list[Any]:
        return await asyncio.gather(*(_get(context, f"organizations/bench/members/{each}/") for each in ids))

    context["users"] = DataLoader(load_users)
    context["details"] = DataLoader(load_details)
    return context


def create_app() -> FastAPI:
    app = FastAPI()
    app.state.http = httpx.AsyncClient()
    app.include_router(
        GraphQLRouter(strawberry.federation.Schema(Query, types=[User]), context_getter=get_context), prefix="/graphql"
    )
    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
