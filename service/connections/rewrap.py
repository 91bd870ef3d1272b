"""Sealed rows and the keys they need: sealing all of them anew under the active key, and retiring the others.

This works on every tenant's rows, while serving: a row is replaced only where it still holds the very ciphertext that
was read, so that a token stored meanwhile is never overwritten. It may be killed at any point and started again: each
batch is one transaction, and a row tells by its key id whether it is left to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, tuple_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.connections.keyring import Keyring
from service.connections.models import ConnectionRecord, CredentialRecord, IdempotencyRecord
from service.connections.vault import Binding, Sealed, Vault, bind_answer, bind_token
from service.db import Database
from service.errors import Conflict, SecretUnreadable


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What a rewrap did: rows sealed anew, and rows that no key opens (they are left as they are)."""

    rewrapped: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of secrets: where it is, what identifies its rows, and what they are bound to."""

    table: type[CredentialRecord] | type[IdempotencyRecord]
    identity: tuple[str, ...]
    secret: str
    bind: Callable[[ConnectionRecord, tuple[str, ...]], Binding]

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
        "access_token",
        lambda connection, _: bind_token(connection),
    ),
    _Column(
        IdempotencyRecord,
        ("tenant_id", "connection_id", "key"),
        "answer",
        lambda connection, identity: bind_answer(connection, identity[-1]),
    ),
)


async def count_by_key(database: Database) -> dict[str, int]:
    """How many rows need each key, by key id."""
    counts: dict[str, int] = {}
    async with database.session() as session:
        for column in _COLUMNS:
            key_id = column.at("key_id")
            statement = select(key_id, func.count()).where(key_id.is_not(None)).group_by(key_id)
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
    key_id, secret = column.at("key_id"), column.at(column.secret)
    belongs = and_(
        col(ConnectionRecord.tenant_id) == column.table.tenant_id,
        col(ConnectionRecord.id) == column.table.connection_id,
    )
    statement = select(column.table, ConnectionRecord).join(ConnectionRecord, belongs).where(key_id != active)
    if after is not None:
        statement = statement.where(tuple_(*identity) > tuple_(*after))
    rows = []
    async with database.session() as session:
        for record, connection in await session.exec(statement.order_by(*identity).limit(limit)):
            place = tuple(getattr(record, name) for name in column.identity)
            sealed = Sealed(getattr(record, key_id.key), getattr(record, secret.key))
            rows.append(_Row(place, column.bind(connection, place), sealed))
    return rows


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
                column.at("key_id") == row.sealed.key_id,
                column.at(column.secret) == row.sealed.data,
            ]
            values = {"key_id": sealed.key_id, column.secret: sealed.data}
            replaced += (await session.exec(update(column.table).where(*is_unchanged).values(values))).rowcount
        return replaced

    return Rewrapped(await database.run_transaction(work), len(rows) - len(fresh))
