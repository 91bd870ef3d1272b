from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.graphql_http.shortcut import Shortcut

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"


async def answer(request: Request) -> Response:
    if await request.body() == b"fail":
        raise RuntimeError("nobody foresaw this")
    return PlainTextResponse(f"{request.method} {request.app.title}")


def make(path: str = "/graphql") -> tuple[Shortcut, list[str]]:
    """An application with one route, and the requests that went through its own layers."""
    seen: list[str] = []

    class Seeing:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(f"{scope['type']} {scope.get('method')} {scope.get('path')}")
            await self._app(scope, receive, send)

    app = FastAPI(title="the app", routes=[Route(path, answer, methods=["GET", "POST"])])
    app.add_middleware(Seeing)
    return Shortcut(app, Middleware(CORSMiddleware, allow_origins=[FRIEND])), seen


async def ask(app: ASGIApp, method: str = "POST", path: str = "/graphql", **given: Any) -> httpx.Response:
    root_path = given.pop("root_path", "")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        return await client.request(method, path, **given)


async def test_a_post_to_the_graph_goes_past_the_other_routes_layers():
    app, seen = make()
    answered = await ask(app)
    assert (answered.status_code, answered.text, seen) == (200, "POST the app", [])


@pytest.mark.parametrize(("method", "path"), [("GET", "/graphql"), ("POST", "/other"), ("POST", "/graphql/")])
async def test_everything_else_goes_through_them(method: str, path: str):
    app, seen = make()
    await ask(app, method, path)
    assert seen == [f"http {method} {path}"]


async def test_below_a_root_path_it_is_for_the_router_to_say_where_the_graph_is():
    app, seen = make()
    answered = await ask(app, path="/below/graphql", root_path="/below")
    assert (answered.text, seen) == ("POST the app", ["http POST /below/graphql"])


async def test_without_a_graph_all_goes_to_the_application():
    app, seen = make("/elsewhere")
    assert (await ask(app)).status_code == 404
    assert seen == ["http POST /graphql"]


async def test_the_layers_that_are_named_stay_around_it():
    app, _ = make()
    allowed, refused = [await ask(app, headers={"origin": origin}) for origin in (FRIEND, STRANGER)]
    assert allowed.headers["access-control-allow-origin"] == FRIEND
    assert "access-control-allow-origin" not in refused.headers


async def test_what_nobody_foresaw_is_a_500_and_tells_nothing():
    app, _ = make()
    answered = await ask(app, content=b"fail", headers={"origin": FRIEND})
    assert answered.status_code == 500
    assert "foresaw" not in answered.text


async def test_and_is_raised_on_for_the_server_to_log():
    app, _ = make()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test") as client:
        with pytest.raises(RuntimeError, match="foresaw"):
            await client.post("/graphql", content=b"fail")
