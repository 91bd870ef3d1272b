"""Sealed rows and the keys they need: sealing all of them anew under the active key, and retiring the others.

This works on every tenant's rows, while serving: a secret is replaced only where its row still holds the very
ciphertext that was read, so that a token stored meanwhile is never overwritten. It may be killed at any point and
started again: each batch is one transaction, and a row tells by its key id whether it is left to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, tuple_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.keyring import Keyring
from service.connections.link_models import LinkSessionRecord
from service.connections.models import ConnectionRecord, CredentialRecord, IdempotencyRecord
from service.connections.receiver_models import ReceiverRecord
from service.connections.vault import (
    Binding,
    Sealed,
    Vault,
    bind_answer,
    bind_endpoint_secret,
    bind_pending,
    bind_receiver_secret,
    bind_refresh_token,
    bind_token,
)
from service.db import Database
from service.errors import Conflict, SecretUnreadable
from service.events.models import EndpointRecord


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What a rewrap did: rows sealed anew, and rows that no key opens (they are left as they are)."""

    rewrapped: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of secrets: where it is, the column that names its key, what identifies its rows, and their binding.

    ``bind`` is given a row and what it belongs to: a connection, or the id of the tenant alone.
    """

    table: (
        type[CredentialRecord]
        | type[IdempotencyRecord]
        | type[LinkSessionRecord]
        | type[ReceiverRecord]
        | type[EndpointRecord]
    )
    identity: tuple[str, ...]
    key_id: str
    secret: str
    bind: Callable[[Any, Any], Binding]
    is_of_connection: bool = True

    def at(self, name: str) -> Any:
        return getattr(self.table, name)


@dataclass(frozen=True, slots=True)
class _Row:
    identity: tuple[str, ...]
    binding: Binding
    sealed: Sealed


_COLUMNS = (
    _Column(
        CredentialRecord,
        ("tenant_id", "connection_id"),
        "key_id",
        "access_token",
        lambda _, connection: bind_token(connection),
    ),
    _Column(
        CredentialRecord,
        ("tenant_id", "connection_id"),
        "refresh_key_id",
        "refresh_token",
        lambda _, connection: bind_refresh_token(connection),
    ),
    _Column(
        IdempotencyRecord,
        ("tenant_id", "connection_id", "key"),
        "key_id",
        "answer",
        lambda answer, connection: bind_answer(connection, answer.key),
    ),
    _Column(
        LinkSessionRecord,
        ("tenant_id", "id"),
        "pending_key_id",
        "pending",
        lambda session, _: bind_pending(session),
        is_of_connection=False,
    ),
    *(
        _Column(
            ReceiverRecord,
            ("tenant_id", "id"),
            f"{which}key_id",
            f"{which}secret",
            lambda receiver, _: bind_receiver_secret(receiver),
            is_of_connection=False,
        )
        for which in ("", "previous_")
    ),
    *(
        _Column(
            EndpointRecord,
            ("tenant_id", "id"),
            f"{which}key_id",
            f"{which}secret",
            lambda endpoint, _: bind_endpoint_secret(endpoint),
            is_of_connection=False,
        )
        for which in ("", "previous_")
    ),
)


async def count_by_key(database: Database, *, tenant_id: str | None = None) -> dict[str, int]:
    """How many secrets need each key, by key id; all of them, or those of one tenant."""
    counts: dict[str, int] = {}
    async with database.session() as session:
        for column in _COLUMNS:
            key_id = column.at(column.key_id)
            statement = select(key_id, func.count()).where(key_id.is_not(None)).group_by(key_id)
            if tenant_id is not None:
                statement = statement.where(column.at("tenant_id") == tenant_id)
            for found, rows in await session.exec(statement):
                counts[found] = counts.get(found, 0) + rows
    return counts


async def missing_keys(database: Database, keyring: Keyring) -> list[str]:
    """The ids of keys that rows need and the keyring does not hold: where there are any, a process must not serve."""
    keyring.reload_if_changed()
    return sorted((await count_by_key(database)).keys() - keyring.key_ids)


async def rewrap(
    database: Database, vault: Vault, *, batch: int = 100, progress: Callable[[int, int], None] = lambda *_: None
) -> Rewrapped:
    """Seal every row anew that another key than the active one sealed.

    ``progress`` is told after each batch how many rows of a pass are done, and of how many. Passes are repeated until
    one finds nothing to do: rows may have changed meanwhile, and a process that has not noticed the new key yet may
    have sealed with an old one.
    """
    rewrapped = 0
    while True:
        done, seen = await _rewrap_once(database, vault, batch, progress)
        rewrapped += done.rewrapped
        if seen == done.unreadable:
            return Rewrapped(rewrapped, done.unreadable)


async def retire(database: Database, keyring: Keyring, key_id: str) -> None:
    """Take a key out of the keyring.

    Raises :class:`Conflict` while a row needs it, or it is the active one, and :class:`NotFound`. The rows are looked
    at again once it is out: a process that sealed with it at that very moment gets it back.
    """
    await _refuse_needed(database, key_id)
    key = keyring.remove(key_id)
    try:
        await _refuse_needed(database, key_id)
    except BaseException:
        keyring.restore(key_id, key)
        raise


async def _rewrap_once(
    database: Database, vault: Vault, batch: int, progress: Callable[[int, int], None]
) -> tuple[Rewrapped, int]:
    """One pass: what it did, and how many rows it saw."""
    active = vault.active_key_id
    total = sum(rows for key_id, rows in (await count_by_key(database)).items() if key_id != active)
    rewrapped = unreadable = seen = 0
    for column in _COLUMNS:
        after: tuple[str, ...] | None = None
        while rows := await _read(database, column, active, after, batch):
            after = rows[-1].identity
            done = await _rewrap_rows(database, vault, column, rows)
            rewrapped += done.rewrapped
            unreadable += done.unreadable
            seen += len(rows)
            progress(seen, max(total, seen))
    return Rewrapped(rewrapped, unreadable), seen


async def _refuse_needed(database: Database, key_id: str) -> None:
    rows = (await count_by_key(database)).get(key_id, 0)
    if rows:
        raise Conflict(f"{rows} stored secrets need the key `{key_id}`.", cure="Run `keys rewrap` first.")


async def _read(
    database: Database, column: _Column, active: str, after: tuple[str, ...] | None, limit: int
) -> list[_Row]:
    identity = [column.at(name) for name in column.identity]
    statement = _select(column).where(column.at(column.key_id) != active)
    if after is not None:
        statement = statement.where(tuple_(*identity) > tuple_(*after))
    rows = []
    async with database.session() as session:
        for record, owner in await session.exec(statement.order_by(*identity).limit(limit)):
            place = tuple(getattr(record, name) for name in column.identity)
            sealed = Sealed(getattr(record, column.key_id), getattr(record, column.secret))
            rows.append(_Row(place, column.bind(record, owner), sealed))
    return rows


def _select(column: _Column) -> Any:
    """Rows, each with what it belongs to."""
    tenant_id = column.at("tenant_id")
    if not column.is_of_connection:
        return select(column.table, tenant_id)
    belongs = and_(col(ConnectionRecord.tenant_id) == tenant_id, col(ConnectionRecord.id) == column.at("connection_id"))
    return select(column.table, ConnectionRecord).join(ConnectionRecord, belongs)


async def _rewrap_rows(database: Database, vault: Vault, column: _Column, rows: list[_Row]) -> Rewrapped:
    fresh: list[tuple[_Row, Sealed]] = []
    for row in rows:
        try:
            fresh.append((row, vault.seal(vault.open(row.sealed, row.binding), binding=row.binding)))
        except SecretUnreadable:
            continue  # counted by the caller's result; its connection says so when it is used

    async def work(session: AsyncSession) -> int:
        replaced = 0
        for row, sealed in fresh:
            is_unchanged = [
                *(column.at(name) == part for name, part in zip(column.identity, row.identity, strict=True)),
                column.at(column.key_id) == row.sealed.key_id,
                column.at(column.secret) == row.sealed.data,
            ]
            values = {column.key_id: sealed.key_id, column.secret: sealed.data}
            replaced += (await session.exec(update(column.table).where(*is_unchanged).values(values))).rowcount
        return replaced

    return Rewrapped(await database.run_transaction(work), len(rows) - len(fresh))
