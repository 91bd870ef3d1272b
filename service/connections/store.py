"""Connections in the database, as a caller may see and change them."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import EllipsisType

from sqlalchemy import ColumnElement, delete, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from service.columns import now
from service.connections.cache import ConnectionCache, Linked
from service.connections.invitations import cancel_invitations
from service.connections.link_rules import Link, SealedToken, apply_link, is_same_organization, new_connection
from service.connections.models import (
    ConnectionProblem,
    ConnectionRecord,
    ConnectionStatus,
    CredentialRecord,
    IdempotencyRecord,
    RefreshIntentRecord,
    is_credential_of_connection,
)
from service.connections.problems import explain
from service.connections.stored import put_token
from service.connections.visibility import check_text, is_clean, is_visible, no_such_connection, storable, visible
from service.db import Database
from service.errors import BadInput, Conflict, NotFound
from service.events.append import NewEvent, append_event
from service.events.types import EventType
from service.ids import is_connection_id
from service.journal import note_audit
from service.sentry.profiles import Profile
from service.tasks import Coalescer
from service.tenants.caller import Caller, Role
from service.tenants.models import TenantRecord

_PAGE = 500

AlsoStore = Callable[[AsyncSession, ConnectionRecord], Awaitable[None]]
"""What else belongs to the transaction that stores a connection."""


@dataclass(frozen=True, slots=True)
class ConnectionFilter:
    """Which connections to list; all conditions hold together.

    ``name`` is a part of the name, in any case (on SQLite letters outside of ASCII match in their own case only).
    ``organization`` is a slug.
    """

    name: str | None = None
    status: ConnectionStatus | None = None
    customer_id: str | None = None
    external_id: str | None = None
    organization: str | None = None


class ConnectionStore:
    """Reads and changes connections for a caller; what the caller may not see is not there."""

    def __init__(self, database: Database, cache: ConnectionCache | None = None) -> None:
        self._database = database
        self._cache = cache or ConnectionCache()
        self._loads: Coalescer[tuple[Caller, frozenset[str], int], list[Linked]] = Coalescer()
        self._loads_ahead: Coalescer[Caller, None] = Coalescer()
        self._ageing: dict[Caller, set[str]] = {}

    async def aclose(self) -> None:
        """Break off what is read beside requests."""
        await self._loads_ahead.aclose()

    def recall(self, caller: Caller, connection_id: str) -> ConnectionRecord | None:
        """The connection, where it was read a moment ago; None says nothing of it."""
        linked = self._recall(caller, connection_id)
        return None if linked is None else linked.connection

    async def get_many(self, caller: Caller, ids: Iterable[str]) -> dict[str, ConnectionRecord]:
        """The connections of these ids, without those that are missing or not the caller's."""
        wanted = {connection_id for connection_id in ids if is_connection_id(connection_id)}
        found = {each: self._recall(caller, each) for each in wanted}
        missing = [connection_id for connection_id, linked in found.items() if linked is None]
        loaded = await self._load_ids(caller, frozenset(missing)) if missing else []
        return {linked.connection.id: linked.connection for linked in [*found.values(), *loaded] if linked}

    async def get_many_by_external_id(self, caller: Caller, external_ids: Iterable[str]) -> dict[str, ConnectionRecord]:
        """The connections of these externalIds, without those that are missing or not the caller's."""
        wanted = set(storable(external_ids))
        found = {each: self._seen(caller, self._cache.get_by_external_id(caller.tenant_id, each)) for each in wanted}
        missing = [external_id for external_id, linked in found.items() if linked is None]
        condition = col(ConnectionRecord.external_id).in_(missing)
        loaded = await self._load(_select_linked(caller, condition)) if missing else []
        return {linked.connection.external_id: linked.connection for linked in [*found.values(), *loaded] if linked}

    async def get_linked(self, caller: Caller, connection_id: str, *, fresh: bool = False) -> Linked:
        """A connection with its sealed credential; ``fresh`` reads past the cache. Raises :class:`NotFound`."""
        linked = None if fresh else self._recall(caller, connection_id)
        if linked is None and is_connection_id(connection_id):
            loaded = await self._load_ids(caller, frozenset({connection_id}), fresh=fresh)
            linked = loaded[0] if loaded else None
        if linked is None:
            raise no_such_connection()
        return linked

    async def page(
        self,
        caller: Caller,
        wanted: ConnectionFilter = ConnectionFilter(),
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
    ) -> list[ConnectionRecord]:
        """At most ``limit`` connections in the order of their ids (which is that of their birth).

        ``after`` and ``before`` are ids, exclusive. With ``before`` and without ``after`` they are the last ones.
        """

        def read() -> Awaitable[list[ConnectionRecord]]:
            return self._read_page(caller, wanted, limit, after, before)

        return await self._cache.page((caller, wanted, limit, after, before), read)

    async def _read_page(
        self, caller: Caller, wanted: ConnectionFilter, limit: int, after: str | None, before: str | None
    ) -> list[ConnectionRecord]:
        conditions = _conditions(wanted)
        if conditions is None or not is_clean(f"{after}{before}"):
            return []
        if after is not None:
            conditions.append(col(ConnectionRecord.id) > after)
        if before is not None:
            conditions.append(col(ConnectionRecord.id) < before)
        is_backward = before is not None and after is None
        order = col(ConnectionRecord.id).desc() if is_backward else col(ConnectionRecord.id).asc()
        # With their credentials: whoever lists connections often reads through them next.
        loaded = await self._load(_select_linked(caller, *conditions).order_by(order).limit(limit))
        found = [linked.connection for linked in loaded]
        return found[::-1] if is_backward else found

    async def every(self, caller: Caller) -> list[ConnectionRecord]:
        """Every connection that the caller sees, in the order of their ids."""
        found: list[ConnectionRecord] = []
        while True:
            page = await self.page(caller, limit=_PAGE, after=found[-1].id if found else None)
            found += page
            if len(page) < _PAGE:
                return found

    async def count(self, caller: Caller, wanted: ConnectionFilter = ConnectionFilter()) -> int:
        """How many connections the filter matches."""
        conditions = _conditions(wanted)
        if conditions is None:
            return 0
        statement = select(func.count()).select_from(ConnectionRecord).where(*visible(caller), *conditions)
        async with self._database.session() as session:
            return (await session.exec(statement)).one()

    async def link(
        self,
        caller: Caller,
        link: Link,
        seal: Callable[[ConnectionRecord], SealedToken],
        also: AlsoStore | None = None,
    ) -> ConnectionRecord:
        """Store a connection and its credential, replacing what its externalId already had, in one transaction.

        ``seal`` is called with the connection as it will be stored: its id and origins are what the secret is bound
        to. An externalId stands for one organization while it is linked: another one raises :class:`Conflict`. Once
        unlinked, another organization takes the externalId over as a new connection, under a new id, since users' ids
        name members of the old one. Raises :class:`Forbidden` unless the caller is an admin who sees (or, for a new
        connection, owns) it.

        ``also`` belongs to the same transaction: what it raises undoes the link.
        """
        caller.require(Role.ADMIN)

        async def work(session: AsyncSession) -> ConnectionRecord:
            found = await _find_to_replace(session, caller, link)
            connection = found or new_connection(caller, link)
            was_linked = found is not None
            moved = found is not None and _origins(connection) != (link.control_origin, link.api_origin)
            apply_link(link, connection)
            session.add(connection)
            await session.flush()
            await _store_credential(session, connection, seal(connection), await self._database.read_clock(session))
            if moved:
                await _forget_answers(session, connection)
            _note_audit(
                session,
                caller,
                "connection.relink" if was_linked else "connection.link",
                connection,
                authentication=connection.authentication.value,
                origin=connection.control_origin,
                organization=connection.organization_slug,
                profile=connection.profile.value,
            )
            if also is not None:
                await also(session, connection)
            event = EventType.RELINKED if was_linked else EventType.LINKED
            data = {"externalId": connection.external_id}  # callers are narrowed by it, too: see service.events.feed
            await append_event(session, NewEvent(connection.tenant_id, event, connection.id, data))
            return connection

        try:
            connection = await self._database.run_transaction(work)
        except IntegrityError:  # the same externalId was linked at the same time: now it is there to be replaced
            connection = await self._database.run_transaction(work)
        self._cache.forget(connection)
        return connection

    async def update(
        self,
        caller: Caller,
        connection_id: str,
        *,
        name: str | None = None,
        customer_id: str | EllipsisType | None = ...,
        profile: Profile | None = None,
    ) -> ConnectionRecord:
        """Change the name and the profile (None leaves them) and the customerId (``...`` leaves it, None removes it).

        A profile can only be narrowed: the customer agreed to no wider one. Raises :class:`NotFound`,
        :class:`Forbidden`, :class:`BadInput`.
        """

        async def change(_: AsyncSession, connection: ConnectionRecord) -> None:
            if profile is not None:
                connection.profile = _narrow(connection.profile, profile)
            if name is not None:
                connection.name = check_text("name", name)
            if not isinstance(customer_id, EllipsisType):
                connection.customer_id = None if customer_id is None else check_text("customerId", customer_id)

        return await self._change(caller, connection_id, change, action="connection.update")

    async def set_projects(
        self, caller: Caller, connection_id: str, projects: list[dict[str, str]] | None
    ) -> ConnectionRecord:
        """Limit the connection to projects ``[{"id", "slug"}]``, or to none but its organization with None.

        Nothing here asks Sentry whether they exist: see :meth:`service.connections.linking.Linker.set_projects`.
        """

        async def change(_: AsyncSession, connection: ConnectionRecord) -> None:
            connection.projects = projects

        return await self._change(caller, connection_id, change, action="connection.set_projects")

    async def unlink(self, caller: Caller, connection_id: str) -> ConnectionRecord:
        """Destroy the credential and the remembered answers at once; the connection stays, as unlinked.

        Linking again with the same externalId brings it back under the same id.
        """

        async def change(session: AsyncSession, connection: ConnectionRecord) -> None:
            await destroy_credential(session, connection)

        return await self._change(caller, connection_id, change, action="connection.unlink")

    async def _change(
        self,
        caller: Caller,
        connection_id: str,
        change: Callable[[AsyncSession, ConnectionRecord], Awaitable[None]],
        *,
        action: str,
    ) -> ConnectionRecord:
        caller.require(Role.ADMIN)
        if not is_connection_id(connection_id):
            raise no_such_connection()

        async def work(session: AsyncSession) -> ConnectionRecord:
            statement = select(ConnectionRecord).where(*visible(caller), col(ConnectionRecord.id) == connection_id)
            connection = (await session.exec(statement.with_for_update())).first()
            if connection is None:
                raise no_such_connection()
            await change(session, connection)
            connection.updated_at = now()
            _note_audit(session, caller, action, connection)
            return connection

        changed = await self._database.run_transaction(work)
        self._cache.forget(changed)
        return changed

    def _recall(self, caller: Caller, connection_id: str) -> Linked | None:
        return self._seen(caller, self._cache.get(caller.tenant_id, connection_id))

    def _seen(self, caller: Caller, cached: Linked | None) -> Linked | None:
        """What the cache gave, if the caller may see it. What is about to be forgotten is read anew beside the request.

        Where the caller may not see it, the database is asked, as for what is missing: the two take equally long so.
        """
        if cached is None or not is_visible(caller, cached.connection):
            return None
        if self._cache.is_ageing(cached):
            self._ageing.setdefault(caller, set()).add(cached.connection.id)
            self._loads_ahead.begin(caller, partial(self._load_ageing, caller))
        return cached

    async def _load_ageing(self, caller: Caller) -> None:
        """Read at once all that a request was found to use before this begins."""
        try:
            await self._load_ids(caller, frozenset(self._ageing[caller]), fresh=True)
        finally:
            del self._ageing[caller]

    async def _load_ids(self, caller: Caller, ids: frozenset[str], *, fresh: bool = False) -> list[Linked]:
        """Read once for all who miss the same in the cache at once, but for who comes after a write of ours."""

        def load() -> Awaitable[list[Linked]]:
            return self._load(_select_linked(caller, col(ConnectionRecord.id).in_(ids)))

        return await (load() if fresh else self._loads.run((caller, ids, self._cache.writes), load))

    async def _load(self, statement: Select[ConnectionRecord, CredentialRecord]) -> list[Linked]:
        writes = self._cache.writes
        async with self._database.session() as session:
            found = [Linked(connection, credential) for connection, credential in await session.exec(statement)]
        for linked in found:
            self._cache.add(linked, writes=writes)
        return found


def _select_linked(caller: Caller, *conditions: ColumnElement[bool]) -> Select[ConnectionRecord, CredentialRecord]:
    """Connections that the caller sees, each with its credential or None."""
    return (
        select(ConnectionRecord, CredentialRecord)
        .join(CredentialRecord, is_credential_of_connection(), isouter=True)
        .where(*visible(caller), *conditions)
    )


async def _find_to_replace(session: AsyncSession, caller: Caller, link: Link) -> ConnectionRecord | None:
    """The row that the link updates; None where a new one is to be made, which the caller then may."""
    found = None
    if link.external_id is not None:
        statement = select(ConnectionRecord).where(
            *visible(caller), col(ConnectionRecord.external_id) == link.external_id
        )
        found = (await session.exec(statement.with_for_update())).first()
    if found is None:
        caller.require_whole_tenant()
        if link.external_id is not None and is_connection_id(link.external_id):
            raise no_such_connection()  # it can only be meant as the id of a connection to link again
        if await session.get(TenantRecord, caller.tenant_id) is None:
            raise NotFound("There is no such tenant.", cure="Make it with `tenants create`.")
        return None
    if is_same_organization(found, link):
        return found
    if found.status != ConnectionStatus.UNLINKED:
        raise Conflict(
            f"The externalId `{link.external_id}` stands for the organization `{found.organization_slug}` at "
            f"{found.control_origin}, not for `{link.organization_slug}` at {link.control_origin}.",
            cure="Use another externalId, or unlink that connection first.",
        )
    caller.require_whole_tenant()
    await cancel_invitations(session, found)  # whoever made them may not see what takes its place
    await session.delete(found)
    await session.flush()  # before the new row takes the externalId
    return None


async def destroy_credential(session: AsyncSession, connection: ConnectionRecord) -> None:
    """Make a connection unlinked: its secrets and what is sealed to it are gone with the transaction."""
    await _end_refresh(session, connection)
    await cancel_invitations(session, connection, only_own=True)
    await session.exec(delete(CredentialRecord).where(*_belongs(CredentialRecord, connection)))
    await _forget_answers(session, connection)
    if connection.status is not ConnectionStatus.UNLINKED:
        await append_event(session, NewEvent(connection.tenant_id, EventType.UNLINKED, connection.id))
    connection.status = ConnectionStatus.UNLINKED
    connection.problem = ConnectionProblem.UNLINKED
    connection.status_reason = explain(ConnectionProblem.UNLINKED).reason
    connection.scopes = []
    connection.expires_at = None


async def _store_credential(
    session: AsyncSession, connection: ConnectionRecord, token: SealedToken, clock: datetime
) -> None:
    # Locked, or it could be sealed anew between being read and being written.
    stored = await session.get(CredentialRecord, connection.id, with_for_update=True)
    await _end_refresh(session, connection)
    credential = stored or CredentialRecord(
        connection_id=connection.id,
        tenant_id=connection.tenant_id,
        version=0,
        key_id=token.sealed.key_id,
        access_token=token.sealed.data,
        fingerprint=token.fingerprint,
        updated_at=clock,
    )
    put_token(connection, credential, token, clock)
    session.add(credential)


async def _end_refresh(session: AsyncSession, connection: ConnectionRecord) -> None:
    """A refresh that is under way finds another version, or none, and stores nothing."""
    await session.exec(delete(RefreshIntentRecord).where(*_belongs(RefreshIntentRecord, connection)))


def _note_audit(
    session: AsyncSession, caller: Caller, action: str, connection: ConnectionRecord, **details: str
) -> None:
    note_audit(
        session,
        action,
        connection.tenant_id,
        actor=caller.subject,
        connection_id=connection.id,
        details={"externalId": connection.external_id, **details},
    )


def _narrow(present: Profile, wanted: Profile) -> Profile:
    if wanted.goes_beyond(present):
        raise BadInput(
            f"The customer agreed to the profile `{present}`, which `{wanted}` goes beyond.",
            cure="Have the account linked again through a link session with that profile.",
        )
    return wanted


def _conditions(wanted: ConnectionFilter) -> list[ColumnElement[bool]] | None:
    """The filter as conditions; None where nothing can match."""
    texts = [wanted.name, wanted.customer_id, wanted.external_id, wanted.organization]
    if any(text is not None and not is_clean(text) for text in texts):
        return None
    conditions: list[ColumnElement[bool]] = []
    if wanted.name is not None:
        conditions.append(col(ConnectionRecord.name).icontains(wanted.name, autoescape=True))
    if wanted.status is not None:
        conditions.append(col(ConnectionRecord.status) == wanted.status)
    if wanted.customer_id is not None:
        conditions.append(col(ConnectionRecord.customer_id) == wanted.customer_id)
    if wanted.external_id is not None:
        conditions.append(col(ConnectionRecord.external_id) == wanted.external_id)
    if wanted.organization is not None:
        conditions.append(col(ConnectionRecord.organization_slug) == wanted.organization)
    return conditions


def _belongs(
    table: type[CredentialRecord] | type[IdempotencyRecord] | type[RefreshIntentRecord], connection: ConnectionRecord
) -> list[ColumnElement[bool]]:
    """A row of a connection that the caller was already found to see."""
    return [col(table.tenant_id) == connection.tenant_id, col(table.connection_id) == connection.id]


async def _forget_answers(session: AsyncSession, connection: ConnectionRecord) -> None:
    """Answers are sealed to the connection's origins, and an idempotency key means nothing to another Sentry."""
    await session.exec(delete(IdempotencyRecord).where(*_belongs(IdempotencyRecord, connection)))


def _origins(connection: ConnectionRecord) -> tuple[str, str]:
    return connection.control_origin, connection.api_origin
