"""The demo hands GraphiQL an API key, and nobody else.

The danger is a web page: any site can make a browser call 127.0.0.1, and a site whose name is made to resolve to
127.0.0.1 (DNS rebinding) even reads the answers, as being its own. What it cannot do is forge the ``Host`` that the
browser puts on such a call, or the browser's word (``Sec-Fetch-Site``) that the page came from here.
"""

import ipaddress
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.errors import Forbidden
from service.graphql_http.responses import format_problem

# Whoever adds one of these stands between the caller and us: then loopback proves nothing.
_FORWARDING = {b"forwarded", b"via", b"cdn-loop", b"true-client-ip", b"x-real-ip", b"x-client-ip"}
_FORWARDING_PREFIXES = tuple(b"x-forwarded x-cluster- x-original- x-envoy- x-amzn- cf- fly- fastly-".split())


def may_hand_out_key(
    *, bound_host: str, bound_port: int, client_host: str | None, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bool:
    """Whether a request comes from the demo's own page in a browser on this machine.

    ``bound_host`` is the address the server listens on, ``target`` the request target's path as sent, ``headers`` the
    raw ones with lower-case names.
    """
    hosts = _values(headers, b"host")
    own = {f"{name}:{bound_port}".encode() for name in ("localhost", "127.0.0.1")}
    return (
        _is_loopback(bound_host)
        and (client_host is None or _is_loopback(client_host))
        # The absolute form names a host of its own, which would count instead of the header.
        and target.startswith(b"/")
        and len(hosts) == 1
        and hosts[0] in own
        and _values(headers, b"origin") == [b"http://" + hosts[0]]
        and _values(headers, b"sec-fetch-site") == [b"same-origin"]
        and not any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES) for name, _ in headers)
    )


def create_demo_key_route(key: str, *, bound_host: str, bound_port: int, path: str = "/graphql/demo-key") -> Route:
    """``POST path`` → ``{"key": …}`` for the demo's own page, 403 for all else."""

    async def hand_out(request: Request) -> Response:
        if may_hand_out_key(
            bound_host=bound_host,
            bound_port=bound_port,
            client_host=request.client.host if request.client is not None else None,
            target=request.scope.get("raw_path") or b"",
            headers=request.headers.raw,
        ):
            return JSONResponse({"key": key}, headers={"cache-control": "no-store"})
        error = Forbidden(
            "The demo's key is only for its own page.",
            cure=f"Open http://127.0.0.1:{bound_port}/graphql in a browser on the same machine.",
        )
        return JSONResponse({"errors": format_problem(error)}, error.status, headers={"cache-control": "no-store"})

    return Route(path, hand_out, methods=["POST"], include_in_schema=False)


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
