"""What an organization is made of: people, teams, projects, issues, releases. Plain objects."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from service.sandbox.manner import Manner

Barrier = Literal["sso-required", "2fa-required", "member-disabled-over-limit"]


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
    hooks: list["ServiceHook"] = field(default_factory=list)
    plugin_urls: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ServiceHook:
    """A project's service hook: where to post which of ``event.created`` and ``event.alert``, signed by ``secret``."""

    guid: str
    url: str
    secret: str
    events: list[str]
    created: datetime


@dataclass(slots=True)
class Comment:
    """A note on an issue."""

    id: int
    user: User | None
    text: str
    created: datetime


@dataclass(slots=True)
class Event:
    """An error that occurred, as far as it differs from others of its issue."""

    id: str
    at: datetime
    tags: dict[str, str]
    customer_id: str


@dataclass(slots=True)
class Issue:
    """An issue with what its list row shows. ``assignee`` is ``("user" | "team", id)``.

    ``recorded`` are the events that occurred at run time, the oldest first: the last of those that it counts.
    """

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
    recorded: list[Event] = field(default_factory=list)

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
class Incident:
    """A metric alert from its first ``critical`` or ``warning`` until it is ``resolved``."""

    id: int
    identifier: int
    rule_id: int
    rule: str
    project: Project
    started: datetime
    action: str
    closed: datetime | None = None


@dataclass(slots=True)
class Organization:
    """An organization and all that is in it; lists are in the order that Sentry lists them.

    ``barrier`` is what it asks of people beyond a token: the code of a 401 that no refresh cures. Without
    ``has_global_views`` its plan lists the issues of one project at a time.
    """

    id: int
    slug: str
    name: str
    created: datetime
    members: list[Member] = field(default_factory=list)
    teams: list[Team] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)
    issues: dict[int, Issue] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    barrier: Barrier | None = None
    has_global_views: bool = True

    def role_of(self, user: User | None) -> str | None:
        """The user's role here, or None where it is no member."""
        return next((m.role for m in self.members if user and m.user is user), None)

    def member_of(self, user: User) -> Member | None:
        """The user's seat here."""
        return next((m for m in self.members if m.user is user), None)


_Named = TypeVar("_Named", Organization, Team, Project)
_Known = TypeVar("_Known")


def known(found: _Known | None, name: object) -> _Known:
    """What was found; KeyError with its name where it was not."""
    if found is None:
        raise KeyError(name)
    return found


def find(items: list[_Named], name: str, manner: Manner) -> _Named | None:
    """The item with this slug, and on newer servers with this id as well."""
    by_id = manner == "latest" and name.isdecimal()
    return next((item for item in items if item.slug == name or (by_id and str(item.id) == name)), None)
