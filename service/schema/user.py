"""The ``User`` type and lists of it. Its plain fields answer from :class:`service.directory.user.User`."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import strawberry

from service.directory import user as directory
from service.directory.listing import Slice, Window
from service.directory.query import UserFilter
from service.directory.user import UserStatus
from service.errors import ServiceError
from service.executor import backed_by, batched
from service.schema import relay
from service.schema.context import Info
from service.schema.inputs import UserFilterInput, UserOrderInput
from service.schema.lookahead import selects
from service.schema.scalars import JSON
from service.schema.user_listing import Seal, UserListing

if TYPE_CHECKING:
    from service.schema.connection import Connection

_NEVER = "Sentry has no such value"
_GROUPS = tuple((*way, field) for way in (("edges", "node"), ("nodes",)) for field in ("groups", "groupRoles"))


@strawberry.type(description="An address of a user.")
class UserEmail:
    """An address of a user."""

    email: str = strawberry.field(description="The address.")
    type: str | None = strawberry.field(description=f"What the address is used for. {_NEVER}: always null.")
    is_primary: bool = strawberry.field(description="Whether it is the primary address.")
    is_verified: bool | None = strawberry.field(description="Whether it is verified; null where Sentry does not say.")


@strawberry.type(description="A phone number of a user.")
class UserPhone:
    """A phone number of a user."""

    number: str = strawberry.field(description="The number.")
    extension: str | None = strawberry.field(description="The extension.")
    type: str | None = strawberry.field(description="What the number is used for.")


@strawberry.type(description="A role of a user: in the organization, or in one of its groups.")
class UserRole:
    """A role of a user."""

    id: strawberry.ID = strawberry.field(description="The global id.")
    external_id: str = strawberry.field(description="Sentry's id of the role, such as `owner` or `member`.")
    name: str = strawberry.field(description="The role's label.")
    group: str | None = strawberry.field(
        description="The slug of the group that the role is in, or comes from; null where it is the member's own."
    )
    organization: strawberry.ID = strawberry.field(description="The global id of the organization that the role is in.")


@strawberry.type(description="A group that a user belongs to: a Sentry team.")
class UserGroup:
    """A group that a user belongs to."""

    id: strawberry.ID = strawberry.field(description="The global id.")
    external_id: str = strawberry.field(description="Sentry's team id.")
    slug: str = strawberry.field(description="Sentry's team slug.")
    name: str = strawberry.field(description="The team's name.")


@strawberry.type(description="A Sentry organization.")
class SentryOrganization:
    """A Sentry organization."""

    id: strawberry.ID = strawberry.field(description="The global id.")
    external_id: str | None = strawberry.field(
        description="Sentry's organization id; null where the credential may not ask for it."
    )
    slug: str = strawberry.field(description="The slug, as in Sentry's addresses.")
    name: str = strawberry.field(description="The name.")


async def _load_memberships(users: Sequence[directory.User], info: Info) -> list[Any]:
    return await info.context.loaders.memberships.load_many([(user.connection_id, user.member.id) for user in users])


async def _load_groups(users: Sequence[directory.User], info: Info) -> list[Any]:
    found = await _load_memberships(users, info)
    return [mine if isinstance(mine, Exception) else [each.group for each in mine or ()] for mine in found]


async def _load_group_roles(users: Sequence[directory.User], info: Info) -> list[Any]:
    found = await _load_memberships(users, info)
    return [mine if isinstance(mine, Exception) else [each.role for each in mine or ()] for mine in found]


async def _load_details(users: Sequence[directory.User], info: Info) -> list[Any]:
    return await info.context.loaders.member_details.load_many([(user.connection_id, user.member.id) for user in users])


async def _load_connections(users: Sequence[directory.User], info: Info) -> list[Any]:
    ids = list(dict.fromkeys(user.connection_id for user in users))
    found = dict(zip(ids, await info.context.loaders.load_connections(ids), strict=True))
    return [found[user.connection_id] for user in users]


@strawberry.federation.type(
    keys=["id", "connectionId email"],
    description="A person in a connection's Sentry organization: joined, invited, expired or restricted members. "
    "Sentry does not list people whose account is deactivated. Fields that Sentry has no value for are null or empty.",
)
class User(relay.Node):
    """A person in a connection's Sentry organization."""

    connection_id: strawberry.ID = strawberry.field(description="The id of the connection that the user is seen by.")
    external_id: str | None = strawberry.field(
        description="Sentry's user id, as assignees and actors carry it; null until an invitation is accepted."
    )
    sentry_member_id: str = strawberry.field(
        description="Sentry's member id, as the paths below `organizations/{organization}/members/` carry it."
    )
    name: str | None = strawberry.field(description="The display name; null where Sentry only repeats the address.")
    first_name: str | None = strawberry.field(description=f"The first name. {_NEVER} apart from `name`: always null.")
    last_name: str | None = strawberry.field(description=f"The last name. {_NEVER} apart from `name`: always null.")
    username: str | None = strawberry.field(
        description="The name to log in with; null until an invitation is accepted."
    )
    email: str | None = strawberry.field(description="The primary address.")
    emails: list[UserEmail] = strawberry.field(description="All addresses, the primary one first.")
    phones: list[UserPhone] = strawberry.field(description=f"Phone numbers. {_NEVER}: always empty.")
    title: str | None = strawberry.field(description=f"The job title. {_NEVER}: always null.")
    status: UserStatus = strawberry.field(description="Where the person stands in the organization.")
    is_email_verified: bool | None = strawberry.field(
        description="Whether the primary address is verified; null where Sentry does not say."
    )
    is_two_factor_enabled: bool | None = strawberry.field(
        description="Whether the account has a second factor; null until an invitation is accepted."
    )
    avatar_url: str | None = strawberry.field(description="A picture of the person.")
    roles: list[UserRole] = strawberry.field(description="The organization role, then roles that teams give.")
    organizations: list[SentryOrganization] = strawberry.field(description="The organization of the connection.")
    languages: list[str] = strawberry.field(description=f"Languages that the person speaks. {_NEVER}: always empty.")
    description: str | None = strawberry.field(description=f"A text about the person. {_NEVER}: always null.")
    urls: list[str] = strawberry.field(description=f"Addresses of the person's pages. {_NEVER}: always empty.")
    created_at: datetime | None = strawberry.field(description="When the person was added or invited.")
    updated_at: datetime | None = strawberry.field(
        description="When the person's data last changed. Sentry does not say: always null."
    )
    last_login_at: datetime | None = strawberry.field(description="When the person last logged in.")
    last_active_at: datetime | None = strawberry.field(description="When the person last used Sentry.")
    remote_data: JSON = strawberry.field(description="Sentry's payload of the member, untouched.")

    is_type_of = backed_by(directory.User)

    groups: list[UserGroup] | None = batched(
        _load_groups,
        description="The groups that the person belongs to. Sentry's list of members does not hold them: they cost one "
        "call for the teams and one for each team, or one for each user where that is fewer; remembered for seconds.",
        directives=[relay.cost(2)],
    )
    group_roles: list[UserRole] | None = batched(
        _load_group_roles,
        description="The roles that the person has in groups. They cost what `groups` costs.",
        directives=[relay.cost(2)],
    )
    remote_detail: JSON | None = batched(
        _load_details,
        description="Sentry's payload of the member's own page, which adds teams and roles, "
        "but for the link of an invitation. One call for each user.",
        directives=[relay.cost(5)],
    )
    connection: Annotated["Connection", strawberry.lazy("service.schema.connection")] | None = batched(
        _load_connections, description="The connection that the user is seen by."
    )


@strawberry.type(description="A user in a list.")
class UserEdge:
    """A user in a list."""

    node: User = strawberry.field(description="The user.")
    cursor: str = strawberry.field(description="The user's place in the list: pass it as `after` or `before`.")


class _Edge(msgspec.Struct, gc=False):
    """Backs :class:`UserEdge`."""

    node: directory.User
    page: "UserConnection"
    index: int

    @property
    def cursor(self) -> str:
        return self.page.cursors[self.index]


@strawberry.type(description="A connection whose users are missing from a list, and why.")
class ConnectionFailure:
    """A connection whose users are missing from a list."""

    connection_id: strawberry.ID = strawberry.field(description="The connection's id.")
    code: str = strawberry.field(description="The error's code, as in `extensions.code`.")
    message: str = strawberry.field(description="What went wrong.")
    cure: str | None = strawberry.field(description="What to do about it.")
    retryable: bool = strawberry.field(description="Whether trying again may help.")
    extensions: JSON = strawberry.field(description="All that `extensions` of the error would hold.")


@strawberry.type(description="A page of users, of one connection or many.")
class UserConnection:
    """A page of users."""

    def __init__(self, found: Slice, seal: Seal) -> None:
        self.slice = found
        self.seal = seal

    @cached_property
    def cursors(self) -> list[str]:
        """The users' cursors, sealed where one is asked for: then all are."""
        return self.seal(self.slice.positions)

    @strawberry.field(description="The users of this page, with their cursors.")
    def edges(self) -> list[UserEdge]:
        """The users with their cursors."""
        users = self.slice.users
        return [_Edge(user, self, index) for index, user in enumerate(users)]  # type: ignore[misc]  # backs the type

    @strawberry.field(description="The users of this page.")
    def nodes(self) -> list[User]:
        """The users."""
        return self.slice.users  # type: ignore[return-value]  # backs the type

    @strawberry.field(description="Where this page stands in the list.")
    def page_info(self) -> relay.PageInfo:
        """Where this page stands."""
        return _PageInfo(self)  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="How many users the whole list has. Sentry does not count members, so it is known only where the "
        "list was read whole: under an order, or a filter that is ours to apply. Null otherwise."
    )
    def total_count(self) -> int | None:
        """The count where it is free."""
        return self.slice.total

    @strawberry.field(description="Connections whose users are missing from this page because they failed.")
    def failures(self) -> list[ConnectionFailure]:
        """Connections that failed."""
        return [_describe(failure.connection_id, failure.error) for failure in self.slice.failures]


def _describe(connection_id: str, error: ServiceError) -> ConnectionFailure:
    return ConnectionFailure(
        connection_id=strawberry.ID(connection_id),
        code=error.code,
        message=error.message,
        cure=error.cure,
        retryable=error.retryable,
        extensions=JSON(error.extensions()),
    )


class _PageInfo:
    """Backs :class:`relay.PageInfo`; its cursors are sealed only when asked for."""

    def __init__(self, page: UserConnection) -> None:
        self._page = page
        self.has_next_page = page.slice.has_next
        self.has_previous_page = page.slice.has_previous

    @property
    def start_cursor(self) -> str | None:
        return self._page.seal(self._page.slice.positions[:1])[0] if self._page.slice.users else None

    @property
    def end_cursor(self) -> str | None:
        return self._page.seal(self._page.slice.positions[-1:])[0] if self._page.slice.users else None


def list_users(
    info: Info, window: Window, filter_: UserFilterInput | None, order_by: UserOrderInput | None
) -> UserListing:
    """What the field being resolved asks of lists of users."""
    return UserListing(
        info.context,
        window,
        filter_.to_filter() if filter_ else UserFilter(),
        order_by.to_order() if order_by else None,
        # Strawberry's own selected_fields would convert the whole selection.
        wants_groups=selects(info._raw_info, *_GROUPS),  # noqa: SLF001 - graphql-core's own, which is unconverted
    )
