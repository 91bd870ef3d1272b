"""What linking makes of a connection's row: pure rules, applied by the store inside its transaction."""

from dataclasses import dataclass
from datetime import datetime

from service.columns import now
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.vault import Sealed
from service.ids import new_id
from service.sentry.profiles import Profile
from service.tenants.caller import Caller


@dataclass(frozen=True, slots=True)
class Link:
    """A checked credential's connection, to be stored.

    Where the connection exists already, None in ``customer_id``, ``name``, ``projects`` and ``profile`` leaves what is
    stored.
    """

    external_id: str | None
    customer_id: str | None
    name: str | None
    authentication: CredentialKind
    scopes: list[str]
    control_origin: str
    api_origin: str
    organization_id: str | None
    organization_slug: str
    organization_name: str
    installation_id: str | None
    projects: list[dict[str, str]] | None
    profile: Profile | None = None
    ca_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class SealedToken:
    """A credential ready to be stored.

    ``refresh`` is the sealed refresh token and ``client_id`` who may use it. ``expires_at`` is None where the token
    does not expire.
    """

    sealed: Sealed
    fingerprint: str
    client_id: str | None = None
    refresh: Sealed | None = None
    expires_at: datetime | None = None


def is_same_organization(connection: ConnectionRecord, link: Link) -> bool:
    """By id, which survives renaming, where both are known, else by slug; at another address by both."""
    same_slug = connection.organization_slug == link.organization_slug
    same_place = connection.control_origin == link.control_origin
    if connection.organization_id is None or link.organization_id is None:
        return same_slug and same_place
    same_id = connection.organization_id == link.organization_id
    return same_id and (same_slug or same_place)


def new_connection(caller: Caller, link: Link) -> ConnectionRecord:
    """A connection that was not there before; its externalId is its id where the link names none."""
    connection_id = new_id("con")
    return ConnectionRecord(
        id=connection_id,
        tenant_id=caller.tenant_id,
        external_id=link.external_id or connection_id,
        name=link.organization_name,
        status=ConnectionStatus.ACTIVE,
        profile=link.profile or Profile.FULL,
        authentication=link.authentication,
        scopes=link.scopes,
        control_origin=link.control_origin,
        api_origin=link.api_origin,
        organization_slug=link.organization_slug,
        organization_name=link.organization_name,
        created_at=now(),
        updated_at=now(),
    )


def apply_link(link: Link, connection: ConnectionRecord) -> None:
    """Make the connection what was just linked."""
    connection.customer_id = connection.customer_id if link.customer_id is None else link.customer_id
    connection.name = connection.name if link.name is None else link.name
    connection.projects = connection.projects if link.projects is None else link.projects
    connection.status = ConnectionStatus.ACTIVE
    connection.status_reason = None
    connection.problem = None
    connection.profile = connection.profile if link.profile is None else link.profile
    connection.authentication = link.authentication
    connection.scopes = link.scopes
    connection.control_origin = link.control_origin
    connection.api_origin = link.api_origin
    connection.organization_id = link.organization_id or connection.organization_id
    connection.organization_slug = link.organization_slug
    connection.organization_name = link.organization_name
    connection.installation_id = link.installation_id
    connection.ca_certificate = link.ca_certificate
    connection.updated_at = now()
