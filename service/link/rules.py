"""What a link session may ask for: pure rules about its addresses, ways, presets and lifetime."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from service.connections.clients import Clients
from service.connections.discovery import find_control
from service.connections.link_models import LinkMethod
from service.connections.visibility import check_text
from service.errors import BadInput
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.profiles import Profile

SHORTEST, LONGEST, USUAL = timedelta(minutes=1), timedelta(days=30), timedelta(days=7)
"""How long a session lasts at least, at most, and where nothing is said."""

_LONGEST_URI = 2000
_MOST_ORIGINS = 20
_MOST_PROJECTS = 100
# RFC 3986 without user information and fragments; ASCII only, as browsers write hosts.
_URI = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:/[^#]*|\?[^#]*)?)\Z",
    re.IGNORECASE,
)
_NOT_IN_URIS = re.compile(r"[^!-~]|[\"<>\\^`{|}]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class LinkSessionRequest:
    """What to make a link session for.

    ``external_id`` names the connection to make or to link again; None makes a new one with an id of ours.
    ``redirect_uri`` is where the browser goes at the end; ``allowed_origins`` may embed the page or be told of the end.
    ``methods`` None offers whatever is configured. ``origin``, ``organization`` (a slug) and ``projects`` (slugs or
    ids) are presets: what they name is not asked for, and nothing else may be linked.
    """

    external_id: str | None = None
    customer_id: str | None = None
    name: str | None = None
    redirect_uri: str | None = None
    allowed_origins: Sequence[str] = ()
    methods: Sequence[LinkMethod] | None = None
    profile: Profile = Profile.READ
    origin: str | None = None
    organization: str | None = None
    projects: Sequence[str] | None = None
    expires_in: timedelta = USUAL


def check_request(request: LinkSessionRequest, clients: Clients, policy: EgressPolicy) -> LinkSessionRequest:
    """The request in its canonical form. Raises :class:`BadInput` with the argument's name and a cure."""
    for argument, text in (
        ("externalId", request.external_id),
        ("customerId", request.customer_id),
        ("name", request.name),
    ):
        if text is not None:
            check_text(argument, text)
    origins = check_origins(request.allowed_origins)
    redirect_origin = None if request.redirect_uri is None else find_redirect_origin(request.redirect_uri)
    if redirect_origin is not None and redirect_origin not in origins:
        if origins:
            raise BadInput(
                f"`redirectUri` is on {redirect_origin}, which is not among `allowedOrigins`.",
                cure="Add its origin to `allowedOrigins`.",
            )
        origins = (redirect_origin,)
    origin = _check_preset_origin(request.origin, policy)
    return LinkSessionRequest(
        external_id=request.external_id,
        customer_id=request.customer_id,
        name=request.name,
        redirect_uri=request.redirect_uri,
        allowed_origins=origins,
        methods=check_methods(request.methods, clients, origin),
        profile=request.profile,
        origin=None if origin is None else origin.url,
        organization=_check_organization(request.organization),
        projects=_check_projects(request.projects),
        expires_in=_check_lifetime(request.expires_in),
    )


def find_redirect_origin(text: str) -> str:
    """The origin of a redirect URI, as browsers write it. Raises :class:`BadInput`.

    https, or http on this machine; no user, no fragment (RFC 6749, section 3.1.2), nothing that a browser would read
    in another way than we do.
    """
    found = None
    if len(text) <= _LONGEST_URI and not _NOT_IN_URIS.search(text):
        found = _URI.match(text)
    origin = found and _build_origin(found)
    if not origin:
        raise BadInput(
            "`redirectUri` cannot be used.",
            cure=f"Use an absolute https address (http on localhost only) of at most {_LONGEST_URI} characters, "
            "without a user name or fragment.",
        )
    return origin


def check_origins(texts: Sequence[str]) -> tuple[str, ...]:
    """Exact origins, each once. Raises :class:`BadInput`."""
    if len(texts) > _MOST_ORIGINS:
        raise BadInput(f"`allowedOrigins` may name {_MOST_ORIGINS} at most.")
    for text in texts:
        found = _URI.match(text) if len(text) <= _LONGEST_URI else None
        if found is None or _build_origin(found) != text:
            raise BadInput(
                "`allowedOrigins` holds something that is no exact origin.",
                cure="List origins as browsers write them, such as https://app.example: lower case, https (http on "
                "localhost only), no path, no default port, no *.",
            )
    return tuple(dict.fromkeys(texts))


def check_methods(
    wanted: Sequence[LinkMethod] | None, clients: Clients, origin: Origin | None
) -> tuple[LinkMethod, ...]:
    """The ways to offer, in our order. Raises :class:`BadInput` for one that is not configured there."""
    possible = find_methods(clients, origin)
    if wanted is None:
        return possible
    if not wanted:
        raise BadInput("`methods` names none.", cure="Leave it out to offer all that are configured.")
    for method in wanted:
        if method not in possible:
            place = "" if origin is None else f" for {origin}"
            raise BadInput(
                f"`methods` names `{method}`, for which nothing is configured{place}.",
                cure="Have the operator configure it, or leave it out.",
            )
    return tuple(method for method in possible if method in wanted)


def find_methods(clients: Clients, origin: Origin | None) -> tuple[LinkMethod, ...]:
    """What is configured, at that Sentry where one is named. A token can always be pasted."""
    found = []
    if any(is_at(client.origin, origin) for client in clients.oauth):
        found.append(LinkMethod.OAUTH)
    if any(is_at(app.origin, origin) for app in clients.apps):
        found.append(LinkMethod.INSTALL)
    return (*found, LinkMethod.TOKEN)


def is_at(client_origin: Origin, origin: Origin | None) -> bool:
    """Whether a client is registered at the Sentry that was named; any is where none was."""
    return origin is None or client_origin == find_control(origin)


def _build_origin(found: re.Match[str]) -> str | None:
    """The origin as browsers write it (HTML, "ASCII serialization of an origin"); None for one that we refuse."""
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    try:
        parsed = Origin.parse(f"{scheme}://{host}:{port}")  # refuses hosts that browsers would rewrite or refuse
    except BadInput:
        return None
    if parsed.host != host.strip("[]") or not (scheme == "https" or is_loopback(parsed.host)):
        return None
    return parsed.url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as browsers judge (Secure Contexts, section 3.1)."""
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")


def _check_preset_origin(text: str | None, policy: EgressPolicy) -> Origin | None:
    if text is None:
        return None
    origin = Origin.parse(text)
    policy.check_origin(origin)
    return origin


def _check_organization(slug: str | None) -> str | None:
    if slug is not None and not _SLUG.match(slug):
        raise BadInput("`organization` is not a slug.", cure="Take it from the organization's address in Sentry.")
    return slug


def _check_projects(projects: Collection[str] | None) -> tuple[str, ...] | None:
    if projects is None:
        return None
    if not 0 < len(projects) <= _MOST_PROJECTS:
        raise BadInput(f"`projects` must name 1 to {_MOST_PROJECTS}.", cure="Leave it out to let the customer choose.")
    return tuple(dict.fromkeys(check_text("projects", each) for each in projects))


def _check_lifetime(lifetime: timedelta) -> timedelta:
    if not SHORTEST <= lifetime <= LONGEST:
        raise BadInput(
            "`expiresIn` is too short or too long.",
            cure=f"Use {SHORTEST.total_seconds():.0f} seconds to {LONGEST.days} days.",
        )
    return lifetime
