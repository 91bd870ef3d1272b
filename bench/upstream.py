"""A static upstream in a process of its own: canned answers by path, on the barest of servers, so that it never limits.

``python -m bench.upstream PORT``; after a request for ``/dead`` it takes requests and answers none.
"""

import asyncio
import sys
from typing import cast

import uvloop

from bench import payloads

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Sentry-Rate-Limit-Remaining: 39999\r\n"
    b"X-Sentry-Rate-Limit-Limit: 40000\r\nX-Sentry-Rate-Limit-Reset: 4102444800\r\n"
    b"X-Sentry-Rate-Limit-ConcurrentRemaining: 9999\r\nX-Sentry-Rate-Limit-ConcurrentLimit: 9999\r\n"
    b'Link: <http://b/?&cursor=100:-1:1>; rel="previous"; results="false"; cursor="100:-1:1", '
    b'<http://b/?&cursor=100:1:0>; rel="next"; results="false"; cursor="100:1:0"\r\nContent-Length: %d\r\n\r\n'
)


def build_answers(url: str) -> list[tuple[bytes, bytes]]:
    """Path prefixes and the whole answers to them; the first prefix that fits wins."""
    members = payloads.dump([payloads.member(number) for number in range(1, payloads.MEMBERS + 1)])
    bodies: list[tuple[str, bytes]] = [
        *(
            (f"/api/0/organizations/bench/members/{number}/", payloads.dump(payloads.detail(number)))
            for number in range(1, payloads.MEMBERS + 1)
        ),
        ("/api/0/organizations/bench/members/", members),
        ("/api/0/organizations/bench/issues/", payloads.dump([payloads.issue(number) for number in range(1, 161)])),
        ("/api/0/organizations/bench/", payloads.dump(payloads.organization(url))),
        ("/api/0/organizations/", payloads.dump([payloads.organization(url)])),
        ("/api/0/users/me/regions/", payloads.dump({"regions": [{"name": "bench", "url": url}]})),
        ("/api/0/", payloads.dump(payloads.ROOT)),
    ]
    return [(path.encode(), _HEAD % len(body) + body) for path, body in bodies]


class Upstream(asyncio.Protocol):
    """Answers each request head with the bytes for its path. Requests have no bodies."""

    is_dead = False

    def __init__(self, answers: list[tuple[bytes, bytes]]) -> None:
        self._answers = answers
        self._exact = dict(answers)
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *heads, self._pending = (self._pending + data).split(b"\r\n\r\n")
        for head in heads:
            path = head.split(b" ", 2)[1].split(b"?", 1)[0]
            if path == b"/dead":
                Upstream.is_dead = True
            if Upstream.is_dead:
                continue
            answer = self._exact.get(path)
            if answer is None:
                answer = next((each for prefix, each in self._answers if path.startswith(prefix)), self._answers[-1][1])
            self._transport.write(answer)


async def serve(port: int) -> None:
    """Serve until the process ends."""
    answers = build_answers(f"http://127.0.0.1:{port}")
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
