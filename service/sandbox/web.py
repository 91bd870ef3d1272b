"""The pages that people see: who signs in, and what for. The pages of consent and installation are beside."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

from service.sandbox import html
from service.sandbox.call import Call
from service.sandbox.oauth import NOT_CACHED
from service.sandbox.responses import Answer
from service.sandbox.structure import User
from service.sandbox.world import DEMO_PASSWORD

COOKIE = "sentrysid"
CSRF_FIELD = "csrfmiddlewaretoken"


@dataclass(slots=True)
class Session:
    """A browser's session. ``request`` is the OAuth request that waits for consent."""

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    csrf: str = field(default_factory=lambda: secrets.token_hex(32))
    user: User | None = None
    request: Any = None


@dataclass(slots=True)
class Visit:
    """A page's call with its session; ``csrf`` is the hidden field that every form carries."""

    call: Call
    session: Session

    @property
    def csrf(self) -> dict[str, str]:
        """The hidden field."""
        return {CSRF_FIELD: self.session.csrf}

    @property
    def user(self) -> User | None:
        """Who is signed in, as long as the person is active."""
        found = self.session.user
        return found if found and found.is_active else None

    @property
    def here(self) -> str:
        """The path with its query, as it was asked for."""
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.call.query)
        return self.call.path + (f"?{query}" if query else "")


Page = Callable[[Visit], Answer]


class Pages:
    """The sandbox's web site: sessions, and the page behind each path."""

    def __init__(self, routes: dict[str, Page]) -> None:
        self._routes = [(re.compile(pattern + r"\Z"), page) for pattern, page in routes.items()]
        self._sessions: dict[str, Session] = {}

    def clear(self) -> None:
        """Signs everybody out."""
        self._sessions.clear()

    def find(self, path: str) -> Page | None:
        """The page at a path, or None where there is none."""
        return next((page for pattern, page in self._routes if pattern.match(path)), None)

    def answer(self, page: Page, call: Call) -> Answer:
        """Serves a page: GET, or POST of a form that came from here."""
        session = self._sessions.get(_read_cookie(call)) or Session()
        before = session.id
        if call.method not in {"GET", "HEAD", "POST"}:
            answer = Answer(405, b"", html.HTML)
        elif call.method == "POST" and call.form().get(CSRF_FIELD) != session.csrf:
            answer = html.page(
                "CSRF Verification Failed", html.text("Go back, reload the page, try again."), status=403
            )
        else:
            answer = page(Visit(call, session))
        if session.id != before or session.id not in self._sessions:
            self._sessions.pop(before, None)
            self._sessions[session.id] = session
            answer.headers["set-cookie"] = f"{COOKIE}={session.id}; HttpOnly; Path=/; SameSite=Lax"
        answer.headers |= {"cache-control": NOT_CACHED, "x-frame-options": "deny", "x-content-type-options": "nosniff"}
        return answer


def _read_cookie(call: Call) -> str:
    try:
        found = SimpleCookie(call.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def show_login(visit: Visit, onward: str, banner: str = "Sign in") -> Answer:
    """The form, filled in already; or signs in, and goes where one wanted to go."""
    form, problem = visit.call.form(), ""
    if visit.call.method == "POST":
        user = visit.call.world.find_user(form.get("username", ""))
        if user and user.is_active and form.get("password") == DEMO_PASSWORD:
            # A new session for a new person: what was known of the browser before opens nothing now.
            visit.session.id, visit.session.csrf, visit.session.user = (
                secrets.token_hex(16),
                secrets.token_hex(32),
                user,
            )
            return Answer(302, b"", html.HTML, {"location": onward})
        problem = "That is not an account with its password."
    owner, member = _find_people(visit)
    hidden = visit.csrf | {"op": "login"}
    known = {"username": member.email, "password": DEMO_PASSWORD}
    return html.page(
        banner,
        html.text(problem, style="error") if problem else "",
        html.text(f"Sign in to continue: the form is filled in for {owner.name}, owner."),
        html.form(
            "",
            hidden,
            html.field("Account", "username", owner.email, autocomplete="username"),
            html.field("Password", "password", DEMO_PASSWORD, kind="password", autocomplete="current-password"),
            html.button("Continue"),
        ),
        html.form("", hidden | known, html.button(f"Continue as {member.name}, member")),
    )


def _find_people(visit: Visit) -> tuple[User, User]:
    """An owner and a plain member of the first organization."""
    first = visit.call.world.organizations[0]
    people = {role: [m.user for m in first.members if m.user and m.role == role] for role in ("owner", "member")}
    return people["owner"][0], people["member"][0]


def login(visit: Visit) -> Answer:
    """``/auth/login/``: goes on to ``next``, where that is a path of this server."""
    onward = visit.call.last("next") or "/"
    is_here = onward.startswith("/") and not onward.startswith(("//", "/\\"))
    if visit.user and visit.call.method != "POST":
        return html.page("Signed in", html.text(f"You are signed in as {visit.user.email}."))
    return show_login(visit, onward if is_here else "/")


def logout(visit: Visit) -> Answer:
    """``/auth/logout/``: a button, and the end of the session."""
    if visit.call.method != "POST":
        return html.page("Sign out", html.form("", visit.csrf, html.button("Sign out")))
    visit.session.user = visit.session.request = None
    return Answer(302, b"", html.HTML, {"location": "/auth/login/"})
