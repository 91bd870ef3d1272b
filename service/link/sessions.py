"""Link sessions as their tenant sees them: made, shown, found again, cancelled."""

import base64
import hashlib
import hmac
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.connections.clients import Clients
from service.connections.invitations import SERVICE
from service.connections.keyring import Keyring
from service.connections.link_models import LinkAttemptRecord, LinkSessionRecord, LinkSessionStatus
from service.connections.models import ConnectionRecord
from service.connections.visibility import LONGEST_TEXT, is_clean, no_such_connection, visible
from service.db import Database
from service.errors import Conflict, LinkPageUnavailable, NotFound
from service.ids import is_connection_id, new_id
from service.link.records import hash_secret, note_session, open_conditions
from service.link.rules import LONGEST, LinkSessionRequest, check_request, find_methods
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.tenants.caller import Caller, Role
from service.tenants.models import TenantRecord

KEPT = timedelta(days=30)
"""How long a session that ended without a link is still shown."""

_LASTS = timedelta(days=1)


class LinkSessions:
    """Makes and reads link sessions. Where ``public_url`` is None there are none: :class:`LinkPageUnavailable`."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        public_url: str | None,
        clients: Clients,
        policy: EgressPolicy,
    ) -> None:
        self._database = database
        self._key = keyring.derive("link session")
        self._public_url = None if public_url is None else public_url.rstrip("/")
        self._clients = clients
        self._policy = policy

    async def create(self, caller: Caller, request: LinkSessionRequest) -> LinkSessionRecord:
        """Make a session for a customer to link by.

        A narrowed caller makes one for a connection that it sees, and for no other. Raises :class:`Forbidden`,
        :class:`NotFound`, :class:`BadInput`, :class:`EgressRefused`, :class:`LinkPageUnavailable`.
        """
        caller.require(Role.ADMIN)
        if request.external_id is None:
            caller.require_whole_tenant()
        self._require_page()
        checked = check_request(request, self._clients, self._policy)

        async def work(session: AsyncSession) -> LinkSessionRecord:
            await _check_target(session, caller, checked.external_id)
            made = self._build(
                caller.tenant_id,
                checked.external_id,
                created_by=caller.subject[:LONGEST_TEXT],
                customer_id=checked.customer_id,
                name=checked.name,
                redirect_uri=checked.redirect_uri,
                allowed_origins=list(checked.allowed_origins),
                methods=[method.value for method in checked.methods or ()],
                profile=checked.profile,
                origin=checked.origin,
                organization=checked.organization,
                projects=None if checked.projects is None else list(checked.projects),
                is_narrowed=caller.is_narrowed,
                lifetime=checked.expires_in,
            )
            session.add(made)
            note_session(session, "link_session.create", made, actor=caller.subject, details={"origin": made.origin})
            return made

        return await self._database.run_transaction(work)

    async def get(self, caller: Caller, session_id: str) -> LinkSessionRecord:
        """A session. Raises :class:`NotFound`, for foreign ones alike."""
        caller.require(Role.ADMIN)
        if not _is_storable(session_id):
            raise _no_such_session()
        statement = select(LinkSessionRecord).where(*_visible(caller), col(LinkSessionRecord.id) == session_id)
        async with self._database.session() as session:
            found = (await session.exec(statement)).first()
        if found is None:
            raise _no_such_session()
        return found

    async def find_open(self, caller: Caller, external_id: str) -> LinkSessionRecord | None:
        """The newest session by which a connection can be linked at present, if there is one."""
        caller.require(Role.ADMIN)
        if not _is_storable(external_id):
            return None
        async with self._database.session() as session:
            return await _find_open(session, [*_visible(caller), col(LinkSessionRecord.external_id) == external_id])

    async def find_open_by_external_ids(
        self, caller: Caller, external_ids: Collection[str]
    ) -> dict[str, LinkSessionRecord]:
        """The same for many connections at once, by externalId; those without a session are absent."""
        caller.require(Role.ADMIN)
        wanted = [text for text in external_ids if _is_storable(text)]
        conditions = [*_visible(caller), *open_conditions(), col(LinkSessionRecord.external_id).in_(wanted)]
        statement = select(LinkSessionRecord).where(*conditions).order_by(col(LinkSessionRecord.id))
        async with self._database.session() as session:
            return {str(found.external_id): found for found in await session.exec(statement)}  # the newest comes last

    async def cancel(self, caller: Caller, session_id: str) -> LinkSessionRecord:
        """End a session, so that nothing can be linked by it. One that has ended already stays as it is.

        Raises :class:`NotFound`, and :class:`Conflict` for a completed one.
        """
        caller.require(Role.ADMIN)
        if not _is_storable(session_id):
            raise _no_such_session()

        async def work(session: AsyncSession) -> LinkSessionRecord:
            statement = select(LinkSessionRecord).where(*_visible(caller), col(LinkSessionRecord.id) == session_id)
            found = (await session.exec(statement.with_for_update())).first()
            if found is None:
                raise _no_such_session()
            if found.status is LinkSessionStatus.COMPLETED:
                raise Conflict("The session has linked an account already.", cure="Unlink its connection.")
            if found.status is not LinkSessionStatus.CANCELED:
                found.status = LinkSessionStatus.CANCELED
                found.pending = found.pending_key_id = None
                note_session(session, "link_session.cancel", found, actor=caller.subject)
            return found

        return await self._database.run_transaction(work)

    async def create_for_reauth(self, session: AsyncSession, connection: ConnectionRecord) -> LinkSessionRecord | None:
        """A session to link a connection again by, within the transaction that finds it in need of one.

        One that stays open for a day at least is used again. A new one goes where the connection's last one went, and
        asks for what the connection is for. None where there is no page.
        """
        if self._public_url is None:
            return None
        of_connection = [
            col(LinkSessionRecord.tenant_id) == connection.tenant_id,
            col(LinkSessionRecord.external_id) == connection.external_id,
        ]
        lasts = col(LinkSessionRecord.expires_at) > now() + _LASTS
        found = await _find_open(session, [*of_connection, lasts])
        if found is not None:
            return found
        last = await _find_last_completed(session, connection)
        origin = Origin.parse(connection.control_origin)
        possible = find_methods(self._clients, origin)
        kept = [method.value for method in possible if last is None or method.value in last.methods]
        made = self._build(
            connection.tenant_id,
            connection.external_id,
            created_by=SERVICE,
            customer_id=connection.customer_id,
            name=None if last is None else last.name,
            redirect_uri=None if last is None else last.redirect_uri,
            allowed_origins=[] if last is None else list(last.allowed_origins),
            methods=kept or [method.value for method in possible],
            profile=connection.profile,
            origin=origin.url,
            organization=None,
            projects=None,
            is_narrowed=True,
            lifetime=LONGEST,  # nobody asked for it, so nobody waits for it
        )
        session.add(made)
        note_session(session, "link_session.create", made, actor=SERVICE, details={"origin": made.origin})
        return made

    def url(self, record: LinkSessionRecord) -> str:
        """The address to send to the customer. Whoever has it can link by it."""
        return f"{self._require_page()}/link/start/{self.token(record.id)}"

    def token(self, session_id: str) -> str:
        """The session's token: 256 bits.

        It is derived, so that the address can be shown again and still is not in the database.
        """
        digest = hmac.new(self._key, session_id.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def purge(self) -> None:
        """Forget what is over: secrets of sessions that expired, ways that were begun, sessions that linked nothing."""

        async def work(session: AsyncSession) -> None:
            present = now()
            expired = col(LinkSessionRecord.expires_at) <= present
            await session.exec(
                update(LinkSessionRecord)
                .where(expired, col(LinkSessionRecord.pending).is_not(None))
                .values(pending=None, pending_key_id=None)
            )
            await session.exec(
                delete(LinkAttemptRecord).where(col(LinkAttemptRecord.expires_at) <= present - timedelta(days=1))
            )
            await session.exec(
                delete(LinkSessionRecord).where(
                    col(LinkSessionRecord.expires_at) <= present - KEPT,
                    col(LinkSessionRecord.status) != LinkSessionStatus.COMPLETED,
                )
            )

        await self._database.run_transaction(work)

    def _build(
        self, tenant_id: str, external_id: str | None, *, lifetime: timedelta, **columns: Any
    ) -> LinkSessionRecord:
        session_id, created = new_id("lks"), now()
        return LinkSessionRecord(
            id=session_id,
            tenant_id=tenant_id,
            external_id=external_id,
            token_hash=hash_secret(self.token(session_id)),
            status=LinkSessionStatus.CREATED,
            created_at=created,
            expires_at=created + lifetime,
            **columns,
        )

    def _require_page(self) -> str:
        if self._public_url is None:
            raise LinkPageUnavailable("This service has no link page.")
        return self._public_url


def _visible(caller: Caller) -> list[ColumnElement[bool]]:
    """The tenant's sessions; to a narrowed caller those of connections that it sees."""
    conditions: list[ColumnElement[bool]] = [col(LinkSessionRecord.tenant_id) == caller.tenant_id]
    if caller.is_narrowed:
        seen = select(ConnectionRecord.external_id).where(*visible(caller))
        conditions.append(col(LinkSessionRecord.external_id).in_(seen))
    return conditions


async def _check_target(session: AsyncSession, caller: Caller, external_id: str | None) -> None:
    """Raise :class:`NotFound` for a connection that must be there, and is not or is not the caller's."""
    if external_id is not None and (caller.is_narrowed or is_connection_id(external_id)):
        statement = select(ConnectionRecord.id).where(
            *visible(caller), col(ConnectionRecord.external_id) == external_id
        )
        if (await session.exec(statement)).first() is None:
            raise no_such_connection()
    if await session.get(TenantRecord, caller.tenant_id) is None:
        raise NotFound("There is no such tenant.", cure="Make it with `tenants create`.")


async def _find_open(session: AsyncSession, conditions: list[ColumnElement[bool]]) -> LinkSessionRecord | None:
    statement = (
        select(LinkSessionRecord).where(*conditions, *open_conditions()).order_by(col(LinkSessionRecord.id).desc())
    )
    return (await session.exec(statement.limit(1))).first()


async def _find_last_completed(session: AsyncSession, connection: ConnectionRecord) -> LinkSessionRecord | None:
    """By the connection, since a session that made it named no externalId."""
    statement = (
        select(LinkSessionRecord)
        .where(
            col(LinkSessionRecord.tenant_id) == connection.tenant_id,
            col(LinkSessionRecord.connection_id) == connection.id,
            col(LinkSessionRecord.status) == LinkSessionStatus.COMPLETED,
        )
        .order_by(col(LinkSessionRecord.completed_at).desc())
        .limit(1)
    )
    return (await session.exec(statement)).first()


def _is_storable(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and is_clean(text)


def _no_such_session() -> NotFound:
    """The one answer for a session that is missing and for one that is not the caller's."""
    return NotFound("There is no such link session.")
