"""Input types of the graph."""

import enum
from datetime import UTC, datetime
from typing import TypeVar

import strawberry

from service.connections.models import ConnectionStatus
from service.connections.store import ConnectionFilter
from service.directory.query import DateTimeRange, UserFilter, UserOrder, UserOrderField
from service.directory.user import UserStatus

T = TypeVar("T")


@strawberry.enum(description="Which end comes first.")
class UserOrderDirection(enum.Enum):
    """Which end comes first."""

    ASC = strawberry.enum_value("asc", description="The smallest, earliest, or first of the alphabet comes first.")
    DESC = strawberry.enum_value("desc", description="The largest, latest, or last of the alphabet comes first.")


@strawberry.input(description="A span of time.")
class UserDateTimeRangeInput:
    """A span of time."""

    from_: datetime | None = strawberry.field(
        name="from", default=None, description="The first moment inside; open if absent. UTC unless it says otherwise."
    )
    until: datetime | None = strawberry.field(
        default=None, description="The first moment after; open if absent. UTC unless it says otherwise."
    )

    def to_range(self) -> DateTimeRange:
        """The span in the directory's terms."""
        return DateTimeRange(assume_utc(self.from_), assume_utc(self.until))


@strawberry.input(description="Conditions on users; all that are given must hold.")
class UserFilterInput:
    """Conditions on users."""

    email: str | None = strawberry.field(
        default=None, description="The primary address, compared without regard to case."
    )
    name: str | None = strawberry.field(default=None, description="A part of the name, without regard to case.")
    roles: list[str] | None = strawberry.field(
        default=None, description="Any of these organization roles: owner, manager, admin, member, billing."
    )
    statuses: list[UserStatus] | None = strawberry.field(default=None, description="Any of these statuses.")
    group_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Member of any of these groups (`Group.id`)."
    )
    created_at: UserDateTimeRangeInput | None = strawberry.field(
        default=None, description="Added or invited in this span."
    )

    def to_filter(self) -> UserFilter:
        """The conditions in the directory's terms."""
        return UserFilter(
            email=self.email,
            name=self.name,
            roles=_tuple(self.roles),
            statuses=_tuple(self.statuses),
            group_ids=None if self.group_ids is None else tuple(map(str, self.group_ids)),
            created_at=self.created_at.to_range() if self.created_at else None,
        )


@strawberry.input(description="An order of users. Users without a value come last either way.")
class UserOrderInput:
    """An order of users."""

    field: UserOrderField = strawberry.field(description="What to order by.")
    direction: UserOrderDirection = strawberry.field(
        default=UserOrderDirection.ASC, description="Which end comes first."
    )

    def to_order(self) -> UserOrder:
        """The order in the directory's terms."""
        return UserOrder(self.field, descending=self.direction is UserOrderDirection.DESC)


@strawberry.input(description="Conditions on connections; all that are given must hold.")
class ConnectionFilterInput:
    """Conditions on connections."""

    name: str | None = strawberry.field(default=None, description="A part of the name, without regard to case.")
    status: ConnectionStatus | None = strawberry.field(default=None, description="Whether it can be used.")
    customer_id: str | None = strawberry.field(default=None, description="The host's id of the customer.")
    organization: str | None = strawberry.field(default=None, description="The slug of the Sentry organization.")

    def to_filter(self) -> ConnectionFilter:
        """The conditions in the store's terms."""
        return ConnectionFilter(
            name=self.name, status=self.status, customer_id=self.customer_id, organization=self.organization
        )


@strawberry.input(description="A query parameter of a proxied call.")
class ProxyParameter:
    """A query parameter."""

    name: str = strawberry.field(description="The parameter's name, as Sentry documents it.")
    value: str = strawberry.field(description="The value; it is encoded for you.")


def assume_utc(moment: datetime | None) -> datetime | None:
    """The moment, in UTC where it does not say otherwise."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _tuple(values: list[T] | None) -> tuple[T, ...] | None:
    return None if values is None else tuple(values)
