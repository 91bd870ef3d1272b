"""From a stored connection to the account that the Sentry client calls with: its token is opened when it is used."""

from functools import lru_cache

from service.connections.cache import Linked
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.store import ConnectionStore
from service.connections.vault import Sealed, Vault, bind_token
from service.errors import NeedsReauth, SecretUnreadable, UpstreamUnauthorized
from service.last_used import LastUsed
from service.sentry.account import Account, Token
from service.sentry.origin import Origin
from service.tenants.caller import Caller

_parse_origin = lru_cache(maxsize=1000)(Origin.parse)


class AccountSource:
    """Gives out the accounts that a caller may use."""

    def __init__(self, store: ConnectionStore, vault: Vault, last_used: LastUsed) -> None:
        self._store = store
        self._vault = vault
        self._last_used = last_used

    async def account(self, caller: Caller, connection_id: str) -> tuple[ConnectionRecord, Account]:
        """A connection and its account, noted as used now.

        Raises :class:`NotFound`, for foreign ones alike, or :class:`NeedsReauth` where it has no valid credential.
        """
        linked = await self._store.get_linked(caller, connection_id)
        connection, credential = linked.connection, linked.credential
        if credential is None or connection.status is not ConnectionStatus.ACTIVE:
            raise _needs_reauth(connection)
        self._last_used.note(ConnectionRecord, connection.id)
        account = Account(
            tenant_id=connection.tenant_id,
            connection_id=connection.id,
            control=_parse_origin(connection.control_origin),
            api=_parse_origin(connection.api_origin),
            organization=connection.organization_slug,
            fingerprint=credential.fingerprint,
            tokens=StoredTokenSource(self._store, self._vault, caller, linked),
        )
        return connection, account


class StoredTokenSource:
    """The token of one connection, on behalf of one caller."""

    def __init__(self, store: ConnectionStore, vault: Vault, caller: Caller, linked: Linked) -> None:
        self._store = store
        self._vault = vault
        self._caller = caller
        self._linked = linked

    async def token(self) -> Token:
        """The stored token. Raises :class:`NeedsReauth` or :class:`SecretUnreadable`."""
        try:
            return self._open(self._linked)
        except SecretUnreadable:  # what was remembered may have been sealed anew since, and its key retired
            return self._open(await self._read())

    async def fresh_token(self, rejected: Token) -> Token:
        """The token that was stored since ``rejected`` was.

        Raises :class:`UpstreamUnauthorized` where that is still the one. The connection's status stays: one refusal
        does not mean that a token is dead.
        """
        token = self._open(await self._read())
        if token.value == rejected.value:
            raise UpstreamUnauthorized("Sentry refuses the connection's credential.")
        return token

    async def _read(self) -> Linked:
        """The connection as it is now; a token for another address is not for the account that is being called."""
        linked = await self._store.get_linked(self._caller, self._linked.connection.id, fresh=True)
        if bind_token(linked.connection) != bind_token(self._linked.connection):
            raise UpstreamUnauthorized(
                "The connection was linked to another address while it was in use.", cure="Try again."
            )
        return linked

    def _open(self, linked: Linked) -> Token:
        credential = linked.credential
        if credential is None:
            raise _needs_reauth(linked.connection)
        secret = self._vault.open(Sealed(credential.key_id, credential.access_token), bind_token(linked.connection))
        return Token(secret.decode(), credential.version)


def _needs_reauth(connection: ConnectionRecord) -> NeedsReauth:
    if connection.status is ConnectionStatus.UNLINKED:
        return NeedsReauth("The connection is unlinked.")
    return NeedsReauth(connection.status_reason or "The connection's credential is no longer valid.")
