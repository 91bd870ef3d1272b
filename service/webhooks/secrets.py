"""The secrets that sign what goes to an endpoint, between the vault and the endpoint's row."""

from datetime import datetime

from service.connections.vault import Sealed, Vault, bind_endpoint_secret
from service.events.models import EndpointRecord


def open_secrets(vault: Vault, endpoint: EndpointRecord, clock: datetime) -> list[str]:
    """Those that sign at a time: the endpoint's own, then for a while the one before.

    Raises :class:`SecretUnreadable`.
    """
    binding = bind_endpoint_secret(endpoint)
    found = [vault.open(Sealed(endpoint.key_id, endpoint.secret), binding).decode()]
    if (
        endpoint.previous_secret is not None
        and endpoint.previous_key_id is not None
        and is_overlapping(endpoint, clock)
    ):
        found.append(vault.open(Sealed(endpoint.previous_key_id, endpoint.previous_secret), binding).decode())
    return found


def seal_secrets(vault: Vault, endpoint: EndpointRecord, secret: str, previous: str | None = None) -> None:
    """Put secrets into the endpoint's row, sealed for the address that it has now."""
    binding = bind_endpoint_secret(endpoint)
    sealed = vault.seal(secret.encode(), binding=binding)
    endpoint.key_id, endpoint.secret = sealed.key_id, sealed.data
    endpoint.previous_key_id = endpoint.previous_secret = None
    if previous is not None:
        sealed = vault.seal(previous.encode(), binding=binding)
        endpoint.previous_key_id, endpoint.previous_secret = sealed.key_id, sealed.data


def is_overlapping(endpoint: EndpointRecord, clock: datetime) -> bool:
    """Whether the secret before still signs."""
    return endpoint.previous_until is not None and endpoint.previous_until > clock
