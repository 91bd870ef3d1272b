"""The unified user, and how a Sentry organization member becomes one."""

import enum
from datetime import datetime
from functools import cached_property, lru_cache
from typing import ClassVar

import msgspec

from service.ids import build_inner_id
from service.sentry.payloads import Member, decode

_MOST_ROLES = 4096


class UserStatus(enum.StrEnum):
    """Where a person stands in the organization. Sentry does not list people whose account is deactivated."""

    ACTIVE = "active"
    INVITED = "invited"
    EXPIRED = "expired"
    RESTRICTED = "restricted"


# Looking a member up in its class takes longer than all else that tells somebody's status.
_ACTIVE, _INVITED, _EXPIRED, _RESTRICTED = (
    UserStatus.ACTIVE,
    UserStatus.INVITED,
    UserStatus.EXPIRED,
    UserStatus.RESTRICTED,
)


class Organization(msgspec.Struct, frozen=True, gc=False):
    """The organization of a connection. Sentry's id of it (``external_id``) is not known to organization tokens."""

    connection_id: str
    external_id: str | None
    slug: str
    name: str

    @property
    def id(self) -> str:
        """The global id: a connection is one organization."""
        return build_inner_id("org", self.connection_id)


class Email(msgspec.Struct, frozen=True, gc=False):
    """An address of a user; ``type`` is always None, since Sentry does not label addresses."""

    email: str
    is_primary: bool
    is_verified: bool | None
    type: str | None = None


class Role(msgspec.Struct, frozen=True, dict=True):
    """An organization role, or a role in a team.

    ``external_id`` is Sentry's id of it; ``group`` is the slug of the team that gives it, or that it is in, and None
    for the member's own organization role.
    """

    organization_id: str
    external_id: str
    name: str
    group: str | None = None

    @cached_property
    def id(self) -> str:
        """The global id."""
        return "_".join(
            ("rol", self.organization_id.removeprefix("org_"), *filter(None, (self.group, self.external_id)))
        )

    @property
    def organization(self) -> str:
        """The global id of the organization that the role is in."""
        return self.organization_id


@lru_cache(_MOST_ROLES)
def find_role(connection_id: str, external_id: str, name: str | None, group: str | None = None) -> Role:
    """A role of a connection's organization, the same object each time: a few roles are those of all its users."""
    return Role(build_inner_id("org", connection_id), external_id, name or external_id.title(), group)


class Group(msgspec.Struct, frozen=True, dict=True):
    """A Sentry team; ``external_id`` is Sentry's id of it."""

    connection_id: str
    external_id: str
    slug: str
    name: str

    @cached_property
    def id(self) -> str:
        """The global id."""
        return build_inner_id("grp", self.connection_id, self.external_id)


class Membership(msgspec.Struct, frozen=True, gc=False):
    """A user's place in a group, with the role there."""

    group: Group
    role: Role


class RawRows:
    """The untouched JSON of a page's rows, cut out of its body only where somebody asks."""

    __slots__ = ("_body", "_rows")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._rows: list[msgspec.Raw] | None = None

    def __getitem__(self, index: int) -> msgspec.Raw:
        if self._rows is None:
            self._rows = decode(self._body, list[msgspec.Raw])
        return self._rows[index]


class User(msgspec.Struct, frozen=True, gc=False):
    """A member of a connection's organization in the unified shape.

    Holds Sentry's typed payload and answers each unified field from it when asked, so that unselected fields cost
    nothing. Its untouched JSON is the row at ``index`` of ``rows``.
    """

    id: str
    """The global id: connection and member id, which survive slug renames and an invite being accepted."""
    connection_id: str
    organization: Organization
    member: Member
    rows: RawRows
    index: int

    # Unified fields that Sentry has no value for.
    first_name: ClassVar[None] = None
    last_name: ClassVar[None] = None
    title: ClassVar[None] = None
    description: ClassVar[None] = None
    updated_at: ClassVar[None] = None
    phones: ClassVar[tuple[()]] = ()
    languages: ClassVar[tuple[()]] = ()
    urls: ClassVar[tuple[()]] = ()

    @property
    def sentry_member_id(self) -> str:
        """Sentry's member id."""
        return self.member.id

    @property
    def external_id(self) -> str | None:
        """Sentry's user id; None until an invite is accepted."""
        return self.member.user.id if self.member.user else None

    @property
    def name(self) -> str | None:
        """The display name; None where Sentry only repeats the address."""
        name = self.member.name
        return name if name and name != self.member.email else None

    @property
    def username(self) -> str | None:
        """The name the person logs in with; None until an invite is accepted."""
        return self.member.user.username if self.member.user else None

    @property
    def email(self) -> str | None:
        """The primary address."""
        return self.member.email

    @property
    def emails(self) -> list[Email]:
        """All addresses, the primary one first."""
        primary = (self.email or "").casefold()
        known = (self.member.user.emails if self.member.user else None) or ()
        found = [Email(row.email, row.email.casefold() == primary, row.is_verified) for row in known]
        if self.email and not any(row.is_primary for row in found):
            found.append(Email(self.email, is_primary=True, is_verified=None))
        return sorted(found, key=lambda row: not row.is_primary)

    @property
    def status(self) -> UserStatus:
        """Where the person stands: joined and usable, restricted by the plan's member limit, invited, or expired."""
        if self.member.pending:
            return _EXPIRED if self.member.expired else _INVITED
        flags = self.member.flags
        return _RESTRICTED if flags and flags.restricted else _ACTIVE

    @property
    def is_email_verified(self) -> bool | None:
        """Whether the primary address is verified; None where Sentry does not say."""
        primary = self.member.email or ""
        for row in (self.member.user.emails if self.member.user else None) or ():
            if row.email == primary or row.email.casefold() == primary.casefold():
                return row.is_verified
        return None

    @property
    def is_two_factor_enabled(self) -> bool | None:
        """Whether the account has a second factor; None until an invite is accepted."""
        return self.member.user.has2fa if self.member.user else None

    @property
    def avatar_url(self) -> str | None:
        """A picture of the person."""
        return self.member.user.avatar_url if self.member.user else None

    @property
    def roles(self) -> list[Role]:
        """The member's own organization role, then those that teams give (older servers)."""
        own = self.organization_role
        found = [find_role(self.connection_id, own, self.member.role_name)] if own else []
        given = self.member.group_org_roles
        if given:
            found += [find_role(self.connection_id, each.role.id, each.role.name, each.team_slug) for each in given]
        return found

    @property
    def organization_role(self) -> str | None:
        """The id of the member's own organization role: Sentry's ``orgRole``, ``role`` on older servers."""
        return self.member.org_role or self.member.role

    @property
    def remote_data(self) -> msgspec.Raw:
        """Sentry's payload, untouched."""
        return self.rows[self.index]

    @property
    def organizations(self) -> list[Organization]:
        """The organizations that this user is a member of, as far as the connection sees: one."""
        return [self.organization]

    @property
    def created_at(self) -> datetime | None:
        """When the person was added or invited."""
        return self.member.date_created

    @property
    def last_login_at(self) -> datetime | None:
        """When the person last logged in."""
        return self.member.user.last_login if self.member.user else None

    @property
    def last_active_at(self) -> datetime | None:
        """When the person last used Sentry."""
        return self.member.user.last_active if self.member.user else None
