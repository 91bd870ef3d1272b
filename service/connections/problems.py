"""What each problem of a connection means, what to do about it, and who can. Pure: a table.

Linking again with the same externalId is the cure wherever the customer is needed: it keeps the connection's id and
history. :class:`NeedsReauth` and ``Connection.cure`` say the same words, taken from here.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from service.connections.models import ConnectionProblem


class Remedy(enum.StrEnum):
    """Who can end a problem."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A problem in two sentences, and who can end it; ``NOBODY`` where it ends by itself, or is no fault."""

    reason: str
    cure: str
    remedy: Remedy


_AGAIN = "Link the account again with the same externalId; `linkSession` holds an address to send to the customer."

_EXPLANATIONS: Mapping[ConnectionProblem, Explanation] = {
    ConnectionProblem.TOKEN_REVOKED: Explanation(
        "Sentry no longer knows the token: it was removed there, or replaced by another one.", _AGAIN, Remedy.CUSTOMER
    ),
    ConnectionProblem.TOKEN_EXPIRED: Explanation(
        "The token has expired, and nothing was stored that could renew it.", _AGAIN, Remedy.CUSTOMER
    ),
    ConnectionProblem.REFRESH_LOST: Explanation(
        "Sentry changed the tokens and its answer with the new ones never arrived, so that none is left that works.",
        _AGAIN,
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.REFRESH_REFUSED: Explanation(
        "Sentry refuses to renew the token, which works until it expires.",
        "Link the account again with the same externalId before `expiresAt`.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.APPLICATION_DISABLED: Explanation(
        "The OAuth application or Sentry App that the account was linked through is switched off or deleted in Sentry.",
        "Switch the application on again in Sentry, or set up another one; then link the account again with the same "
        "externalId.",
        Remedy.OPERATOR,
    ),
    ConnectionProblem.CLIENT_REFUSED: Explanation(
        "Sentry refuses the client id or secret of the application that the account was linked through.",
        "Correct the client in SENTRY_GRAPH_OAUTH_CLIENTS or SENTRY_GRAPH_SENTRY_APPS and start again; refreshing goes "
        "on by itself.",
        Remedy.OPERATOR,
    ),
    ConnectionProblem.USER_INACTIVE: Explanation(
        "The user whom the token acts as is deactivated or deleted in Sentry.",
        "Have another member link the account again with the same externalId, or have the user activated in Sentry.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.SSO_REQUIRED: Explanation(
        "The organization asks for single sign-on, which the user whom the token acts as has not gone through.",
        "Have that user log in to Sentry through single sign-on; after that, link the account again if it lasts.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.TWO_FACTOR_REQUIRED: Explanation(
        "The organization asks for two-factor authentication, which the user whom the token acts as has not set up.",
        "Have that user set up two-factor authentication in Sentry; after that, link the account again if it lasts.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.ORGANIZATION_GONE: Explanation(
        "Sentry no longer shows the organization to this credential: it was deleted, or the user has left it.",
        "Have a member of the organization link it again with the same externalId; unlink it if it is gone for good.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.INSTALLATION_GONE: Explanation(
        "The application was uninstalled from the organization.",
        "Have an owner of the organization install the application again through a link session of this externalId.",
        Remedy.CUSTOMER,
    ),
    ConnectionProblem.CLOCK_SKEWED: Explanation(
        "This service's clock and Sentry's differ by too much for a signed request to be accepted.",
        "Set this machine's clock right (NTP); refreshing goes on by itself.",
        Remedy.OPERATOR,
    ),
    ConnectionProblem.SENTRY_UNAVAILABLE: Explanation(
        "Sentry fails or cannot be reached, so that the token cannot be renewed.",
        "Nothing needs to be done: it is tried again by itself. If it lasts, check that Sentry is up.",
        Remedy.NOBODY,
    ),
    ConnectionProblem.SECRET_UNREADABLE: Explanation(
        "No key of the keyring opens the stored token, or it was changed in the database.",
        "Restore the missing key in the keyring file; if it is lost, link the account again with the same externalId.",
        Remedy.OPERATOR,
    ),
    ConnectionProblem.UNLINKED: Explanation(
        "The account was unlinked, and its token destroyed.",
        "Link the account again with the same externalId to use it once more.",
        Remedy.NOBODY,
    ),
}


def explain(problem: ConnectionProblem) -> Explanation:
    """The problem in words, and its cure."""
    return _EXPLANATIONS[problem]
