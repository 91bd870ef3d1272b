"""Tenants and their API keys in the database. Whatever belongs to a tenant is asked for with its id."""

import re
from collections.abc import Collection
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.columns import now
from service.db import Database
from service.errors import BadInput, Conflict, NotFound
from service.ids import is_connection_id, new_id
from service.journal import note_audit
from service.tenants.caller import COMMAND_LINE, NARROWED_TO_AT_MOST, Role
from service.tenants.keys import digest_key, new_key
from service.tenants.models import ApiKeyRecord, TenantRecord

_TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")


class TenantStore:
    """Creates, lists and revokes. Raises :class:`service.errors.StorageUnavailable` where the database is down.

    ``actor`` is whom the audit log names: a caller's subject, or the command line.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_tenant(
        self, name: str, *, tenant_id: str | None = None, actor: str = COMMAND_LINE
    ) -> TenantRecord:
        """A new tenant; an id of one's own is for JWTs, whose issuer names the tenant.

        Raises :class:`BadInput`, and :class:`Conflict` where the id is taken.
        """
        if tenant_id is not None and not _TENANT_ID.match(tenant_id):
            raise BadInput("A tenant's id has 1 to 64 letters, digits, and . _ : - after the first.")
        tenant = TenantRecord(id=tenant_id or new_id("ten"), name=_check_name(name), created_at=now())
        async with self._database.session() as session:
            session.add(tenant)
            try:
                await session.flush()  # before the entry that belongs to it
                note_audit(session, "tenant.create", tenant.id, actor=actor, details={"name": tenant.name})
                await session.commit()
            except IntegrityError:
                raise Conflict(f"There is a tenant with the id {tenant.id}.") from None
        return tenant

    async def list_tenants(self) -> list[TenantRecord]:
        """All tenants, oldest first."""
        async with self._database.session() as session:
            found = await session.exec(
                select(TenantRecord).order_by(col(TenantRecord.created_at), col(TenantRecord.id))
            )
            return list(found)

    async def get_tenant(self, tenant_id: str) -> TenantRecord:
        """One tenant. Raises :class:`NotFound`."""
        async with self._database.session() as session:
            return await _get_tenant(session, tenant_id)

    async def create_key(
        self,
        tenant_id: str,
        *,
        name: str,
        role: Role,
        pepper: bytes,
        connection_ids: Collection[str] | None = None,
        external_ids: Collection[str] | None = None,
        expires_at: datetime | None = None,
        actor: str = COMMAND_LINE,
    ) -> tuple[ApiKeyRecord, str]:
        """A new key's record, and the key itself, which cannot be read again.

        ``connection_ids`` and ``external_ids`` narrow it as in :class:`service.tenants.caller.Caller`; an empty
        collection narrows it to nothing. Raises :class:`BadInput` and :class:`NotFound`.
        """
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now()):
            raise BadInput("A key expires in the future; give the time with its offset, as 2030-01-31T00:00:00Z.")
        if any(not is_connection_id(each) for each in connection_ids or ()):
            raise BadInput("A connection's id looks like con_ and 26 letters and digits.")
        if any(not _is_text(each) for each in external_ids or ()):
            raise BadInput("An externalId has 1 to 200 printable characters.")
        key = new_key()
        record = ApiKeyRecord(
            id=new_id("key"),
            tenant_id=tenant_id,
            name=_check_name(name),
            prefix=key.prefix,
            digest=digest_key(key.shown, pepper),
            role=role,
            connection_ids=_narrowing(connection_ids),
            external_ids=_narrowing(external_ids),
            created_at=now(),
            expires_at=expires_at,
        )
        async with self._database.session() as session:
            await _get_tenant(session, tenant_id)
            session.add(record)
            _note_key(session, "api_key.create", record, actor)
            await session.commit()
        return record, key.shown

    async def list_keys(self, tenant_id: str) -> list[ApiKeyRecord]:
        """A tenant's keys, revoked ones too, oldest first."""
        async with self._database.session() as session:
            found = await session.exec(
                select(ApiKeyRecord)
                .where(ApiKeyRecord.tenant_id == tenant_id)
                .order_by(col(ApiKeyRecord.created_at), col(ApiKeyRecord.id))
            )
            return list(found)

    async def revoke_key(self, tenant_id: str, key_id: str, *, actor: str = COMMAND_LINE) -> ApiKeyRecord:
        """Revoke a key, at once and for good; a second time changes nothing.

        Raises :class:`NotFound` for a key that is missing or another tenant's.
        """
        async with self._database.session() as session:
            found = await session.exec(
                select(ApiKeyRecord).where(ApiKeyRecord.id == key_id, ApiKeyRecord.tenant_id == tenant_id)
            )
            key = found.one_or_none()
            if key is None:
                raise NotFound("There is no such API key.")
            if key.revoked_at is None:
                key.revoked_at = now()
                _note_key(session, "api_key.revoke", key, actor)
                await session.commit()
            return key


def _note_key(session: AsyncSession, action: str, key: ApiKeyRecord, actor: str) -> None:
    details = {
        "apiKey": key.id,
        "name": key.name,
        "role": key.role.value,
        "isNarrowed": key.connection_ids is not None or key.external_ids is not None,
    }
    note_audit(session, action, key.tenant_id, actor=actor, details=details)


async def _get_tenant(session: AsyncSession, tenant_id: str) -> TenantRecord:
    tenant = await session.get(TenantRecord, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def _check_name(name: str) -> str:
    stripped = name.strip()
    if not _is_text(stripped):
        raise BadInput("A name has 1 to 200 printable characters.")
    return stripped


def _is_text(text: str) -> bool:
    return 1 <= len(text) <= 200 and text.isprintable()


def _narrowing(names: Collection[str] | None) -> list[str] | None:
    if names is not None and len(names) > NARROWED_TO_AT_MOST:
        raise BadInput(f"A key is narrowed to {NARROWED_TO_AT_MOST} connections at most.")
    return None if names is None else sorted(set(names))
