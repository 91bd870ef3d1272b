"""The product's page of the documentation, on an origin of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.serving import serve

DOCS = Path(__file__).parents[2] / "docs" / "link"


@contextmanager
def serve_example(service_url: str) -> Iterator[str]:
    """Serve it as it is documented, but for the service's address; yields its origin."""
    text = (DOCS / "example.html").read_text()
    assert text.count("http://127.0.0.1:8000/link/") == 1
    page = HTMLResponse(text.replace("http://127.0.0.1:8000/link/", f"{service_url}/link/"))
    with serve(Starlette(routes=[Route("/example.html", lambda _: page)])) as port:
        yield f"http://localhost:{port}"
