"""Looks at a connection: asks Sentry, all at once, what :mod:`service.connections.findings` judges. Changes nothing.

A look costs two calls where all is well, one more for an installation, and up to two more to find an organization that
is not where it was: five in all, a repeat after a failure not counted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from service.columns import now
from service.connections.accounts import AccountSource
from service.connections.cache import Linked
from service.connections.clients import Clients
from service.connections.diagnosis import Diagnosis, Finding, find_problem, sort_findings
from service.connections.findings import (
    judge_clock,
    judge_headroom,
    judge_installation,
    judge_moved,
    judge_organization,
    judge_root,
    judge_stored,
)
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.rights import judge_rights
from service.connections.store import ConnectionStore
from service.connections.stored import is_refreshable
from service.errors import ServiceError, UpstreamNotFound, UpstreamTimeout
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.paths import ApiPath
from service.sentry.payloads import ApiRoot, Installation, Organization
from service.sentry.reads import fetch_installation, fetch_organization, fetch_page, fetch_root
from service.tenants.caller import Caller

T = TypeVar("T")

_USERS = frozenset({CredentialKind.USER_TOKEN, CredentialKind.OAUTH_TOKEN, CredentialKind.UNKNOWN_TOKEN})


class Doctor:
    """Diagnoses connections for callers who may see them.

    ``probe_seconds`` is how long one question to Sentry may take, whatever a call may otherwise.
    """

    def __init__(
        self,
        client: SentryClient,
        store: ConnectionStore,
        accounts: AccountSource,
        clients: Clients,
        *,
        probe_seconds: float = 10.0,
    ) -> None:
        self._client = client
        self._store = store
        self._accounts = accounts
        self._clients = clients
        self._probe_seconds = probe_seconds

    async def diagnose(self, caller: Caller, connection_id: str) -> Diagnosis:
        """Look at a connection. One that cannot be used is judged by what is stored, without asking Sentry.

        What goes wrong on the way is a finding. Raises :class:`NotFound`, for foreign connections alike.
        """
        linked = await self._store.get_linked(caller, connection_id)
        findings = judge_stored(linked, self._clients, now())
        if linked.credential is None or linked.connection.status is not ConnectionStatus.ACTIVE:
            found = sort_findings(findings)
            return Diagnosis(now(), is_live=False, is_refreshable=is_refreshable(linked), findings=found)
        _, account = await self._accounts.account(caller, connection_id)
        return await self._look(linked, account, findings)

    async def _look(self, linked: Linked, account: Account, findings: list[Finding]) -> Diagnosis:
        connection = linked.connection
        root, organization, installation = await asyncio.gather(
            self._attempt(lambda: fetch_root(self._client, account)),
            self._attempt(lambda: fetch_organization(self._client, account)),
            self._attempt(lambda: self._find_installation(account, connection)),
        )
        scopes = sorted(root.auth.scopes) if isinstance(root, ApiRoot) and root.auth else None
        known = organization if isinstance(organization, Organization) else None
        skew, rate_limit = self._client.clock_skew(account.control), self._client.rate_limit(account)
        features, limits = (None, []) if scopes is None else judge_rights(connection, scopes, known)
        found = [*findings, *limits, *judge_root(connection, root), *judge_clock(skew), *judge_headroom(rate_limit)]
        if installation is not None:
            found += judge_installation(connection, installation)
        if isinstance(organization, UpstreamNotFound):
            found += await self._search(account, connection, installation)
        else:
            found += judge_organization(connection, organization, scopes)
        return Diagnosis(
            checked_at=now(),
            is_live=True,
            is_refreshable=is_refreshable(linked),
            findings=sort_findings(found),
            scopes=scopes,
            access=None if known is None or known.access is None else sorted(known.access),
            role=known.org_role if known else None,
            features=features,
            clock_skew=skew,
            rate_limit=rate_limit,
        )

    async def _find_installation(self, account: Account, connection: ConnectionRecord) -> Installation | None:
        if connection.installation_id is None:
            return None
        return await fetch_installation(self._client, account, connection.installation_id)

    async def _search(
        self, account: Account, connection: ConnectionRecord, installation: Installation | ServiceError | None
    ) -> list[Finding]:
        """Sentry has no organization of that slug there: see whether it was moved or renamed, or else is gone."""
        if isinstance(installation, Installation):
            return judge_installation(connection, installation) or [_gone()]
        candidates = await asyncio.gather(
            self._attempt(lambda: self._fetch_at_control(account)),
            self._attempt(lambda: self._fetch_by_id(account, connection)),
        )
        moves = [judge_moved(connection, each) for each in candidates if isinstance(each, Organization)]
        return [move for move in moves if move][:1] or [_gone()]

    async def _fetch_at_control(self, account: Account) -> Organization | None:
        """Control knows the organizations of all regions."""
        if account.control == account.api:
            return None
        return await fetch_organization(self._client, replace(account, api=account.control))

    async def _fetch_by_id(self, account: Account, connection: ConnectionRecord) -> Organization | None:
        """A user's token lists its organizations; another one can only ask by id, which newer Sentrys understand."""
        wanted = connection.organization_id
        if wanted is None:
            return None
        if connection.authentication not in _USERS:
            return await fetch_organization(self._client, replace(account, organization=wanted))
        page = await fetch_page(self._client, account, Organization, ApiPath.of("organizations"))
        return next((each for each in page.items if each.id == wanted), None)

    async def _attempt(self, ask: Callable[[], Awaitable[T]]) -> T | ServiceError:
        """An answer, or the error in its place: each question fails by itself."""
        try:
            async with asyncio.timeout(self._probe_seconds):
                return await ask()
        except TimeoutError:
            return UpstreamTimeout(f"Sentry did not answer within {self._probe_seconds:.0f} seconds.")
        except ServiceError as error:
            return error


def _gone() -> Finding:
    return find_problem(ConnectionProblem.ORGANIZATION_GONE)
