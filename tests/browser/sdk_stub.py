"""The least that the SDK can meet: a link page that does as the test says, a page of Sentry's, and a product's page.

Each is served on an origin of its own. The scripts are the real ones.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import service.link
from tests.serving import serve

STATIC = Path(service.link.__file__).parent / "static"
TOKEN = "tok_en-1"
CONNECTION = "con_01jd0000000000000000000000"

_LINK_PAGE = """<!doctype html><html lang="en"><title>Link</title><link rel="icon" href="data:,">
<body style="margin: 0">
<main id="link" data-page="{page}" data-mode="{mode}" data-origin="{origin}" data-status="{status}"
  data-connection="{connection}" data-status-url="{status_url}" style="display: block; height: 700px">
  <h1>{status}</h1>
  <a id="open" target="_blank" href="/link/start/{token}?mode=window">Start</a>
  <p data-when="created">Not begun</p><button id="reopen" hidden>Open again</button>
  <p data-when="started" hidden>Go on there</p>
  <p data-when="completed" hidden>Linked</p><p data-when="lost" hidden>No answer</p>
  <a href="/link/end/completed?mode={mode}&amp;origin={origin}">Finish</a>
  <a href="/link/end/denied?mode={mode}&amp;origin={origin}">Leave</a>
  <a href="/link/end/error?mode={mode}&amp;origin={origin}">Fail</a>
</main><script src="/link/link.js" defer></script></html>"""

_PRODUCT = """<!doctype html><html lang="en"><title>Product</title><link rel="icon" href="data:,">
<button>Link Sentry</button><div id="box"></div><output></output>
<script type="module">
import {{ open, LinkError }} from "{service}/link/sdk.js";
const openWindow = window.open;
window.open = (...given) => (window.popup = openWindow.apply(window, given));
window.ending = new AbortController();
const output = document.querySelector("output");
window.begin = async () => {{
  const options = {options};
  if (options.container) options.container = document.querySelector(options.container);
  try {{
    output.textContent = await open({{ ...options, signal: window.ending.signal }});
  }} catch (error) {{
    output.textContent = error instanceof LinkError ? `LinkError ${{error.reason}} ${{error.problem}}` : String(error);
  }}
}};
document.querySelector("button").onclick = window.begin;
if ({by_itself}) window.begin();
</script></html>"""


@dataclass
class Stub:
    """``status`` and ``problem`` are what the service says of the session; ``code`` is the HTTP status that it has."""

    service: str = ""
    product: str = ""
    sentry: str = ""
    status: str = "created"
    problem: str | None = None
    code: int = 200
    allowed: bool = True
    asked: int = 0
    options: dict[str, Any] = field(default_factory=lambda: {"token": TOKEN})
    by_itself: bool = False

    def link_page(self, request: Request) -> Response:
        mode = request.query_params.get("mode", "redirect")
        end = request.path_params.get("status", "")
        if end == "completed":
            self.status = end
        return HTMLResponse(
            _LINK_PAGE.format(
                page=request.query_params.get("page", ""),
                mode=mode,
                origin=request.query_params.get("origin", ""),
                status=end,
                connection=CONNECTION if end == "completed" else "",
                status_url=f"/link/start/{TOKEN}/status" if mode == "iframe" else "",
                token=TOKEN,
            )
        )

    def tell_status(self, request: Request) -> Response:
        self.asked += 1
        document = {
            "status": self.status,
            "problem": self.problem,
            "connectionId": CONNECTION if self.status == "completed" else None,
        }
        origin = {"access-control-allow-origin": self.product} if self.allowed else {}
        return JSONResponse(document, self.code, headers=origin)

    def sentry_page(self, request: Request) -> Response:
        """A page that cuts itself off from whoever opened it."""
        return HTMLResponse("<title>Sentry</title>", headers={"cross-origin-opener-policy": "same-origin"})

    def product_page(self, request: Request) -> Response:
        options = json.dumps(self.options)
        by_itself = json.dumps(self.by_itself)
        return HTMLResponse(_PRODUCT.format(service=self.service, options=options, by_itself=by_itself))


@contextmanager
def serve_stub() -> Iterator[Stub]:
    stub = Stub()

    def sdk(_: Request) -> Response:
        return FileResponse(STATIC / "sdk.js", headers={"access-control-allow-origin": "*"})

    def script(_: Request) -> Response:
        return FileResponse(STATIC / "link.js")

    link = Starlette(
        routes=[
            Route("/link/sdk.js", sdk),
            Route("/link/link.js", script),
            Route("/link/start/{token}", stub.link_page),
            Route("/link/start/{token}/status", stub.tell_status),
            Route("/link/end/{status}", stub.link_page),
        ]
    )
    product = Starlette(routes=[Route("/", stub.product_page)])
    sentry = Starlette(routes=[Route("/", stub.sentry_page), Route("/plain", lambda _: HTMLResponse())])
    with serve(link) as link_port, serve(product) as product_port, serve(sentry) as sentry_port:
        stub.service, stub.sentry = f"http://127.0.0.1:{link_port}", f"http://127.0.0.1:{sentry_port}"
        stub.product = f"http://localhost:{product_port}"
        yield stub
