"""An upstream that records what would have been sent, and answers what it is told to."""

from collections.abc import Awaitable, Callable

import httpx


class Recorder(httpx.AsyncBaseTransport):
    """``answer`` is called with each request; its default is an empty list."""

    def __init__(self, answer: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return await self.answer(request) if self.answer else json_response(200, b"[]")


def json_response(status: int, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers={"content-type": "application/json"} | named, stream=httpx.ByteStream(body))
