"""A static upstream in a process of its own: canned answers by path, on the barest of servers, so that it never limits.

``python -m bench.upstream PORT [DELAY]`` answers, after so many seconds. ``/count`` tells how many requests came; after
one for ``/dead`` requests are taken and none is answered.
"""

import asyncio
import sys
from typing import Any, cast

import uvloop

from bench import payloads

CLIENTS = 4
"""How many requests are under way at once in most measurements. Each client has connections of its own."""

PAGES = tuple(f"page-{client}" for client in range(CLIENTS))
"""Organizations of 100 members."""

SMALL = tuple(tuple(f"small-{client}-{number}" for number in range(20)) for client in range(CLIENTS))
"""Organizations of ten members, twenty for each client."""

LONG = tuple(f"long-{client}" for client in range(CLIENTS))
"""Organizations of a thousand members."""

_ISSUES = 160  # make 300 KB
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Sentry-Rate-Limit-Remaining: 999999999\r\n"
    b"X-Sentry-Rate-Limit-Limit: 1000000000\r\nX-Sentry-Rate-Limit-Reset: 4102444800\r\n"
    b"X-Sentry-Rate-Limit-ConcurrentRemaining: 9999\r\nX-Sentry-Rate-Limit-ConcurrentLimit: 9999\r\n"
    b'Link: <http://b/?&cursor=100:%d:1>; rel="previous"; results="%s"; cursor="100:%d:1", '
    b'<http://b/?&cursor=100:%d:0>; rel="next"; results="%s"; cursor="100:%d:0"\r\nContent-Length: %d\r\n\r\n'
)


def _answer(value: object, page: int = 0, pages: int = 1) -> bytes:
    body = payloads.dump(value)
    before, after = (b"true" if there else b"false" for there in (page > 0, page + 1 < pages))
    return _HEAD % (page - 1, before, page - 1, page + 1, after, page + 1, len(body)) + body


def _members(first: int, last: int) -> list[dict[str, Any]]:
    return [payloads.member(number) for number in range(first, last + 1)]


def build_answers(url: str) -> tuple[dict[bytes, list[bytes]], bytes]:
    """The pages of whole answers by path, and the answer to all other paths."""
    pages = [_answer(_members(100 * page + 1, 100 * page + 100), page, 10) for page in range(10)]
    full, small = [_answer(_members(1, payloads.MEMBERS))], [_answer(_members(1, 10))]
    details = {number: [_answer(payloads.detail(number))] for number in range(1, payloads.MEMBERS + 1)}
    teams = [_answer([payloads.team(number) for number in range(1, payloads.TEAMS + 1)])]
    walks = {
        f"team-{team}": [_answer([payloads.team_member(team, number) for number in payloads.members_of(team)])]
        for team in range(1, payloads.TEAMS + 1)
    }
    issues = [_answer([payloads.issue(number) for number in range(1, _ISSUES + 1)])]
    found = {
        "organizations/": [_answer([payloads.organization("bench", url)])],
        "users/me/regions/": [_answer({"regions": [{"name": "bench", "url": url}]})],
    }
    members = {"bench": full} | dict.fromkeys(PAGES, full) | dict.fromkeys(LONG, pages)
    members |= {slug: small for slugs in SMALL for slug in slugs}
    for slug, rows in members.items():
        found[f"organizations/{slug}/"] = [_answer(payloads.organization(slug, url))]
        found[f"organizations/{slug}/members/"] = rows
        if rows is full:
            found[f"organizations/{slug}/issues/"] = issues
            found[f"organizations/{slug}/teams/"] = teams
            found |= {f"organizations/{slug}/members/{number}/": page for number, page in details.items()}
            found |= {f"teams/{slug}/{team}/members/": page for team, page in walks.items()}
    return {f"/api/0/{path}".encode(): page for path, page in found.items()}, _answer(payloads.ROOT)


class Upstream(asyncio.Protocol):
    """Answers each request head with the bytes for its path. Requests have no bodies."""

    is_dead = False
    count = 0

    def __init__(self, answers: dict[bytes, list[bytes]], otherwise: bytes, delay: float) -> None:
        self._answers = answers
        self._otherwise = otherwise
        self._delay = delay
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *heads, self._pending = (self._pending + data).split(b"\r\n\r\n")
        for head in heads:
            path, _, query = head.split(b" ", 2)[1].partition(b"?")
            if path == b"/dead":
                Upstream.is_dead = True
            elif path == b"/count":
                self._transport.write(_answer(Upstream.count))
                continue
            if Upstream.is_dead:
                continue
            Upstream.count += 1
            answer = self._find(path, query)
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _find(self, path: bytes, query: bytes) -> bytes:
        pages = self._answers.get(path)
        if pages is None:
            return self._otherwise
        if len(pages) == 1 or b"cursor=" not in query:
            return pages[0]
        # cursor=100:3:0 is the fourth page; clients may escape the colons.
        cursor = query.partition(b"cursor=")[2].partition(b"&")[0].replace(b"%3A", b":")
        return pages[int(cursor.split(b":")[1])]


async def serve(port: int, delay: float) -> None:
    """Serve until the process ends."""
    answers, otherwise = build_answers(f"http://127.0.0.1:{port}")
    server = await asyncio.get_running_loop().create_server(
        lambda: Upstream(answers, otherwise, delay), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
