"""What we read of Sentry's JSON, as typed structs. What we do not read is ignored; what any version omits is optional.

Shapes hold for Sentry 23.7 and later; field names are Sentry's, in our spelling.
"""

from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec

from service.errors import UpstreamInvalid

T = TypeVar("T")

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""Always aware."""


class Payload(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An object out of Sentry's JSON. Never part of a reference cycle, so kept from the garbage collector."""


class MemberEmail(Payload, frozen=True, rename=None):
    """One of a user's addresses."""

    email: str
    is_verified: bool = False


class MemberUser(Payload, frozen=True):
    """The account of a member who has joined; ``id`` is the user id, which issues and webhooks name."""

    id: str
    username: str | None = None
    avatar_url: str | None = None
    has2fa: bool | None = None
    emails: list[MemberEmail] | None = None
    last_login: Instant | None = None
    last_active: Instant | None = None


class Role(Payload, frozen=True):
    """A role's id and label."""

    id: str
    name: str | None = None


class GroupRole(Payload, frozen=True):
    """A role that a member has through a team (Sentry 23.7)."""

    team_slug: str
    role: Role


class TeamRole(Payload, frozen=True):
    """A member's role in one team; None means the team's default."""

    team_slug: str
    role: str | None = None


class MemberFlags(Payload, frozen=True):
    """What else Sentry says of a member; ``restricted`` means by the plan's limit of members."""

    restricted: bool = msgspec.field(default=False, name="member-limit:restricted")


class Member(Payload, frozen=True):
    """A row of ``organizations/{}/members/`` or ``teams/{}/{}/members/``; ``id`` is the member id.

    An invite has no ``user``.
    """

    id: str
    email: str | None = None
    name: str | None = None
    user: MemberUser | None = None
    org_role: str | None = None
    role: str | None = None
    role_name: str | None = None
    pending: bool = False
    expired: bool = False
    flags: MemberFlags | None = None
    date_created: Instant | None = None
    group_org_roles: list[GroupRole] | None = None


class TeamMember(Payload, frozen=True):
    """What tells from a row of ``teams/{}/{}/members/`` who is in a team; None is the team's least role."""

    id: str
    team_role: str | None = None


class MemberDetail(Payload, frozen=True):
    """What ``organizations/{}/members/{}/`` adds to a row: the slugs of the member's teams, and the roles in them.

    The rest of it is left alone: an invitation's ``user`` is ``{}`` here, where it is null in a row.
    """

    id: str
    teams: list[str] | None = None
    team_roles: list[TeamRole] | None = None


class Team(Payload, frozen=True):
    """A row of ``organizations/{}/teams/``."""

    id: str
    slug: str
    name: str | None = None
    member_count: int | None = None


class Project(Payload, frozen=True):
    """A row of ``organizations/{}/projects/``, which also lists those that the credential has no access to."""

    id: str
    slug: str
    name: str | None = None
    has_access: bool = True


class OrganizationLinks(Payload, frozen=True):
    """Where an organization lives."""

    region_url: str | None = None


class Organization(Payload, frozen=True):
    """A row of ``organizations/``, or ``organizations/{}/``.

    The latter also tells the credential's ``access`` there (its scopes, as far as its user's role allows them) and that
    ``org_role``, which an integration has none of.
    """

    id: str
    slug: str
    name: str | None = None
    links: OrganizationLinks | None = None
    access: list[str] | None = None
    org_role: str | None = None


class TokenGrant(Payload, frozen=True):
    """What a credential may do."""

    scopes: list[str] = []


class RootUser(Payload, frozen=True):
    """Who a credential acts for; an integration's proxy user has no address. ``id`` is the user id."""

    id: str | None = None
    email: str | None = None
    is_active: bool | None = None


class ApiRoot(Payload, frozen=True):
    """``/api/0/``: answers 200 to anybody; only with ``auth`` is the credential valid."""

    auth: TokenGrant | None = None
    user: RootUser | None = None


class Region(Payload, frozen=True):
    """A region of sentry.io in which the user has organizations."""

    url: str


class Regions(Payload, frozen=True):
    """``users/me/regions/``."""

    regions: list[Region]


class OrganizationSlug(Payload, frozen=True):
    """An organization known by its slug alone."""

    slug: str


class AppSlug(Payload, frozen=True):
    """A Sentry App as its installations name it."""

    slug: str
    uuid: str | None = None


class Installation(Payload, frozen=True):
    """``sentry-app-installations/{}/``. ``status`` is ``pending`` until a confirmation comes, then ``installed``."""

    organization: OrganizationSlug
    uuid: str | None = None
    status: str | None = None
    app: AppSlug | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """Decode JSON into ``kind``. Raises :class:`UpstreamInvalid`, which names the place but never a value."""
    try:
        return _decoder(kind).decode(body)  # type: ignore[no-any-return,arg-type]  # kept by type, which mypy cannot say
    except msgspec.ValidationError as error:
        _, _, place = str(error).partition(" - at ")  # none where it is the whole
        raise UpstreamInvalid(f"Sentry's answer has another shape than expected, at {place[:100] or '`$`'}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamInvalid("Sentry's answer is not valid JSON.") from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
