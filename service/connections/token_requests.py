"""Asking Sentry: for new tokens in place of stored ones, why it gives none, and whether a token still works."""

import contextlib

from cachetools import TTLCache
from msgspec.structs import replace

from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.models import ConnectionProblem, CredentialKind
from service.connections.refresh_rules import CURABLE, Failure, explain_refusal
from service.connections.refresh_store import Claim
from service.connections.stored import FixedToken, build_account, open_refresh_token, open_token, parse_origin
from service.connections.vault import Vault
from service.errors import (
    GrantProblem,
    GrantRefused,
    MissingScope,
    OutcomeUnknown,
    SecretUnreadable,
    ServiceError,
    UpstreamNotFound,
    UpstreamUnavailable,
)
from service.ids import new_id
from service.sentry.client import SentryClient
from service.sentry.grants import Grant
from service.sentry.installations import SentryApp, mint_installation_grant, refresh_installation_grant
from service.sentry.oauth import refresh_grant
from service.sentry.reads import fetch_installation, fetch_organization

_SKEW_SECONDS = 30.0
_SKEW_LEARNT = 5.0
_NO_JWT_SECONDS = 3600.0
_MINTS = 4
"""Signatures whose answer was lost, in a row, before an app's refresh token is tried as well."""


class TokenRequests:
    """Speaks to Sentry for the refresher. Stores nothing."""

    def __init__(self, client: SentryClient, vault: Vault, clients: Clients) -> None:
        self._client = client
        self._vault = vault
        self._clients = clients
        self._without_jwt: TTLCache[str, bool] = TTLCache(1000, _NO_JWT_SECONDS)

    async def renew(self, claim: Claim) -> Grant:
        """Ask for new tokens. Raises what :func:`service.sentry.grants.fetch_grant` and the vault do."""
        connection, credential = claim.linked.connection, claim.credential
        control = parse_origin(connection.control_origin)
        refresh_token = open_refresh_token(self._vault, claim.linked)
        if connection.authentication is CredentialKind.APP_TOKEN:
            app = self._clients.find_app(credential.client_id, control)
            if app is None or connection.installation_id is None:
                raise _not_configured("Sentry app", "SENTRY_APPS")
            return await self._renew_app(claim, app, connection.installation_id, refresh_token)
        client = self._clients.find_oauth(credential.client_id, control)
        if client is None or refresh_token is None:
            raise _not_configured("OAuth client", "OAUTH_CLIENTS")
        return await refresh_grant(
            self._client,
            client,
            tenant_id=connection.tenant_id,
            refresh_token=refresh_token,
        )

    async def judge(self, claim: Claim, error: ServiceError) -> Failure:
        """What it means that :meth:`renew` raised ``error``."""
        if isinstance(error, SecretUnreadable):
            return Failure(ConnectionProblem.SECRET_UNREADABLE, is_over=True)
        if not isinstance(error, GrantRefused):
            return Failure(ConnectionProblem.SENTRY_UNAVAILABLE, is_over=not isinstance(error, OutcomeUnknown))
        if error.problem is GrantProblem.INVALID_GRANT:
            return Failure(await self._explain_refused_grant(claim), is_over=True)
        return Failure(await self._explain_refused_client(claim.linked), is_over=True)

    async def probe(self, linked: Linked) -> ConnectionProblem | None:
        """What Sentry says of a credential's access token; None where it works. Raises where it says nothing."""
        credential = linked.credential
        assert credential is not None  # noqa: S101 - only such are asked about
        connection = linked.connection
        token = open_token(self._vault, linked)
        account = build_account(connection, credential, FixedToken(token.value, token.version))
        # A read of its own: a caller's equal one may be waiting for the very refresh that this is asked for.
        account = replace(account, connection_id=new_id("ref"))
        try:
            if _is_app(linked) and connection.installation_id is not None:
                await fetch_installation(self._client, account, connection.installation_id)
            else:
                await fetch_organization(self._client, account)
        except MissingScope:
            return None  # it may not see that, but Sentry knows it
        except UpstreamNotFound:
            return ConnectionProblem.INSTALLATION_GONE if _is_app(linked) else ConnectionProblem.ORGANIZATION_GONE
        except ServiceError as error:
            problem = explain_refusal(error)
            if problem is None:
                raise
            return problem
        return None

    async def _explain_refused_grant(self, claim: Claim) -> ConnectionProblem:
        """The refresh token is refused: what the access token still does tells why."""
        try:
            problem = await self.probe(claim.linked)
        except ServiceError:
            return ConnectionProblem.SENTRY_UNAVAILABLE
        if problem is None:
            return ConnectionProblem.REFRESH_REFUSED
        if problem not in {ConnectionProblem.TOKEN_REVOKED, ConnectionProblem.TOKEN_EXPIRED}:
            return problem
        known = claim.linked.connection.problem
        if problem is ConnectionProblem.TOKEN_EXPIRED and known in CURABLE:
            return known  # the token went its way meanwhile, and the refresh token still waits for the cure
        if claim.is_recovery:
            return ConnectionProblem.REFRESH_LOST
        return ConnectionProblem.INSTALLATION_GONE if _is_app(claim.linked) else ConnectionProblem.TOKEN_REVOKED

    async def _explain_refused_client(self, linked: Linked) -> ConnectionProblem:
        """We are refused, whatever the refresh token is; a 23.7 refuses so for an application that is switched off."""
        with contextlib.suppress(ServiceError):
            if await self.probe(linked) is ConnectionProblem.APPLICATION_DISABLED:
                return ConnectionProblem.APPLICATION_DISABLED
        skew = self._client.clock_skew(parse_origin(linked.connection.control_origin)) or 0.0
        if _is_app(linked) and abs(skew) > _SKEW_SECONDS:
            return ConnectionProblem.CLOCK_SKEWED
        return ConnectionProblem.CLIENT_REFUSED

    async def _renew_app(self, claim: Claim, app: SentryApp, installation_id: str, refresh_token: str | None) -> Grant:
        """By signature where Sentry knows how, else by refresh token.

        A signature ends the tokens before it. So a refresh token that is refused after one tells nothing: an earlier
        signature, whose answer was lost, may have ended it.
        """
        connection = claim.linked.connection
        refused: GrantRefused | None = None
        if app.origin.url not in self._without_jwt:
            try:
                return await self._mint(claim, app, installation_id)
            except GrantRefused as error:
                if error.problem is GrantProblem.INVALID_GRANT or (
                    refresh_token is None and error.problem is not GrantProblem.UNSUPPORTED
                ):
                    raise
                if error.problem is GrantProblem.UNSUPPORTED:
                    self._without_jwt[app.origin.url] = True
                else:
                    refused = error
            except OutcomeUnknown as error:  # it may be asked for as often as one likes
                if refresh_token is None or claim.credential.failures < _MINTS:
                    raise UpstreamUnavailable(error.message) from None
        if refresh_token is None:
            raise GrantRefused(
                "This Sentry gives an app a new token only for a refresh token, and there is none.",
                problem=GrantProblem.INVALID_GRANT,
                cure="Have the account linked again.",
            )
        try:
            return await refresh_installation_grant(
                self._client,
                app,
                tenant_id=connection.tenant_id,
                installation_id=installation_id,
                refresh_token=refresh_token,
            )
        except GrantRefused as error:
            if refused is not None and error.problem is GrantProblem.INVALID_GRANT:
                raise refused from None
            raise

    async def _mint(self, claim: Claim, app: SentryApp, installation_id: str) -> Grant:
        """By signature; once more where the refusal has just told what time it is at Sentry."""
        connection = claim.linked.connection
        believed = self._client.clock_skew(app.origin) or 0.0
        for is_last in (False, True):
            try:
                return await mint_installation_grant(
                    self._client,
                    app,
                    tenant_id=connection.tenant_id,
                    installation_id=installation_id,
                )
            except GrantRefused:
                skew = self._client.clock_skew(app.origin) or 0.0
                if is_last or abs(skew - believed) < _SKEW_LEARNT:
                    raise
        raise AssertionError("unreachable")


def _is_app(linked: Linked) -> bool:
    return linked.connection.authentication is CredentialKind.APP_TOKEN


def _not_configured(what: str, setting: str) -> GrantRefused:
    return GrantRefused(
        f"The {what} that the account was linked through is not configured any more.",
        problem=GrantProblem.INVALID_CLIENT,
        cure=f"Put it back into SENTRY_GRAPH_{setting}, or have the account linked again.",
    )
