"""When a credential is refreshed or looked at, and what a failure means. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenacity import wait_random_exponential

from service.connections.models import ConnectionProblem
from service.errors import (
    ServiceError,
    UnauthorizedReason,
    UpstreamNotFound,
    UpstreamUnauthorized,
)
from service.sentry.retry import draw_wait

EXPIRY_MARGIN = timedelta(seconds=60)
"""A token that expires within this time is not used any more where another one can be had."""

CONFIRM_AFTER = timedelta(seconds=10)
"""One 401 is no proof: the same answer so much later is."""

SHORTEST_REST = timedelta(seconds=30)
"""A credential that has just come is left alone for so long, however soon it expires."""

_LOOK_AFTER = timedelta(hours=24)
_LOOK_AGAIN_AFTER = timedelta(hours=1)
_RIPE = 0.65  # a little before the earliest plan, for replicas whose clocks differ
_BACKOFF = wait_random_exponential(multiplier=1, max=600)
_OPERATOR_BACKOFF = timedelta(minutes=5)

LOST = frozenset(
    {
        ConnectionProblem.TOKEN_REVOKED,
        ConnectionProblem.TOKEN_EXPIRED,
        ConnectionProblem.REFRESH_LOST,
        ConnectionProblem.APPLICATION_DISABLED,
        ConnectionProblem.USER_INACTIVE,
        ConnectionProblem.SSO_REQUIRED,
        ConnectionProblem.TWO_FACTOR_REQUIRED,
        ConnectionProblem.ORGANIZATION_GONE,
        ConnectionProblem.INSTALLATION_GONE,
    }
)
"""Problems that stop a connection until somebody does something in Sentry or links again."""

CURABLE = frozenset(
    {
        ConnectionProblem.APPLICATION_DISABLED,
        ConnectionProblem.USER_INACTIVE,
        ConnectionProblem.SSO_REQUIRED,
        ConnectionProblem.TWO_FACTOR_REQUIRED,
        ConnectionProblem.ORGANIZATION_GONE,
        ConnectionProblem.INSTALLATION_GONE,
    }
)
"""Those of them after which the stored credential may work again, so that it is looked at now and then."""

SAID = frozenset(
    {
        ConnectionProblem.APPLICATION_DISABLED,
        ConnectionProblem.USER_INACTIVE,
        ConnectionProblem.SSO_REQUIRED,
        ConnectionProblem.TWO_FACTOR_REQUIRED,
    }
)
"""Those that Sentry names in words of its own, of a token that it has just given out: no second look is needed."""

_UNAUTHORIZED: Mapping[UnauthorizedReason, ConnectionProblem] = {
    UnauthorizedReason.INVALID_TOKEN: ConnectionProblem.TOKEN_REVOKED,
    UnauthorizedReason.TOKEN_EXPIRED: ConnectionProblem.TOKEN_EXPIRED,
    UnauthorizedReason.USER_INACTIVE: ConnectionProblem.USER_INACTIVE,
    UnauthorizedReason.MEMBER_DISABLED: ConnectionProblem.USER_INACTIVE,
    UnauthorizedReason.EMAIL_UNVERIFIED: ConnectionProblem.USER_INACTIVE,
    UnauthorizedReason.DATA_SECRECY: ConnectionProblem.ORGANIZATION_GONE,
    UnauthorizedReason.APPLICATION_INACTIVE: ConnectionProblem.APPLICATION_DISABLED,
    UnauthorizedReason.SSO_REQUIRED: ConnectionProblem.SSO_REQUIRED,
    UnauthorizedReason.TWO_FACTOR_REQUIRED: ConnectionProblem.TWO_FACTOR_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed refresh means.

    ``is_over``: it is known that Sentry has not changed the tokens and that nothing is under way; otherwise the intent
    stays, and whoever refreshes next knows that the stored refresh token may be spent.
    """

    problem: ConnectionProblem
    is_over: bool


def plan_refresh(received: datetime, expires: datetime | None, *, is_refreshable: bool) -> datetime:
    """When a credential is looked at next by itself.

    A refreshable one after 70 to 85 % of its life, so that links made on one day do not all refresh on another. One
    that cannot be refreshed when it expires; one that does not expire about once a day, to see whether it still works.
    """
    if expires is None:
        return received + _LOOK_AFTER * random.uniform(0.85, 1.15)  # noqa: S311 - jitter
    if not is_refreshable:
        return expires
    planned = received + (expires - received) * random.uniform(0.7, 0.85)  # noqa: S311 - jitter
    return max(planned, received + SHORTEST_REST)


def is_ripe(received: datetime, expires: datetime | None, clock: datetime) -> bool:
    """Whether a credential has lived so long that it is refreshed when it is due; before that it is only looked at."""
    return expires is not None and clock - received >= (expires - received) * _RIPE


def plan_retry(clock: datetime, problem: ConnectionProblem, failures: int) -> datetime | None:
    """When a credential with a problem is tried again by itself; None where nothing is to be expected of it.

    Full jitter within a bound that doubles from a second to ten minutes. ``failures`` counts from 1.
    """
    if problem in LOST:
        return clock + _LOOK_AGAIN_AFTER if problem in CURABLE else None
    if problem is ConnectionProblem.SENTRY_UNAVAILABLE:
        return clock + timedelta(seconds=1) + timedelta(seconds=backoff(failures))
    return clock + _OPERATOR_BACKOFF


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return draw_wait(_BACKOFF, max(1, failures))


def needs_refresh(expires: datetime | None, clock: datetime) -> bool:
    """Whether a token is too close to its end to be used."""
    return expires is not None and expires - clock <= EXPIRY_MARGIN


def explain_refusal(error: ServiceError) -> ConnectionProblem | None:
    """What Sentry's answer to a harmless read says of a credential; None where it says nothing of it.

    ``error`` is what asking for the credential's own organization raised. A 401 in unknown words says nothing: a proxy
    or a firewall may have said it.
    """
    if isinstance(error, UpstreamUnauthorized):
        return _UNAUTHORIZED.get(error.reason)
    if isinstance(error, UpstreamNotFound):
        return ConnectionProblem.ORGANIZATION_GONE
    return None
