"""What is wrong with a connection, judged from what is stored of it and from what Sentry answered. Pure."""

from collections.abc import Collection
from datetime import datetime, timedelta

from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.credentials import missing_scopes
from service.connections.diagnosis import Finding, Severity, find_problem
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.refresh_rules import explain_refusal
from service.connections.stored import is_refreshable, parse_origin
from service.errors import BadInput, MissingScope, ServiceError, UpstreamNotFound
from service.sentry.limits import RateLimitState
from service.sentry.origin import Origin
from service.sentry.payloads import ApiRoot, Installation, Organization

SKEW_SECONDS = 30.0
"""Clocks that differ by more are worth mentioning: a signed request lives for 60 seconds."""

_EXPIRES_SOON = timedelta(days=7)
_LOW_HEADROOM = 0.1
_LINK_AGAIN = "Link the account again with the same externalId."

# --- what is stored ---


def judge_stored(linked: Linked, clients: Clients, clock: datetime) -> list[Finding]:
    """The problem that was noted, the end of the credential, and whether there is a way past it."""
    connection = linked.connection
    found = []
    if connection.problem is not None:
        is_usable = connection.status is ConnectionStatus.ACTIVE
        found.append(find_problem(connection.problem, Severity.WARNING if is_usable else Severity.ERROR))
    elif connection.status is not ConnectionStatus.ACTIVE:
        reason = connection.status_reason or "The connection cannot be used."
        found.append(Finding(connection.status.value.upper(), Severity.ERROR, reason, _LINK_AGAIN))
    if connection.status is not ConnectionStatus.ACTIVE:
        return found
    if not is_refreshable(linked):
        found += _judge_expiry(connection.expires_at, clock)
    elif not _is_configured(linked, clients):
        found.append(
            Finding(
                "CLIENT_NOT_CONFIGURED",
                Severity.WARNING,
                "The application that the account was linked through is not configured any more, so that its token "
                "cannot be renewed.",
                "Put it back into SENTRY_GRAPH_OAUTH_CLIENTS or SENTRY_GRAPH_SENTRY_APPS, or link the account again.",
            )
        )
    return found


def _judge_expiry(expires: datetime | None, clock: datetime) -> list[Finding]:
    if expires is None or expires - clock > _EXPIRES_SOON:
        return []
    if expires <= clock:
        return [find_problem(ConnectionProblem.TOKEN_EXPIRED)]
    return [
        Finding(
            "TOKEN_EXPIRES_SOON",
            Severity.WARNING,
            f"The token expires on {expires:%Y-%m-%d at %H:%M} UTC, and cannot be renewed.",
            _LINK_AGAIN,
        )
    ]


def _is_configured(linked: Linked, clients: Clients) -> bool:
    if linked.credential is None:
        return False
    client_id, control = linked.credential.client_id, parse_origin(linked.connection.control_origin)
    if linked.connection.authentication is CredentialKind.APP_TOKEN:
        return clients.find_app(client_id, control) is not None
    return clients.find_oauth(client_id, control) is not None


# --- what Sentry answered ---


def judge_root(connection: ConnectionRecord, root: ApiRoot | ServiceError) -> list[Finding]:
    """Whether Sentry is there and knows the token: ``/api/0/`` answers 200 to anybody, what counts is ``auth``."""
    if isinstance(root, UpstreamNotFound):
        return [
            Finding(
                root.code,
                Severity.ERROR,
                f"There is no Sentry at {connection.control_origin} any more.",
                "If Sentry has moved, unlink the connection and link the account at its new address.",
            )
        ]
    if isinstance(root, ServiceError):
        return [judge_error(root)]
    return [] if root.auth is not None else [find_problem(ConnectionProblem.TOKEN_REVOKED)]


def judge_error(error: ServiceError) -> Finding:
    """A look at Sentry that failed: in the words of the connection's problems where it is one of them."""
    problem = explain_refusal(error)
    if problem is not None:
        return find_problem(problem)
    severity = Severity.WARNING if error.retryable else Severity.ERROR
    return Finding(error.code, severity, error.message, error.cure or "Look at the service's log.")


def judge_organization(
    connection: ConnectionRecord, found: Organization | ServiceError, scopes: Collection[str] | None
) -> list[Finding]:
    """Whether Sentry's organization of that slug is still the linked one, and lives where it is called.

    A refusal is no finding of its own where the token's ``scopes`` account for it.
    """
    if isinstance(found, ServiceError):
        is_known = isinstance(found, MissingScope) and scopes is not None and "organization" in missing_scopes(scopes)
        return [] if is_known else [judge_error(found)]
    if connection.organization_id not in {None, found.id}:
        return [
            Finding(
                "ORGANIZATION_REPLACED",
                Severity.ERROR,
                f"The slug `{connection.organization_slug}` belongs to another organization now.",
                "Unlink the connection, and link the right organization.",
            )
        ]
    region = parse_region(found)
    if region is not None and region.url != connection.api_origin:
        return [_wrong_region(connection, region)]
    return []


def judge_moved(connection: ConnectionRecord, found: Organization) -> Finding | None:
    """An organization that is not where it was called: where it is now; None where it should have been there."""
    if found.slug != connection.organization_slug:
        return find_renamed(found.slug)
    region = parse_region(found)
    return None if region is None or region.url == connection.api_origin else _wrong_region(connection, region)


def find_renamed(slug: str) -> Finding:
    """The organization has another slug than when it was linked."""
    return Finding(
        "ORGANIZATION_RENAMED",
        Severity.ERROR,
        f"The organization was renamed: its slug is `{slug}` now.",
        f"Link the account again with the same externalId and `organization` set to `{slug}`.",
    )


def parse_region(organization: Organization) -> Origin | None:
    """Where the organization says that it lives; None where it does not."""
    url = organization.links.region_url if organization.links else None
    try:
        return None if url is None else Origin.parse(url)
    except BadInput:
        return None


def _wrong_region(connection: ConnectionRecord, region: Origin) -> Finding:
    return Finding(
        "WRONG_REGION",
        Severity.WARNING,
        f"Sentry says that the organization lives at {region}; it is called at {connection.api_origin}.",
        _LINK_AGAIN,
    )


def judge_installation(connection: ConnectionRecord, found: Installation | ServiceError) -> list[Finding]:
    """Whether the app is installed and confirmed, for the linked organization."""
    if isinstance(found, UpstreamNotFound):
        return [find_problem(ConnectionProblem.INSTALLATION_GONE)]
    if isinstance(found, ServiceError):
        return [judge_error(found)]
    if found.organization.slug != connection.organization_slug:
        return [find_renamed(found.organization.slug)]
    if found.status == "pending":
        return [
            Finding(
                "INSTALLATION_PENDING",
                Severity.WARNING,
                "The installation was never confirmed, so that Sentry sends no webhooks for it.",
                "Set `verify_install` for the app in SENTRY_GRAPH_SENTRY_APPS, and link the account again.",
            )
        ]
    return []


def judge_clock(skew: float | None) -> list[Finding]:
    """``skew`` is the seconds that Sentry's clock is ahead of ours."""
    if skew is None or abs(skew) <= SKEW_SECONDS:
        return []
    side = "ahead of" if skew > 0 else "behind"
    return [
        Finding(
            ConnectionProblem.CLOCK_SKEWED.value.upper(),
            Severity.WARNING,
            f"Sentry's clock is {abs(skew):.0f} seconds {side} this service's.",
            "Set this machine's clock right (NTP), or the server's where Sentry is self-hosted.",
        )
    ]


def judge_headroom(state: RateLimitState | None) -> list[Finding]:
    """Whether Sentry's rate limit is nearly used up."""
    if state is None or not state.limit or state.remaining is None or state.remaining >= _LOW_HEADROOM * state.limit:
        return []
    until = f" until {state.reset_at:%H:%M:%S} UTC" if state.reset_at else ""
    return [
        Finding(
            "RATE_LIMIT_LOW",
            Severity.WARNING,
            f"{state.remaining} of {state.limit} calls are left{until}.",
            "Ask for less at once; look for other users of the same token, who share its limit.",
        )
    ]
