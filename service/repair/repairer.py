"""Looks at connections again and again, and makes up for the webhooks that never came. One for each process.

A few connections at a time, and each only while Sentry's rate limit has room: those who wait for an answer come first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta

import structlog
from msgspec.structs import replace

from service.columns import now
from service.connections.accounts import AccountSource
from service.errors import RateLimited, ServiceError, StorageUnavailable, UpstreamUnauthorized
from service.repair.budget import find_pause
from service.repair.claims import Claim, Claims
from service.repair.comparing import Comparison, Findings, Superseded
from service.repair.rules import find_reach
from service.sentry.account import Account, Token, TokenSource
from service.sentry.client import SentryClient
from service.sentry.issues import IssueRow, walk_issues
from service.sentry.reads import Page
from service.tasks import repeating
from service.tenants.caller import Caller, Role

Observe = Callable[[str, Sequence[str]], None]
"""Is told of each look: a word for how it ended, and the types of the events that it added."""

CLAIM_MARGIN = 30.0
"""Seconds that a claim outlasts the longest call: to wait for room in the rate limit before it, and to write after."""

_AT_ONCE = 4
_SWEEP_SECONDS = 5.0
_ENROLL_SECONDS = 30.0
_MOST_PAGES = 50
_LONGEST_PAUSE = 5.0
_PATIENCE = 10.0
_SUBJECT = "service"

_log = structlog.get_logger(__name__)


class _Postponed(Exception):
    """Sentry's rate limit is needed by others now."""


class Repairer:
    """Repairs the events of all tenants' connections."""

    def __init__(
        self,
        claims: Claims,
        comparison: Comparison,
        client: SentryClient,
        accounts: AccountSource,
        observe: Observe = lambda *_: None,
    ) -> None:
        self._claims = claims
        self._comparison = comparison
        self._client = client
        self._accounts = accounts
        self._observe = observe
        self._turn = asyncio.Lock()
        self._looks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at what is due while the block runs; what is under way at its end is left to be done again."""
        await self._claims.end_leases()
        try:
            async with (
                repeating(_waiting(self._claims.enroll), _ENROLL_SECONDS),
                repeating(_waiting(self._begin), _SWEEP_SECONDS),
            ):
                yield
        finally:
            for look in self._looks:
                look.cancel()
            await asyncio.gather(*self._looks, return_exceptions=True)

    async def sweep(self) -> None:
        """Look at all that is due, and return when that has ended."""
        await self._claims.enroll()
        await self._begin()
        await asyncio.gather(*self._looks)

    async def _begin(self) -> None:
        """Start on what is due, as far as there are hands free, without waiting for it."""
        while len(self._looks) < _AT_ONCE and (claim := await self._take()) is not None:
            look = asyncio.create_task(self._work(claim), name="repair")
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _take(self) -> Claim | None:
        async with self._turn:  # claims of one process know of each other
            return await self._claims.take()

    async def _work(self, claim: Claim) -> None:
        """Look at a connection, and go on with what is due after it."""
        found: Claim | None = claim
        try:
            while found is not None:
                await self._look(found)
                found = await self._take()
        except StorageUnavailable as error:  # what was claimed is due again when its lease is over
            _log.warning("repair_not_stored", connection_id=claim.connection_id, error=error.message)

    async def _look(self, claim: Claim) -> None:
        findings = Findings()
        outcome = "failed"
        try:
            await self._compare(claim, findings)
            outcome = "compared" if claim.polled_at is not None else "took_stock"
        except (_Postponed, RateLimited):
            outcome = "postponed"
            await self._claims.postpone(claim)
        except Superseded:
            outcome = "superseded"
        except StorageUnavailable:
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            with contextlib.suppress(StorageUnavailable):
                await asyncio.shield(self._claims.release(claim))
            raise
        except ServiceError as error:
            _log.info("repair_failed", connection_id=claim.connection_id, code=error.code, error=error.message)
            await self._claims.give_up(claim)
        except Exception as error:  # noqa: BLE001 - one that goes wrong must not keep the others
            _log.error("repair_broken", connection_id=claim.connection_id, exc_info=error)
            await self._claims.give_up(claim)
        finally:
            self._observe(outcome, findings.types)
            if findings.types:
                _log.info("repaired", connection_id=claim.connection_id, events=len(findings.types))

    async def _compare(self, claim: Claim, findings: Findings) -> None:
        """Walk over the issues that were seen lately, and compare page by page."""
        caller = Caller(claim.tenant_id, Role.READ, _SUBJECT, connection_ids=frozenset({claim.connection_id}))
        _, account = await self._accounts.account(caller, claim.connection_id)
        account = replace(account, tokens=_RenewedOnce(account.tokens))
        await self._comparison.catch_up(claim)
        reach, read = find_reach(claim.polled_at, claim.taken_at), 0

        def is_enough(page: Page[IssueRow]) -> bool:
            return bool(page.items) and reach.is_enough(page.items[-1].issue.ended, read)

        pages = walk_issues(self._client, account, projects=claim.projects, most_pages=_MOST_PAGES, is_enough=is_enough)
        async with aclosing(pages):
            while True:
                await self._make_way(account)
                page = await anext(pages, None)
                if page is None:
                    break
                read += 1
                await self._comparison.compare(claim, page.items, findings)
        await self._comparison.conclude(claim, findings)

    async def _make_way(self, account: Account) -> None:
        """Wait until at least half of Sentry's rate limit is free. Raises :class:`_Postponed` where it stays in use."""
        waited = 0.0
        while True:
            sentrys_clock = now() + timedelta(seconds=self._client.clock_skew(account.api) or 0.0)
            pause = find_pause(self._client.rate_limit(account), sentrys_clock)
            if pause == 0.0:
                return
            if pause > _LONGEST_PAUSE or waited > _PATIENCE:
                raise _Postponed
            await asyncio.sleep(pause)
            waited += pause


def _waiting(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The same work, which a database that is away only delays."""

    async def run() -> None:
        try:
            await work()
        except StorageUnavailable as error:
            _log.warning("repairs_delayed", error=error.message)

    return run


class _RenewedOnce:
    """An account's tokens, for a look: Sentry that refuses each new one, too, is not asked for more."""

    def __init__(self, inner: TokenSource) -> None:
        self._inner = inner
        self._is_renewed = False

    async def token(self) -> Token:
        """The current token."""
        return await self._inner.token()

    async def fresh_token(self, rejected: Token) -> Token:
        """Another one, the first time. Raises :class:`UpstreamUnauthorized` after that."""
        if self._is_renewed:
            raise UpstreamUnauthorized("Sentry refuses the connection's credential, though it is new.")
        self._is_renewed = True
        return await self._inner.fresh_token(rejected)

    async def doubt(self, rejected: Token) -> None:
        """Have the credential looked at."""
        await self._inner.doubt(rejected)
