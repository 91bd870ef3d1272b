"""From stored rows to what the Sentry client calls with: an account, and tokens out of the vault."""

from datetime import datetime
from functools import lru_cache

from service.connections.cache import Linked
from service.connections.link_rules import SealedToken
from service.connections.models import ConnectionRecord, ConnectionStatus, CredentialKind, CredentialRecord
from service.connections.problems import explain
from service.connections.refresh_rules import plan_refresh
from service.connections.vault import Sealed, Vault, bind_refresh_token, bind_token
from service.errors import NeedsReauth, UpstreamUnauthorized
from service.sentry.account import Account, Token, TokenSource
from service.sentry.origin import Origin

parse_origin = lru_cache(maxsize=1000)(Origin.parse)


class FixedToken:
    """A token that is what it is: pasted and not stored yet, or to be looked at without being renewed."""

    def __init__(self, value: str, version: int = 0) -> None:
        self._token = Token(value, version)

    async def token(self) -> Token:
        """The token."""
        return self._token

    async def fresh_token(self, rejected: Token) -> Token:  # noqa: ARG002 - there is but one
        """There is no other: :class:`UpstreamUnauthorized`."""
        raise UpstreamUnauthorized("Sentry refuses this token.")

    async def doubt(self, rejected: Token) -> None:
        """Whoever uses it finds out by itself."""


def build_account(connection: ConnectionRecord, credential: CredentialRecord, tokens: TokenSource) -> Account:
    """The account of a connection, with the tokens that it is to be called with."""
    return Account(
        tenant_id=connection.tenant_id,
        connection_id=connection.id,
        control=parse_origin(connection.control_origin),
        api=parse_origin(connection.api_origin),
        organization=connection.organization_slug,
        fingerprint=credential.fingerprint,
        tokens=tokens,
        ca=connection.ca_certificate,
    )


def open_token(vault: Vault, linked: Linked) -> Token:
    """The stored access token. Raises :class:`NeedsReauth` or :class:`SecretUnreadable`."""
    credential = linked.credential
    if credential is None:
        raise needs_reauth(linked.connection)
    secret = vault.open(Sealed(credential.key_id, credential.access_token), bind_token(linked.connection))
    return Token(secret.decode(), credential.version)


def open_refresh_token(vault: Vault, linked: Linked) -> str | None:
    """The stored refresh token; None where there is none. Raises :class:`SecretUnreadable`."""
    credential = linked.credential
    if credential is None or credential.refresh_token is None or credential.refresh_key_id is None:
        return None
    sealed = Sealed(credential.refresh_key_id, credential.refresh_token)
    return vault.open(sealed, bind_refresh_token(linked.connection)).decode()


def put_token(connection: ConnectionRecord, credential: CredentialRecord, token: SealedToken, clock: datetime) -> None:
    """Put a token into the rows that it is sealed for, as the next version. ``clock`` is the database's."""
    credential.version += 1
    credential.key_id, credential.access_token = token.sealed.key_id, token.sealed.data
    credential.fingerprint = token.fingerprint
    credential.client_id = token.client_id
    credential.refresh_key_id = None if token.refresh is None else token.refresh.key_id
    credential.refresh_token = None if token.refresh is None else token.refresh.data
    credential.failures = 0
    credential.updated_at = clock
    connection.expires_at = token.expires_at
    credential.refresh_after = plan_refresh(
        clock, token.expires_at, is_refreshable=is_refreshable(Linked(connection, credential))
    )


def is_refreshable(linked: Linked) -> bool:
    """Whether there is a way to a new token: a refresh token, or an app that may ask for one."""
    credential = linked.credential
    return (
        credential is not None
        and credential.client_id is not None
        and (credential.refresh_token is not None or linked.connection.authentication is CredentialKind.APP_TOKEN)
    )


def needs_reauth(connection: ConnectionRecord) -> NeedsReauth:
    """The error of a connection that cannot be used, with its reason and cure."""
    if connection.problem is not None:
        found = explain(connection.problem)
        return NeedsReauth(connection.status_reason or found.reason, cure=found.cure)
    if connection.status is ConnectionStatus.UNLINKED:
        return NeedsReauth("The connection is unlinked.")
    return NeedsReauth(connection.status_reason or "The connection's credential is no longer valid.")
