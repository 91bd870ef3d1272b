"""What a list of users is filtered and ordered by: what Sentry can do of it, and what is left for us. Pure."""

import enum
import re
from collections.abc import Callable
from datetime import datetime
from functools import cmp_to_key
from typing import Any

import msgspec

from service.directory.user import User, UserStatus


class DateTimeRange(msgspec.Struct, frozen=True):
    """A span of aware times: ``from_`` is inside, ``until`` is the first moment after; None is open."""

    from_: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: datetime | None) -> bool:
        """Whether the moment is inside; an unknown moment never is."""
        if moment is None:
            return False
        return (self.from_ is None or moment >= self.from_) and (self.until is None or moment < self.until)


class UserFilter(msgspec.Struct, frozen=True):
    """Conditions that all must hold; None means any."""

    email: str | None = None
    name: str | None = None
    roles: tuple[str, ...] | None = None
    statuses: tuple[UserStatus, ...] | None = None
    group_ids: tuple[str, ...] | None = None
    created_at: DateTimeRange | None = None


class UserOrderField(enum.StrEnum):
    """What users can be ordered by."""

    NAME = "name"
    EMAIL = "email"
    CREATED_AT = "created_at"
    LAST_LOGIN_AT = "last_login_at"
    LAST_ACTIVE_AT = "last_active_at"


class UserOrder(msgspec.Struct, frozen=True):
    """An order; users without a value come last either way, equal ones in the default order."""

    field: UserOrderField
    descending: bool = False


Check = Callable[[User], bool]

# Free text that Sentry's search takes as it is: no operators, quotes or key:value tokens.
_PLAIN_TEXT = re.compile(r"[\w.@+-]+(?: [\w.@+-]+)*\Z")
_PLAIN_VALUE = re.compile(r"[\w.@+-]+\Z")
_INVITED = frozenset({UserStatus.INVITED, UserStatus.EXPIRED})
_JOINED = frozenset({UserStatus.ACTIVE, UserStatus.RESTRICTED})


class MemberQuery(msgspec.Struct, frozen=True):
    """A filter split in two: ``search`` goes to Sentry (None: everything), ``keeps`` is left to us (None: nothing).

    The members endpoint's search tokens are ``email:``, ``role:``, ``isInvited:`` and free text; a repeated key means
    or, different keys mean and. Groups are no token: their own lists are read instead, which take no search.
    """

    search: str | None
    keeps: Check | None


class _Part(msgspec.Struct, frozen=True):
    """One condition: our check, and Sentry's tokens for it (none where it has no safe spelling).

    ``is_exact`` says that the tokens find just what the check keeps; otherwise they find more.
    """

    check: Check
    tokens: tuple[str, ...] = ()
    is_exact: bool = False


def split_filter(condition: UserFilter) -> MemberQuery:
    """What of a filter Sentry applies, and what we must apply to its answer."""
    parts: list[_Part] = []
    if condition.email is not None:
        parts.append(_by_email(condition.email.strip().casefold()))
    if condition.roles is not None:
        parts.append(_by_role(condition.roles))
    if condition.statuses is not None:
        parts.append(_by_status(frozenset(condition.statuses)))
    if condition.created_at is not None:
        parts.append(_by_creation(condition.created_at))
    if condition.name is not None:
        # Free text is not mixed with tokens.
        parts.append(_by_name(condition.name.strip().casefold(), alone=not any(part.tokens for part in parts)))
    searchable = condition.group_ids is None
    checks = [part.check for part in parts if not (searchable and part.is_exact)]
    tokens = [token for part in parts for token in part.tokens] if searchable else []
    return MemberQuery(
        " ".join(tokens) or None, (lambda user: all(check(user) for check in checks)) if checks else None
    )


def _by_email(email: str) -> _Part:
    # Sentry's match includes secondary addresses; ours is the primary one.
    tokens = (f"email:{email}",) if _PLAIN_VALUE.match(email) else ()
    return _Part(lambda user: (user.email or "").casefold() == email, tokens)


def _by_role(roles: tuple[str, ...]) -> _Part:
    plain = bool(roles) and all(_PLAIN_VALUE.match(role) for role in roles)
    tokens = tuple(f"role:{role}" for role in dict.fromkeys(roles)) if plain else ()
    return _Part(lambda user: user.organization_role in roles, tokens, is_exact=plain)


def _by_status(statuses: frozenset[UserStatus]) -> _Part:
    tokens: tuple[str, ...] = ()
    if statuses and (statuses <= _INVITED or statuses <= _JOINED):
        tokens = (f"isInvited:{'true' if statuses <= _INVITED else 'false'}",)
    return _Part(lambda user: user.status in statuses, tokens, is_exact=statuses in (_INVITED, _JOINED))


def _by_name(text: str, *, alone: bool) -> _Part:
    tokens = (text,) if alone and _PLAIN_TEXT.match(text) and len(text) <= 100 else ()
    return _Part(lambda user: text in (user.name or "").casefold(), tokens)


def _by_creation(span: DateTimeRange) -> _Part:
    return _Part(lambda user: span.holds(user.created_at))


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a user stands in an ordered list: the ordering value, then the default order (connection, member id)."""

    value: str | float | None
    connection_id: str
    member_id: int


def place_of(user: User, order: UserOrder | None) -> Place:
    """The user's place under an order (None: the default order)."""
    value: Any = getattr(user, order.field) if order else None
    if isinstance(value, datetime):
        value = value.timestamp()
    elif isinstance(value, str):
        value = value.casefold()
    return Place(value, user.connection_id, int(user.member.id))


def place_key(order: UserOrder | None) -> Callable[[Place], Any]:
    """A sort key over places."""
    sign = -1 if order and order.descending else 1

    def compare(one: Place, other: Place) -> int:
        if one.value != other.value:
            if one.value is None:
                return 1
            if other.value is None:
                return -1
            return sign if one.value > other.value else -sign  # type: ignore[operator]  # one order, one kind of value
        tie, other_tie = (one.connection_id, one.member_id), (other.connection_id, other.member_id)
        return (tie > other_tie) - (tie < other_tie)

    return cmp_to_key(compare)
