"""What the proxy's CPU is compared with: ``python -m bench.echo PORT``, the barest ASGI app on the product's server.

``/proxy`` awaits the same 300 KB from the upstream, by httpx as it comes, and sends the bytes on unread; ``/memory``
sends bytes that it has already, and asks nobody.
"""

import sys
from typing import Any

import httpx
import uvicorn

from bench.linked import UPSTREAM
from bench.upstream import PAGES


class Echo:
    """The app."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(headers={"Authorization": "Bearer bench"})
        self._url = f"{UPSTREAM}/api/0/organizations/{PAGES[0]}/issues/"
        self._kept = httpx.get(self._url).content

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = self._kept if scope["path"] == "/memory" else (await self._http.get(self._url)).content
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(Echo(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
