"""Requests that browsers send on behalf of other sites are refused, and those of allow-listed sites let in.

Callers are known by an ``Authorization`` header, which no browser adds by itself, so there is no ambient authority to
abuse. These rules hold all the same, for the day that a proxy in front adds one.
"""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.graphql_http.problems import CrossSite
from service.settings import Settings

# A browser sends a cross-site request with any of these only after asking (Fetch, CORS-preflight fetch).
_PREFLIGHT_HEADERS = ("authorization", "x-graphql-csrf", "apollo-require-preflight", "x-apollo-operation-name")


def check_origin(headers: Mapping[str, str], allowed: Collection[str]) -> None:
    """Raise :class:`CrossSite` for a request of a page on an origin that is neither ours nor allowed.

    Only browsers send ``Origin``; a request without one passes.
    """
    origin = headers.get("origin")
    if origin is None:
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise _cross_site()
        return
    if origin not in allowed and not _is_own(origin, headers):
        raise _cross_site()


def check_preflighted(headers: Mapping[str, str]) -> None:
    """Raise :class:`CrossSite` for a GET that another site could cause by a link or an image."""
    if not any(headers.get(name) for name in _PREFLIGHT_HEADERS):
        raise CrossSite(
            "This GET could have been caused by a page of another site.",
            cure="Send it with a header `X-GraphQL-CSRF: 1`, or use POST with `Content-Type: application/json`.",
        )


def cors_middleware(settings: Settings) -> Middleware:
    """Answers to preflights, and the headers that let the allow-listed origins read answers. No cookies.

    For GraphQL, and for the streaming REST proxy with its methods and headers.
    """
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("authorization", "content-type", *_PREFLIGHT_HEADERS[1:], "idempotency-key", "x-request-id"),
        expose_headers=("link", "x-hits", "x-request-id", "retry-after"),
        max_age=600,
    )


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether the page came from this service: from its very host and port, whatever terminates TLS in front."""
    return origin != "null" and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _cross_site() -> CrossSite:
    return CrossSite(
        "The page that sent this is on an origin that may not call this service.",
        cure="Have the operator add the page's origin to SENTRY_GRAPH_CORS_ORIGINS.",
    )
