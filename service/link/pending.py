"""What was received from Sentry and is not linked yet: sealed into the session's row between two steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from service.columns import now
from service.connections.link_models import LinkMethod, LinkSessionRecord
from service.connections.linking import LinkRequest
from service.connections.models import CredentialKind
from service.connections.vault import Sealed, Vault, bind_pending
from service.sentry.grants import Grant


@dataclass(frozen=True, slots=True)
class Reachable:
    """An organization that the credential reaches."""

    id: str
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A credential and what was chosen for it so far.

    ``kind`` is None for a pasted token, which is recognised again each time.
    ``organizations`` is None until Sentry was asked, and empty where it does not list them, so that the slug has to be
    typed. ``announced`` is the slug that came along with an installation. ``organization`` is the chosen slug.
    ``projects`` None after ``has_chosen_projects`` means all.
    """

    method: LinkMethod
    access_token: str = field(repr=False)
    origin: str
    kind: CredentialKind | None = None
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    client_id: str | None = None
    installation_id: str | None = None
    announced: str | None = None
    ca: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ()
    organizations: tuple[Reachable, ...] | None = None
    organization: str | None = None
    has_chosen_projects: bool = False
    projects: tuple[str, ...] | None = None

    def request(self, record: LinkSessionRecord) -> LinkRequest:
        """What to link, as far as it is chosen."""
        return LinkRequest(
            token=self.access_token,
            origin=self.origin,
            is_origin_fixed=record.origin is not None,
            organization=self.organization or record.organization,
            external_id=record.external_id,
            customer_id=record.customer_id,
            name=record.name,
            projects=record.projects if record.projects is not None else self.projects,
            installation_id=self.installation_id,
            kind=self.kind,
            client_id=self.client_id,
            refresh_token=self.refresh_token,
            expires_at=self.expires_at,
            profile=record.profile,
            ca_certificate=self.ca,
        )

    def choose_organization(self, slug: str | None) -> "Pending":
        """With an organization, or with none again; the projects are another one's then."""
        return replace(self, organization=slug, has_chosen_projects=False, projects=None)

    def choose_projects(self, projects: Sequence[str] | None) -> "Pending":
        """Limited to projects, or to none but the organization."""
        return replace(self, has_chosen_projects=True, projects=None if projects is None else tuple(projects))


def from_grant(
    grant: Grant,
    *,
    method: LinkMethod,
    kind: CredentialKind,
    origin: str,
    client_id: str,
    ca: str | None,
    installation_id: str | None = None,
    announced: str | None = None,
) -> Pending:
    """What Sentry gave, as it waits to be linked."""
    return Pending(
        method=method,
        access_token=grant.access_token,
        origin=origin,
        kind=kind,
        refresh_token=grant.refresh_token,
        expires_at=None if grant.expires_in is None else now() + timedelta(seconds=grant.expires_in),
        client_id=client_id,
        ca=ca,
        installation_id=installation_id,
        announced=announced,
        scopes=grant.scopes,
    )


def seal_pending(vault: Vault, record: LinkSessionRecord, pending: Pending) -> Sealed:
    """Seal it to the session."""
    return vault.seal(msgspec.json.encode(pending), binding=bind_pending(record))


def open_pending(vault: Vault, record: LinkSessionRecord) -> Pending | None:
    """What waits in the session, if anything does. Raises :class:`SecretUnreadable`."""
    if record.pending is None or record.pending_key_id is None:
        return None
    sealed = Sealed(record.pending_key_id, record.pending)
    return msgspec.json.decode(vault.open(sealed, bind_pending(record)), type=Pending)
