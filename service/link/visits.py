"""Link sessions as the person at the page meets them: found by token, bound to a browser, and completed once."""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from sqlalchemy import ColumnElement, and_, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.link_models import LinkSessionRecord, LinkSessionStatus
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.connections.vault import Vault
from service.db import Database
from service.errors import SecretUnreadable
from service.journal import Outcome
from service.link.pending import Pending, open_pending, seal_pending
from service.link.problems import LinkProblem, SessionEnded
from service.link.records import hash_secret, is_open, note_session, open_conditions, visitor
from service.tenants.models import TenantRecord

_log = structlog.get_logger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_ID = re.compile(r"lks_[0-9a-z]{26}\Z")


@dataclass(frozen=True, slots=True)
class Visit:
    """A session, the name of the tenant that asks, and the connection that it links again or has linked, if any."""

    record: LinkSessionRecord
    tenant_name: str
    connection: ConnectionRecord | None

    @property
    def linked(self) -> ConnectionRecord | None:
        """The connection, where it still stands for its organization."""
        connection = self.connection
        return connection if connection and connection.status is not ConnectionStatus.UNLINKED else None

    @property
    def customer(self) -> str | None:
        """For whom it is, as the tenant says."""
        return self.record.name or self.record.customer_id

    @property
    def is_open(self) -> bool:
        """Whether anything can still be linked."""
        return is_open(self.record)


class Visits:
    """Reads and changes sessions on behalf of whoever holds their token or their cookie."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def find(self, token: str) -> Visit | None:
        """The session of a token, whatever became of it."""
        if not _TOKEN.match(token):
            return None
        return await self._load(col(LinkSessionRecord.token_hash) == hash_secret(token))

    async def find_bound(self, session_id: str, secret: str | None) -> Visit | None:
        """The session, for the browser that started it last."""
        if secret is None or not _ID.match(session_id):
            return None
        visit = await self._load(col(LinkSessionRecord.id) == session_id)
        return visit if visit is not None and is_browser(visit.record, secret) else None

    async def reload(self, visit: Visit) -> Visit:
        """The session as it is now."""
        return await self._load(col(LinkSessionRecord.id) == visit.record.id) or visit

    async def start(self, token: str, known: Mapping[str, str]) -> tuple[LinkSessionRecord, str] | None:
        """Bind an open session to a browser; the session and the browser's secret. None where it is not open.

        ``known`` are the secrets that the browser has, by session: it goes on where it was. Another browser takes the
        session over, and what the first one received from Sentry is forgotten: it was given by somebody else.
        """
        if not _TOKEN.match(token):
            return None
        fresh = secrets.token_urlsafe(32)

        async def work(session: AsyncSession) -> tuple[LinkSessionRecord, str] | None:
            condition = col(LinkSessionRecord.token_hash) == hash_secret(token)
            found = (await session.exec(select(LinkSessionRecord).where(condition).with_for_update())).first()
            if found is None or not is_open(found):
                return None
            secret = known.get(found.id)
            if secret is not None and is_browser(found, secret):
                return found, secret
            found.browser_hash = hash_secret(fresh)
            found.status = LinkSessionStatus.STARTED
            found.pending = found.pending_key_id = found.problem = None
            note_session(session, "link_session.start", found, actor=visitor(found))
            return found, fresh

        return await self._database.run_transaction(work)

    def open(self, record: LinkSessionRecord) -> Pending | None:
        """What was received from Sentry. What cannot be read any more is none: the person chooses a way again."""
        try:
            return open_pending(self._vault, record)
        except (SecretUnreadable, msgspec.DecodeError) as error:  # a lost key, or a row of another version of ours
            _log.warning("link_session_not_readable", session=record.id, error=type(error).__name__)
            return None

    async def store(self, record: LinkSessionRecord, pending: Pending | None) -> None:
        """Keep what was received or chosen, or forget it. Raises :class:`SessionEnded`."""
        sealed = None if pending is None else seal_pending(self._vault, record, pending)

        async def work(session: AsyncSession) -> None:
            await _change(
                session,
                record,
                pending=None if sealed is None else sealed.data,
                pending_key_id=None if sealed is None else sealed.key_id,
                problem=None,
            )

        await self._database.run_transaction(work)

    async def fail(
        self, record: LinkSessionRecord, problem: LinkProblem, *, forget: bool = False, **details: Any
    ) -> None:
        """Note why it did not work; ``forget`` drops what was received. Raises :class:`SessionEnded`."""
        values: dict[str, Any] = {"problem": problem.value}
        if forget:
            values |= {"pending": None, "pending_key_id": None}

        async def work(session: AsyncSession) -> None:
            await _change(session, record, **values)
            note_session(
                session,
                "link_session.fail",
                record,
                actor=visitor(record),
                outcome=Outcome.FAILED,
                details={"problem": problem.value, **details},
            )

        await self._database.run_transaction(work)

    async def complete(
        self, session: AsyncSession, record: LinkSessionRecord, connection: ConnectionRecord, pending: Pending
    ) -> None:
        """End the session within the transaction that links: both or neither, and once.

        Raises :class:`SessionEnded` where it ended meanwhile, or something else was received or chosen.
        """
        await _change(
            session,
            record,
            _is_unchanged(record),
            status=LinkSessionStatus.COMPLETED,
            connection_id=connection.id,
            completed_at=now(),
            pending=None,
            pending_key_id=None,
            problem=None,
        )
        note_session(
            session,
            "link_session.complete",
            record,
            actor=visitor(record),
            connection_id=connection.id,
            details={"method": pending.method.value, "origin": connection.control_origin},
        )

    async def _load(self, condition: ColumnElement[bool]) -> Visit | None:
        statement = (
            select(LinkSessionRecord, TenantRecord.name, ConnectionRecord)
            .join(TenantRecord, col(TenantRecord.id) == LinkSessionRecord.tenant_id)
            .join(
                ConnectionRecord,
                and_(
                    col(ConnectionRecord.tenant_id) == LinkSessionRecord.tenant_id,
                    or_(
                        col(ConnectionRecord.external_id) == LinkSessionRecord.external_id,
                        col(ConnectionRecord.id) == LinkSessionRecord.connection_id,
                    ),
                ),
                isouter=True,
            )
            .where(condition)
        )
        async with self._database.session() as session:
            found = (await session.exec(statement)).first()
        return None if found is None else Visit(*found)


def is_browser(record: LinkSessionRecord, secret: str) -> bool:
    """Whether the secret is that of the browser that started the session last."""
    return record.browser_hash is not None and hmac.compare_digest(record.browser_hash, hash_secret(secret))


def _is_unchanged(record: LinkSessionRecord) -> ColumnElement[bool]:
    return col(LinkSessionRecord.pending) == record.pending


async def _change(
    session: AsyncSession, record: LinkSessionRecord, *conditions: ColumnElement[bool], **values: Any
) -> None:
    """Change an open session that the same browser still holds. Raises :class:`SessionEnded` for any other."""
    changed = await session.exec(
        update(LinkSessionRecord)
        .where(
            col(LinkSessionRecord.tenant_id) == record.tenant_id,
            col(LinkSessionRecord.id) == record.id,
            col(LinkSessionRecord.browser_hash) == record.browser_hash,
            *open_conditions(),
            *conditions,
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:
        raise SessionEnded
