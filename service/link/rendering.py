"""How a page is made of a template and the words, and under which policy it is sent."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from service.link.browser import View
from service.link.problems import LinkProblem
from service.link.words import Words

_TEMPLATES = Path(__file__).parent / "templates"
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
# No Cross-Origin-Opener-Policy: a popup needs its opener. Forms answer to us alone, and go on by a page: browsers hold
# a form's whole chain of redirects to this policy, and Sentry may redirect to hosts that nobody can foresee.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors {ancestors}"
)


@dataclass(frozen=True, slots=True)
class Alert:
    """What did not work, and what next. ``code`` is the HTTP status of the page that says it."""

    problem: str
    title: str
    next: str
    details: str | None = None
    code: int = 200


class Renderer:
    """Renders. Every text of a customer or of Sentry is escaped by the templates, none is marked safe."""

    def __init__(self, words: Words, *, public_url: str, version: str) -> None:
        """``version`` is that of the page's files."""
        self.words = words
        self.base = urlsplit(public_url).path.rstrip("/")
        """The path that every address of ours begins with."""
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"t": words, "base": self.base, "static": f"{self.base}/link/static/{version}"}

    def alert(self, problem: LinkProblem | str, tenant: str, details: str | None = None, *, code: int = 200) -> Alert:
        """A failure in words."""
        known = problem if problem in set(LinkProblem) else LinkProblem.OTHER
        said = None if details is None else self.words("problems.said", details=details)
        title, following = self.words(f"problems.{known}.title"), self.words(f"problems.{known}.next", tenant=tenant)
        return Alert(known, title, following, said, code)

    def render(
        self,
        page: str,
        title: str,
        view: View,
        *,
        template: str | None = None,
        code: int = 200,
        ancestors: Collection[str] = (),
        data: Mapping[str, str | None] | None = None,
        alert: Alert | None = None,
        **model: Any,
    ) -> Response:
        """The page as an answer. ``ancestors`` may embed it; ``data`` is what its script needs to know."""
        html = self._templates.get_template(f"{template or page}.html").render(
            page=page, title=title, view=view, data=data or {}, alert=alert, **model
        )
        policy = _POLICY.replace("{ancestors}", " ".join(ancestors) or "'none'")
        return HTMLResponse(html, code, headers={**_HEADERS, "content-security-policy": policy})
