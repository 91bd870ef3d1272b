"""``POST /graphql`` past the layers that only other routes need.

FastAPI's stack (telemetry, body limits, exception handlers, exit stacks, routing) takes a tenth of a small request's
CPU and does nothing for a route that answers its errors itself. What does something stays around it: CORS, and the
answer to what nobody foresaw.
"""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_PATH = "/graphql"


class Shortcut:
    """ASGI middleware around an application that may have the route of the graph: takes POSTs there straight to it."""

    def __init__(self, app: FastAPI, *middleware: Middleware) -> None:
        """``middleware`` is what stays around the route."""
        self._app = app
        found = (route for route in app.routes if isinstance(route, Route) and route.path == _PATH)
        self._route = next(found, None)
        way: ASGIApp = app if self._route is None else self._route.app
        for layer in reversed((Middleware(ServerErrorMiddleware), *middleware)):
            way = layer.cls(way, *layer.args, **layer.kwargs)
        self._way = way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if (
            self._route is not None
            and scope["type"] == "http"
            and scope["path"] == _PATH
            and scope["method"] == "POST"
            and not scope.get("root_path")
        ):
            scope["app"], scope["endpoint"] = self._app, self._route.endpoint  # as routing leaves them to who looks
            await self._way(scope, receive, send)
        else:
            await self._app(scope, receive, send)
