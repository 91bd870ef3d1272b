"""The made-up world that the sandbox serves: who may reach what by which credential, and the look-ups."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Literal

import msgspec

from service.sandbox.access import ROLES, Scopes
from service.sandbox.demo_credentials import (
    DEMO_APP,
    DEMO_INTERNAL_APP,
    DEMO_OAUTH_CLIENT,
    DEMO_PASSWORD,
    DEMO_TOKENS,
    DemoTokens,
    write_organization_token,
)
from service.sandbox.manner import Manner
from service.sandbox.structure import (
    Barrier,
    Comment,
    Event,
    Incident,
    Issue,
    Member,
    Organization,
    Project,
    Release,
    ServiceHook,
    Team,
    User,
    find,
)

__all__ = [
    "DEMO_APP",
    "DEMO_INTERNAL_APP",
    "DEMO_OAUTH_CLIENT",
    "DEMO_PASSWORD",
    "DEMO_TOKENS",
    "App",
    "AuthorizationCode",
    "Barrier",
    "Comment",
    "DemoTokens",
    "Event",
    "Incident",
    "Installation",
    "Issue",
    "Manner",
    "Member",
    "OAuthApplication",
    "Organization",
    "Project",
    "Release",
    "ServiceHook",
    "Team",
    "Token",
    "User",
    "World",
    "find",
    "write_organization_token",
]

TokenKind = Literal["user", "app", "organization"]
CODE_LIFE = timedelta(minutes=10)
"How long a code can be exchanged, of OAuth and of installations."


@dataclass(slots=True, eq=False)
class App:
    """An integration: internal with one installation, or public with one in each organization that wants it.

    ``organization`` owns it. With ``verify_install`` an installation is pending until the app confirms it. ``events``
    are the resources whose webhooks it is subscribed to; alert rules can tell it, too, where it ``is_alertable``.
    """

    slug: str
    name: str
    uuid: str
    client_id: str
    client_secret: str
    scopes: Scopes
    organization: Organization
    user: User
    is_internal: bool
    verify_install: bool = False
    redirect_url: str | None = None
    webhook_url: str | None = None
    is_active: bool = True
    is_published: bool = False
    is_alertable: bool = True
    events: frozenset[str] = frozenset({"issue", "error", "comment"})
    installations: list["Installation"] = field(default_factory=list)

    def hears(self, resource: str) -> bool:
        """Whether it is told of a resource: by subscription, which needs the scope to read events."""
        return resource in self.events and "event:read" in self.scopes

    def installation_in(self, organization: Organization) -> "Installation | None":
        """Its installation there."""
        return next((found for found in self.installations if found.organization is organization), None)


@dataclass(slots=True, eq=False)
class Installation:
    """An app in an organization. ``code`` is gone once exchanged; ``token`` is the one that the app holds now."""

    uuid: str
    app: App
    organization: Organization
    code: str | None
    code_expires: datetime
    status: Literal["pending", "installed"] = "installed"
    token: "Token | None" = None


@dataclass(slots=True, eq=False)
class AuthorizationCode:
    """What a person approved, until the code is exchanged. ``challenge`` is the S256 of PKCE, where one was sent."""

    code: str
    user: User
    scopes: Scopes
    redirect_uri: str
    expires: datetime
    challenge: str | None = None


@dataclass(slots=True, eq=False)
class OAuthApplication:
    """An OAuth client. ``approved`` holds the scopes that each user (by id) approved before."""

    client_id: str
    client_secret: str
    name: str
    redirect_uris: list[str] = field(default_factory=list)
    is_active: bool = True
    approved: dict[int, Scopes] = field(default_factory=dict)
    codes: dict[str, AuthorizationCode] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Token:
    """A bearer token: its kind, whom it stands for, through which client it came, and since when it is dead."""

    id: int
    value: str
    kind: TokenKind
    scopes: Scopes
    created: datetime
    user: User | None = None
    organization: Organization | None = None
    app: App | None = None
    application: OAuthApplication | None = None
    expires: datetime | None = None
    refresh: str | None = None
    name: str = ""

    def scopes_in(self, organization: Organization) -> Scopes | None:
        """The effective scopes there, or None where the token has no part in that organization."""
        if self.app:
            # Seen on a real server: a token reaches every organization where its app is installed, not only the one
            # whose installation it was made for, and none any more once the app is uninstalled there.
            return self.scopes if self.app.installation_in(organization) else None
        if self.kind != "user":
            return self.scopes if self.organization is organization else None
        role = organization.role_of(self.user)
        return self.scopes & ROLES[role].scopes if role else None


@dataclass(slots=True)
class World:
    """Everything there is. Writes go through :meth:`changed`, which forgets the encoded rows.

    ``issued`` counts the tokens given out by kind of grant; ``issued_to`` by the grant itself, which is the id of an
    OAuth token (a refresh keeps it) or the uuid of an installation. ``assertions`` are the JWTs that were used.
    """

    now: datetime
    organizations: list[Organization] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    apps: list[App] = field(default_factory=list)
    oauth_applications: list[OAuthApplication] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)
    issued: Counter[str] = field(default_factory=Counter)
    issued_to: Counter[str] = field(default_factory=Counter)
    assertions: set[str] = field(default_factory=set)
    is_pristine: bool = True
    _ids: Iterator[int] = field(default_factory=lambda: count(900_001))
    _rows: dict[tuple[object, ...], msgspec.Raw] = field(default_factory=dict)

    def new_id(self) -> int:
        """An id for something made at run time."""
        return next(self._ids)

    def changed(self) -> None:
        """Says that something was written."""
        self.is_pristine = False
        self.now += timedelta(seconds=1)
        self._rows.clear()

    def record_issue(self, kind: str, grant: str) -> None:
        """Counts a token given out."""
        self.issued[kind] += 1
        self.issued_to[grant] += 1
        self.changed()

    def row(self, key: tuple[object, ...], build: Callable[[], object]) -> msgspec.Raw:
        """The encoded payload under a key, built at most once between two writes."""
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = msgspec.Raw(msgspec.json.encode(build()))
        return found

    def find_token(self, value: str) -> Token | None:
        """The token with this value; an organization token is known by what follows its readable part."""
        if value.startswith("sntrys_"):
            value = value.rpartition("_")[2]
        return self.tokens.get(value)

    def find_refresh(self, value: object) -> Token | None:
        """The token that this refresh token renews."""
        return next((token for token in self.tokens.values() if token.refresh and token.refresh == value), None)

    def find_organization(self, name: str, manner: Manner) -> Organization | None:
        """By slug, and on newer servers by id as well."""
        return find(self.organizations, name, manner)

    def find_user(self, email: str) -> User | None:
        """By address, whatever its case."""
        wanted = email.strip().lower()
        return next((user for user in self.users if wanted and user.email.lower() == wanted), None)

    def find_oauth_application(self, client_id: str | None) -> OAuthApplication | None:
        """By client id."""
        return next((found for found in self.oauth_applications if found.client_id == client_id), None)

    def find_app(self, slug: str) -> App | None:
        """By slug."""
        return next((app for app in self.apps if app.slug == slug), None)

    def find_installation(self, uuid: str) -> Installation | None:
        """By uuid."""
        return next((i for app in self.apps for i in app.installations if i.uuid == uuid), None)
