"""One look at a connection, page by page: each page is compared and told of in a transaction of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.repair_models import RepairRecord
from service.db import Database
from service.events.append import NewEvent, append_events
from service.repair.absorbing import absorb
from service.repair.claims import Claim, Claims, lock
from service.repair.listening import find_last_heard, tell_of_silence
from service.repair.rules import CREATED, UNRESOLVED, judge, read_state, read_word
from service.repair.snapshots import forget_snapshots, read_snapshots
from service.repair.synthetic import build_event
from service.sentry.issues import Issue, IssueRow

_PAUSE = timedelta(hours=1)


class Superseded(Exception):
    """Another worker has taken the connection over, or it is not in use any more: nothing was written."""


@dataclass(slots=True)
class Findings:
    """What a look has found so far: the types of the events that it added, and what it holds back.

    ``is_missed``: webhooks should have told of some of it.
    """

    types: list[str] = field(default_factory=list)
    held_since: datetime | None = None
    is_missed: bool = False


class Comparison:
    """Compares what Sentry shows with what events have told, for whoever holds a claim. All raise :class:`Superseded`.

    A transaction writes a page and its events together, or neither.
    """

    def __init__(self, database: Database, claims: Claims) -> None:
        self._database = database
        self._claims = claims

    async def catch_up(self, claim: Claim) -> None:
        """Take what webhooks have told into the snapshots, in small steps."""

        async def work(session: AsyncSession) -> bool:
            return await absorb(session, await self._hold(session, claim))

        while await self._database.run_transaction(work):
            pass

    async def compare(self, claim: Claim, rows: Sequence[IssueRow], findings: Findings) -> None:
        """Compare issues, and add the events that are missing. Tells ``findings`` of it."""

        async def work(session: AsyncSession) -> tuple[list[NewEvent], list[datetime], bool]:
            repair = await self._hold(session, claim)
            while await absorb(session, repair):
                pass
            now = await self._database.read_clock(session)
            snapshots = await read_snapshots(session, repair, [row.issue.id for row in rows])
            events, held, is_missed = [], [], False
            for row in rows:
                issue = row.issue
                if read_word(issue.id) is None:
                    continue
                seen = read_state(issue)
                verdict = judge(snapshots.recall(issue.id), seen, issue.began, polled=claim.polled_at, now=now)
                snapshots.keep(issue.id, verdict.known, issue.ended or now)
                if verdict.known.differs_since is not None:
                    held.append(verdict.known.differs_since)
                events += [_build(claim, type_, row) for type_ in verdict.changes]
                is_missed |= any(_is_told_by_webhook(type_, issue) for type_ in verdict.changes)
            await append_events(session, events)
            return events, held, is_missed

        events, held, is_missed = await self._database.run_transaction(work)
        findings.types += [event.type for event in events]
        findings.held_since = min([*held, *([findings.held_since] if findings.held_since else [])], default=None)
        findings.is_missed |= is_missed

    async def conclude(self, claim: Claim, findings: Findings) -> None:
        """All pages were compared: the issues are known whole as of the claim."""

        async def work(session: AsyncSession) -> None:
            repair = await self._hold(session, claim)
            now = await self._database.read_clock(session)
            has_heard = repair.heard_at != claim.heard_at
            repair.missed = 0 if has_heard else repair.missed + findings.is_missed
            polled, repair.polled_at = repair.polled_at, claim.taken_at
            if polled is None or claim.taken_at - polled > _PAUSE + 2 * self._claims.interval:
                repair.steady_since = now
            if polled is None:
                repair.heard_at = await find_last_heard(session, repair)
            self._claims.plan(repair, now, findings.held_since)
            await forget_snapshots(session, repair, now)
            await tell_of_silence(session, repair, now)

        await self._database.run_transaction(work)

    async def _hold(self, session: AsyncSession, claim: Claim) -> RepairRecord:
        repair = await lock(session, claim)
        if repair is None:
            raise Superseded
        self._claims.renew(repair, await self._database.read_clock(session))
        return repair


def _build(claim: Claim, type_: str, row: IssueRow) -> NewEvent:
    return build_event(
        type_,
        row,
        tenant_id=claim.tenant_id,
        connection_id=claim.connection_id,
        installation_id=claim.installation_id,
    )


def _is_told_by_webhook(type_: str, issue: Issue) -> bool:
    """Whether Sentry surely sends a webhook for it.

    It does not wherever an archived issue is unresolved by hand, in older versions for none that is unresolved, and for
    new issues of some categories.
    """
    return type_ != UNRESOLVED and (type_ != CREATED or issue.issue_category in (None, "error"))
