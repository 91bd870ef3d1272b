"""GraphiQL's page and its files."""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.schema.graphiql.install import ASSETS, FILES, is_installed

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_YEAR = "public, max-age=31536000, immutable"
# GraphiQL's dialogs stop the page's scrolling by a style element of their own, which carries the page's nonce.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A tab that GraphiQL opens with. GraphiQL titles it by the operation's name."""

    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_tab(self) -> dict[str, str | None]:
        """The tab as GraphiQL's ``defaultTabs`` takes it."""
        return {
            "query": self.query,
            "variables": json.dumps(self.variables, indent=2) if self.variables else None,
            "headers": json.dumps(self.headers, indent=2) if self.headers else None,
        }


def create_graphiql(
    queries: Sequence[PreparedQuery], *, demo_key: bool = False, assets: Path = ASSETS, path: str = "/graphql"
) -> tuple[Callable[[], Response], list[Route]]:
    """The page that answers browsers at ``path``, and the routes of its files below ``path/ui``.

    With ``demo_key`` the page first fetches a key from ``path/demo-key``. Where GraphiQL's files are missing, the page
    says what to run. All files are read once, here.
    """
    installed = is_installed(assets)
    files = {name: (_HERE / name).read_bytes() for name in ("page.css", "page.js")}
    if installed:
        files |= {name: (assets / name).read_bytes() for name in FILES}
    version = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:16]
    template = (_HERE / ("page.html" if installed else "missing.html")).read_text()
    html = template.replace("{version}", version)
    settings = json.dumps({"tabs": [query.as_tab() for query in queries], "demoKey": demo_key})

    def page() -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = _POLICY.replace("{nonce}", nonce)
        headers = {**_HEADERS, "content-security-policy": policy, "cache-control": "no-store", "vary": "accept"}
        return Response(html.replace("{nonce}", nonce), media_type="text/html", headers=headers)

    async def serve_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "settings.json":
            return Response(settings, media_type="application/json", headers={**_HEADERS, "cache-control": "no-cache"})
        content = files.get(name)
        if content is None:
            return Response("No such file.\n", 404, media_type="text/plain")
        headers = {**_HEADERS, "etag": f'"{version}"', "cache-control": _YEAR}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers={**headers, "content-type": _TYPES[Path(name).suffix]})

    return page, [Route(f"{path}/ui/{{name}}", serve_file, methods=["GET"], include_in_schema=False)]
