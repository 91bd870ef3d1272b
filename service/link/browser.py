"""What the browser brings: cookies, forms, and whether a page of ours sent it."""

import asyncio
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from service.columns import now
from service.connections.link_models import LinkSessionRecord
from service.errors import BadInput, RequestTooLarge

HELD_COOKIE = "__Host-held-install"
_COOKIE = re.compile(r"__Host-(lks_[0-9a-z]{26})\Z")
_VALUE = re.compile(r"([A-Za-z0-9_-]{43})\.([a-z]+)(?:\.([0-9]{1,2}))?\Z")
_MAX_FORM = 256 * 1024  # a CA certificate and some hundred projects
_MAX_FIELDS = 2000

Form = ImmutableMultiDict[str, str]
"""A form's fields."""


class Mode(enum.StrEnum):
    """How the page was opened, and so how it ends."""

    REDIRECT = "redirect"
    POPUP = "popup"
    WINDOW = "window"
    IFRAME = "iframe"


@dataclass(frozen=True, slots=True)
class View:
    """How a browser sees a session. ``origin`` is the allowed one that is told of the end."""

    mode: Mode = Mode.REDIRECT
    origin: str | None = None


USUAL_VIEW = View()


class OriginNotAllowed(Exception):
    """The page was opened for an origin that the session does not allow."""


def read_view(record: LinkSessionRecord, mode: str | None, origin: str | None) -> View:
    """The view that a query or form asks for; an unknown mode is the usual one. Raises :class:`OriginNotAllowed`."""
    wanted = Mode(mode) if mode in set(Mode) else Mode.REDIRECT
    if wanted not in {Mode.POPUP, Mode.IFRAME}:
        return View(wanted)
    if not origin and wanted is Mode.IFRAME:
        return View(wanted)
    if origin not in record.allowed_origins:
        raise OriginNotAllowed
    return View(wanted, origin)


def read_secrets(cookies: Mapping[str, str]) -> dict[str, str]:
    """The browser's secrets, by session."""
    found = {}
    for name, value in cookies.items():
        session, parts = _COOKIE.match(name), _VALUE.match(value)
        if session and parts:
            found[session[1]] = parts[1]
    return found


def read_cookie_view(record: LinkSessionRecord, cookies: Mapping[str, str]) -> View:
    """The view that the browser started the session in."""
    parts = _VALUE.match(cookies.get(_name(record), ""))
    if parts is None or parts[2] not in set(Mode):
        return USUAL_VIEW
    index = int(parts[3]) if parts[3] else len(record.allowed_origins)
    origin = record.allowed_origins[index] if index < len(record.allowed_origins) else None
    return View(Mode(parts[2]), origin)


def bind(response: Response, record: LinkSessionRecord, secret: str, view: View) -> None:
    """Bind the session to the browser. The view goes along, since nothing of it belongs into the database."""
    place = "" if view.origin is None else f".{record.allowed_origins.index(view.origin)}"
    left = int((record.expires_at - now()).total_seconds())
    _set_cookie(response, _name(record), f"{secret}.{view.mode}{place}", seconds=max(1, left))


def hold(response: Response, value: str, *, seconds: int) -> None:
    """Keep an installation in the browser; none with 0 seconds."""
    _set_cookie(response, HELD_COOKIE, value, seconds=seconds)


async def read_form(request: Request, *, seconds: float = 20.0) -> Form:
    """The fields of a form, which has so many ``seconds`` to come.

    Raises :class:`BadInput`, :class:`RequestTooLarge` and :class:`starlette.requests.ClientDisconnect`.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    raise RequestTooLarge("The form is too large.")
    except TimeoutError:
        raise BadInput("The form came too slowly.") from None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/x-www-form-urlencoded":
        raise BadInput("This is not a form.")
    try:
        return ImmutableMultiDict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise BadInput("This is not a form.") from None


def is_own_form(headers: Headers, public_url: str) -> bool:
    """Whether a POST came from a page of ours, or from no page at all.

    Our pages send no referrer, and browsers then say ``Origin: null`` even to ourselves (Fetch, "append a request
    `Origin` header"): so ``Sec-Fetch-Site`` decides where it is sent, which it is by all browsers that are kept up.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return True
    url = urlsplit(public_url)
    return origin in {f"{url.scheme}://{url.netloc}", f"{url.scheme}://{headers.get('host', '').lower()}"}


def _set_cookie(response: Response, name: str, value: str, *, seconds: int) -> None:
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def _name(record: LinkSessionRecord) -> str:
    return f"__Host-{record.id}"
