"""The page's files: served for good under an address that names their version; the SDK under a stable one."""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
}
_SDK = ("sdk.js", "sdk.d.ts")
_FOR_GOOD = "public, max-age=31536000, immutable"
_SHORTLY = "public, max-age=300"


class Assets:
    """Every file of the folder, read once."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
        digest = hashlib.sha256(b"".join(self._files[name] for name in sorted(self._files)))
        self.version = digest.hexdigest()[:16]
        """Changes whenever one of the files does."""

    def routes(self) -> list[Route]:
        """The routes that serve them."""
        return [
            Route("/link/static/{version}/{name}", self._serve_page_file, methods=["GET"], include_in_schema=False),
            *(Route(f"/link/{name}", self._serve_sdk, methods=["GET"], include_in_schema=False) for name in _SDK),
        ]

    async def _serve_page_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files or name in _SDK:
            return Response("No such file.\n", 404, media_type="text/plain")
        is_current = request.path_params["version"] == self.version
        return _answer(request, name, self._files[name], {"cache-control": _FOR_GOOD if is_current else "no-store"})

    async def _serve_sdk(self, request: Request) -> Response:
        """To pages of any origin: it holds nothing that is not public."""
        name = request.url.path.rpartition("/")[2]
        if name not in self._files:
            return Response("No such file.\n", 404, media_type="text/plain")
        headers = {
            "access-control-allow-origin": "*",
            "cross-origin-resource-policy": "cross-origin",
            "cache-control": _SHORTLY,
        }
        return _answer(request, name, self._files[name], headers)


def _answer(request: Request, name: str, content: bytes, headers: dict[str, str]) -> Response:
    headers |= {"etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "x-content-type-options": "nosniff"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers | {"content-type": _TYPES[Path(name).suffix]})
