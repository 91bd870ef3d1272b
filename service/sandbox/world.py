"""The made-up world that the sandbox serves: plain objects, look-ups, and the tokens that open it."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal, TypeVar

import msgspec

from service.sandbox.access import ROLES, Scopes

Manner = Literal["23.7", "latest"]
TokenKind = Literal["user", "app", "organization"]


@dataclass(slots=True)
class User:
    """A person, or the stand-in user of an app. ``other_emails`` are (address, verified)."""

    id: int
    name: str
    email: str
    joined: datetime
    last_active: datetime
    last_login: datetime | None = None
    has_2fa: bool = False
    is_active: bool = True
    is_verified: bool = True
    avatar: str = "letter_avatar"
    other_emails: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def username(self) -> str:
        """Sentry names a user by the address of its sign-up; an app's stand-in has a name and no address."""
        return self.email or self.name


@dataclass(slots=True)
class Member:
    """A seat in an organization: joined (``user``), or invited (``invited_email``, no user yet)."""

    id: int
    user: User | None
    role: str
    created: datetime
    invited_email: str = ""
    inviter: str | None = None
    expired: bool = False
    invite_status: str = "approved"
    flags: frozenset[str] = frozenset()
    teams: dict[int, str | None] = field(default_factory=dict)

    @property
    def email(self) -> str:
        """The primary address."""
        return self.user.email if self.user else self.invited_email

    @property
    def name(self) -> str:
        """What Sentry shows: the name, else the address."""
        return (self.user.name if self.user else "") or self.email

    @property
    def is_listed(self) -> bool:
        """Whether the members list holds it: approved, and not deactivated."""
        return self.invite_status == "approved" and (self.user is None or self.user.is_active)


@dataclass(slots=True)
class Team:
    """A group of members that owns projects."""

    id: int
    slug: str
    name: str
    created: datetime


@dataclass(slots=True)
class Project:
    """A project, owned by teams."""

    id: int
    slug: str
    name: str
    platform: str
    created: datetime
    team_ids: list[int]
    environments: list[str]
    key: str


@dataclass(slots=True)
class Comment:
    """A note on an issue."""

    id: int
    user: User | None
    text: str
    created: datetime


@dataclass(slots=True)
class Issue:
    """An issue with what its list row shows. ``assignee`` is ``("user" | "team", id)``."""

    id: int
    short_id: str
    project: Project
    kind: str
    value: str
    culprit: str
    level: str
    count: int
    user_count: int
    first_seen: datetime
    last_seen: datetime
    release: str
    tags: dict[str, str]
    customer: str
    status: str = "unresolved"
    substatus: str | None = "ongoing"
    status_details: dict[str, Any] = field(default_factory=dict)
    priority: str = "medium"
    assignee: tuple[str, int] | None = None
    comments: list[Comment] = field(default_factory=list)
    external: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """``Kind: value``."""
        return f"{self.kind}: {self.value}"


@dataclass(slots=True)
class Release:
    """A release of some projects."""

    id: int
    version: str
    created: datetime
    projects: list[Project]
    released: datetime | None = None
    url: str | None = None
    ref: str | None = None
    deploys: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Organization:
    """An organization and all that is in it; lists are in the order that Sentry lists them."""

    id: int
    slug: str
    name: str
    created: datetime
    members: list[Member] = field(default_factory=list)
    teams: list[Team] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)
    issues: dict[int, Issue] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)

    def role_of(self, user: User | None) -> str | None:
        """The user's role here, or None where it is no member."""
        return next((m.role for m in self.members if user and m.user is user), None)

    def member_of(self, user: User) -> Member | None:
        """The user's seat here."""
        return next((m for m in self.members if m.user is user), None)


@dataclass(slots=True)
class App:
    """An integration with its one installation, in one organization."""

    slug: str
    name: str
    uuid: str
    client_id: str
    client_secret: str
    scopes: Scopes
    organization: Organization
    user: User
    is_internal: bool
    installation: str
    code: str
    status: str = "installed"


@dataclass(slots=True)
class Token:
    """A bearer token: its kind, whom it stands for, and since when it is dead."""

    id: int
    value: str
    kind: TokenKind
    scopes: Scopes
    created: datetime
    user: User | None = None
    organization: Organization | None = None
    app: App | None = None
    expires: datetime | None = None
    refresh: str | None = None
    name: str = ""

    def scopes_in(self, organization: Organization) -> Scopes | None:
        """The effective scopes there, or None where the token has no part in that organization."""
        if self.kind != "user":
            return self.scopes if self.organization is organization else None
        role = organization.role_of(self.user)
        return self.scopes & ROLES[role].scopes if role else None


@dataclass(frozen=True, slots=True)
class DemoTokens:
    """The sandbox's tokens: obviously made up, and good nowhere else."""

    admin: str = "sntryu_" + "5a" * 32
    "A user token with every scope, of an owner of every organization."
    limited: str = "sntryu_" + "1b" * 32
    "The same owner's token with org:read and project:read only: it may not read members or teams."
    expired: str = "sntryu_" + "0c" * 32
    "The same owner's token, expired."
    member: str = "sntryu_" + "3d" * 32
    "Every scope, but of a plain member of the largest organization only: the role is the limit."
    internal: str = "sntryi_" + "4e" * 32
    "An internal integration of the largest organization; it lists no organizations."
    app: str = "6f" * 32
    "A public app's token, bound to the second organization."
    organization_ending: str = "SANDBOXonlySANDBOXonlySANDBOXonlySANDBOXonl"
    "What an organization token ends in; see :meth:`organization_token`."

    def organization_token(self, url: str, organization: str = "lumen-labs") -> str:
        """The organization token ``sntrys_…`` as the server at ``url`` hands it out: both are readable inside it."""
        return write_organization_token(url, organization, self.organization_ending)


def write_organization_token(url: str, organization: str, secret: str) -> str:
    """``sntrys_`` + base64 of a JSON object that names host and organization + ``_`` + 43 characters of secret."""
    payload = {"iat": 1767225600.0, "url": url, "region_url": url, "org": organization}
    return f"sntrys_{base64.b64encode(json.dumps(payload).encode()).decode()}_{secret}"


DEMO_TOKENS = DemoTokens()


@dataclass(slots=True)
class World:
    """Everything there is. Writes go through :meth:`changed`, which forgets the encoded rows."""

    now: datetime
    organizations: list[Organization] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    apps: list[App] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)
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

    def find_organization(self, name: str, manner: Manner) -> Organization | None:
        """By slug, and on newer servers by id as well."""
        return find(self.organizations, name, manner)


_Named = TypeVar("_Named", Organization, Team, Project)


def find(items: list[_Named], name: str, manner: Manner) -> _Named | None:
    """The item with this slug, and on newer servers with this id as well."""
    by_id = manner == "latest" and name.isdecimal()
    return next((item for item in items if item.slug == name or (by_id and str(item.id) == name)), None)
