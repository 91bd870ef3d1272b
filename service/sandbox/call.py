"""One API call as a handler sees it, and the table entry that leads to the handler."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from service.sandbox.access import Needs, Scopes
from service.sandbox.announcer import Announcer
from service.sandbox.pagination import Cursor, Page, parse_size
from service.sandbox.responses import Answer, answer_json, detail, not_found
from service.sandbox.world import Manner, Organization, Project, Team, Token, User, World, find

Handler = Callable[["Call"], Answer]
Found = TypeVar("Found")


def _known(found: Found | None) -> Found:
    if found is None:
        raise not_found()
    return found


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path below ``/api/0/`` with ``{names}``, its handlers, and what scopes each method needs.

    ``needs=None`` is open to everybody. ``own_limit`` is the endpoint's own number of calls per window, by method.
    ``authenticates``: the handler reads the credentials itself, which are none of ours.
    """

    template: str
    handlers: Mapping[str, Handler]
    needs: Needs | None
    own_limit: Mapping[str, int] = field(default_factory=dict)
    since: Manner = "23.7"
    authenticates: bool = False

    def pattern(self) -> re.Pattern[str]:
        """Matches the path and captures its names; a segment never holds a slash."""
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.template)) + r"\Z")

    @property
    def allow(self) -> str:
        """The ``Allow`` header."""
        order = [method for method in ("GET", "POST", "PUT", "DELETE") if method in self.handlers]
        return ", ".join([*order, *(["HEAD"] if "GET" in self.handlers else []), "OPTIONS"])


@dataclass(slots=True)
class Call:
    """A call that was let through.

    ``base`` is the server's own URL as the caller wrote it; ``region`` that of the region;
    ``now`` the time outside: in the world itself, time moves by a second with every write. ``announcer`` sends the
    webhooks of what the call changes. ``headers`` have lower-case names.
    """

    world: World
    manner: Manner
    base: str
    region: str
    path: str
    method: str
    query: Sequence[tuple[str, str]]
    body: bytes
    names: Mapping[str, str]
    now: datetime
    announcer: Announcer
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None
    access: Scopes = frozenset()
    found: Organization | None = None

    @property
    def organization(self) -> Organization:
        """The organization that the path names."""
        return _known(self.found)

    @property
    def bearer(self) -> Token:
        """The token of a call that needs one."""
        return _known(self.token)

    @property
    def user(self) -> User | None:
        """Whom the token stands for."""
        return self.token.user if self.token else None

    @property
    def team(self) -> Team:
        """The team that the path names; 404 where there is none."""
        return _known(find(self.organization.teams, self.names["team"], self.manner))

    @property
    def project(self) -> Project:
        """The project that the path names; 404 where there is none."""
        return _known(find(self.organization.projects, self.names["project"], self.manner))

    def last(self, name: str) -> str | None:
        """A query parameter; of several the last, as Django reads them."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def all(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        return [value for key, value in self.query if key == name]

    def json(self) -> dict[str, Any]:
        """The body's JSON object; an empty body is an empty object."""
        if not self.body:
            return {}
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise detail(400, f"JSON parse error - {error}") from None
        if not isinstance(found, dict):
            raise detail(400, "Invalid data. Expected a dictionary.")
        return found

    def form(self) -> dict[str, str]:
        """The fields of a form; empty where the body is none, as it is of JSON sent in a form's place."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def cursor(self) -> Cursor:
        """The ``cursor`` parameter."""
        text = self.last("cursor")
        return Cursor.parse(text) if text else Cursor()

    @property
    def page_size(self) -> int:
        """The ``per_page`` parameter."""
        return parse_size(self.last("per_page"))

    def answer_page(self, page: Page[Any], rows: Iterable[object]) -> Answer:
        """A page's rows with its ``Link``."""
        return answer_json(list(rows), headers=page.headers(self.base + self.path, self.query))
