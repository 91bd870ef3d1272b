"""A Sentry of a few canned answers, for shapes that no one server has; and a client that speaks to it."""

from collections.abc import Mapping
from typing import Any

import httpx

from service.connections.credentials import recognise
from service.connections.discovery import Discovery, find_origins
from service.connections.stored import FixedToken
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin

ROOT = {"version": "0", "auth": {"scopes": ["org:read"]}, "user": {"id": "1", "email": "a@acme.example"}}


def organization(slug: str, region: str | None = "https://us.sentry.io", number: str = "2") -> dict[str, Any]:
    links = {"organizationUrl": f"https://{slug}.sentry.io", "regionUrl": region} if region else None
    return {"id": number, "slug": slug, "name": slug.title(), "links": links}


class Upstream(httpx.AsyncBaseTransport):
    """Answers ``"host/path"`` with JSON, a status or an exception; all else is 404. Records what it was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        where = f"{request.url.netloc.decode()}{request.url.path}".replace("/api/0/", "/")
        self.asked.append(where)
        self.tokens.add(request.headers["authorization"])
        answer = self.answers.get(where, 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, json={"detail": "no"})
        if callable(answer):
            made: httpx.Response = answer(request)
            return made
        return httpx.Response(200, json=answer)


def client_of(transport: httpx.AsyncBaseTransport, policy: EgressPolicy) -> SentryClient:
    return SentryClient(transport, policy=policy, deadline=5, attempts=1, max_bytes=2**20, user_agent="test")


def discovery_of(
    transport: httpx.AsyncBaseTransport,
    token: str,
    origin: str = "https://sentry.io",
    policy: EgressPolicy | None = None,
) -> Discovery:
    policy = policy or EgressPolicy()
    credential = recognise(token)
    control, api = find_origins(credential, Origin.parse(origin))
    account = Account("ten_1", "lnk_1", control, api, "", "f" * 64, FixedToken(credential.token))
    return Discovery(client_of(transport, policy), policy, credential, account)
