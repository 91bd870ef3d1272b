"""Connections as accounts that the Sentry client calls with, for a caller: a token is opened when it is first used."""

from service.columns import now
from service.connections.cache import Linked
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.refresh_rules import needs_refresh
from service.connections.refreshing import Refresher
from service.connections.store import ConnectionStore
from service.connections.stored import build_account, is_refreshable, needs_reauth, open_token
from service.connections.vault import Vault, bind_token
from service.errors import SecretUnreadable, UpstreamUnauthorized
from service.last_used import LastUsed
from service.sentry.account import Account, Token
from service.tenants.caller import Caller


class AccountSource:
    """Gives out the accounts that a caller may use."""

    def __init__(self, store: ConnectionStore, vault: Vault, refresher: Refresher, last_used: LastUsed) -> None:
        self._store = store
        self._vault = vault
        self._refresher = refresher
        self._last_used = last_used

    async def account(self, caller: Caller, connection_id: str) -> tuple[ConnectionRecord, Account]:
        """A connection and its account, noted as used now.

        Raises :class:`NotFound`, for foreign ones alike, or :class:`NeedsReauth` where it has no valid credential.
        """
        linked = await self._store.get_linked(caller, connection_id)
        connection, credential = linked.connection, linked.credential
        if credential is None or connection.status is not ConnectionStatus.ACTIVE:
            raise needs_reauth(connection)
        self._last_used.note(ConnectionRecord, connection.id)
        tokens = StoredTokenSource(self._store, self._vault, self._refresher, caller, linked)
        return connection, build_account(connection, credential, tokens)


class StoredTokenSource:
    """The token of one connection, on behalf of one caller; opened once, it goes with the account."""

    def __init__(
        self, store: ConnectionStore, vault: Vault, refresher: Refresher, caller: Caller, linked: Linked
    ) -> None:
        self._store = store
        self._vault = vault
        self._refresher = refresher
        self._caller = caller
        self._linked = linked
        self._opened: Token | None = None

    async def token(self) -> Token:
        """The stored token, or a new one where that is about to expire.

        Raises :class:`NeedsReauth`, :class:`SecretUnreadable` or what :meth:`Refresher.renew` does.
        """
        if needs_refresh(self._linked.connection.expires_at, now()) and is_refreshable(self._linked):
            return self._open(self._check(await self._refresher.renew(self._linked)))
        try:
            if self._opened is None:
                self._opened = self._open(self._linked)
            return self._opened
        except SecretUnreadable:  # what was remembered may have been sealed anew since, and its key retired
            return self._open(await self._read())

    async def fresh_token(self, rejected: Token) -> Token:
        """The token that was stored since ``rejected`` was, or a new one where it can be renewed.

        Raises :class:`UpstreamUnauthorized` where it cannot. The connection's status stays: one refusal does not mean
        that a token is dead.
        """
        linked = self._check(await self._refresher.read(self._linked))
        token = self._open(linked)
        if token.value != rejected.value:
            return token
        if is_refreshable(linked):
            return self._open(self._check(await self._refresher.renew(linked)))
        raise UpstreamUnauthorized("Sentry refuses the connection's credential.")

    async def doubt(self, rejected: Token) -> None:
        """Have the credential looked at soon."""
        connection = self._linked.connection
        await self._refresher.doubt(connection.tenant_id, connection.id, rejected.version)

    async def _read(self) -> Linked:
        return self._check(await self._store.get_linked(self._caller, self._linked.connection.id, fresh=True))

    def _check(self, linked: Linked) -> Linked:
        """A token for another address is not for the account that is being called."""
        if bind_token(linked.connection) != bind_token(self._linked.connection):
            raise UpstreamUnauthorized(
                "The connection was linked to another address while it was in use.", cure="Try again."
            )
        return linked

    def _open(self, linked: Linked) -> Token:
        return open_token(self._vault, linked)
