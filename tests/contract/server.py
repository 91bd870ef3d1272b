"""A Sentry as the contract sees it: an address and tokens. Knows nothing of the sandbox."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pytest

Kind = Literal["admin", "limited", "expired", "internal"]
TRUST = httpx.create_ssl_context()
"""Whom to trust, read once: it takes longer than many a request."""

_LINK = re.compile(r'<([^>]*)>; rel="(\w+)"; results="(\w+)"; cursor="([^"]*)"')


@dataclass(frozen=True)
class Link:
    """One entry of a ``Link`` header."""

    url: str
    results: bool
    cursor: str


@dataclass(frozen=True)
class Server:
    """Where to ask, and as whom. A token that is missing skips the tests that need it."""

    url: str
    manner: Literal["23.7", "latest"]
    tokens: Mapping[Kind, str] = field(repr=False)
    organization: str
    is_strict: bool = False

    def ask(self, path: str, token: Kind | None = "admin", *, method: str = "GET", **kwargs: Any) -> httpx.Response:
        """Asks below /api/0/. Waits out a 429 (unless strict) and repeats a read that broke on the way."""
        headers = {"Authorization": f"Bearer {self.token(token)}"} if token else {}
        headers |= kwargs.pop("headers", {})
        for _ in range(8):
            try:
                # A fresh connection each time: some servers close idle ones without a word.
                response = httpx.request(
                    method,
                    f"{self.url}/api/0/{path}",
                    headers=headers,
                    timeout=60,
                    verify=TRUST,
                    **kwargs,
                )
            except httpx.TransportError:
                if method not in {"GET", "HEAD", "OPTIONS"}:
                    raise
                time.sleep(0.2)
                continue
            if response.status_code != 429 or self.is_strict:
                return response
            time.sleep(max(0.1, float(response.headers.get("X-Sentry-Rate-Limit-Reset", 0)) - time.time()))
        pytest.fail(f"{self.url} did not answer {path}")

    def token(self, kind: Kind) -> str:
        """The token; skips the test where it was not given."""
        if kind not in self.tokens:
            pytest.skip(f"SENTRY_TEST_{kind.upper()}_TOKEN is not set")
        return self.tokens[kind]

    def rows(self, path: str, token: Kind = "admin", **params: Any) -> list[dict[str, Any]]:
        """A list that must answer 200."""
        response = self.ask(path, token, params=params)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    def pages(self, path: str, *, size: int | None = None, most: int = 1000, **params: Any) -> Iterator[httpx.Response]:
        """Walks a list forward by the next cursor, at one page size; at most so many pages."""
        given = params | ({"per_page": size} if size else {})
        for _ in range(most):
            response = self.ask(path, params=given)
            assert response.status_code == 200, response.text
            yield response
            following = links(response)["next"]
            if not following.results:
                return
            given = given | {"cursor": following.cursor}

    def walk(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Every row of a list."""
        return [row for page in self.pages(path, **params) for row in page.json()]

    def organization_path(self, rest: str = "") -> str:
        """A path below the organization."""
        return f"organizations/{self.organization}/{rest}"


def links(response: httpx.Response) -> dict[str, Link]:
    """The entries of the ``Link`` header by their rel; empty where there is none."""
    found = _LINK.findall(response.headers.get("Link", ""))
    return {rel: Link(url, results == "true", cursor) for url, rel, results, cursor in found}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """The ids in order."""
    return [row["id"] for row in rows]
