"""Writes that carry an idempotency key: each is sent once, and its answer is kept for a day.

=====================================  ================================================
what is found under the key            what the caller gets
=====================================  ================================================
nothing, or older than a day           the write is sent
another request                        :class:`IdempotencyKeyReused`
an answer                              that answer, with ``idempotent-replayed: true``
no answer, begun a moment ago          :class:`InProgress`
no answer, begun long ago, or lost     :class:`OutcomeUnknown`: never a second write
=====================================  ================================================

A write that is known not to have happened gives its key back: whatever failed before it was sent, and the refusals in
``_NOT_CARRIED_OUT``, which pass without the request being changed.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from service.columns import now
from service.connections.idempotency import IdempotencyStore
from service.connections.models import ConnectionRecord, IdempotencyRecord
from service.connections.vault import Sealed, Vault, bind_answer
from service.connections.visibility import check_text
from service.errors import (
    IdempotencyKeyReused,
    InProgress,
    OutcomeUnknown,
    ServiceError,
    StorageUnavailable,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTooLarge,
)
from service.sentry.calls import Response
from service.sentry.links import NO_LINKS
from service.tenants.caller import Caller

KEPT_FOR = timedelta(hours=24)
LONGEST_KEPT_BODY = 256 * 1024
"""Bytes of an answer's body that are kept; of a longer one only the status is."""

REPLAYED = "idempotent-replayed"
BODY_DROPPED = "idempotent-body-dropped"
_NOT_CARRIED_OUT = frozenset({401, 403, 408, 425, 429})

_log = structlog.get_logger(__name__)


class _Kept(msgspec.Struct, array_like=True):
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class KeyedWrite:
    """A write under a key. ``request_hash`` is that of :func:`hash_request`; ``send`` sends it."""

    key: str
    request_hash: str
    send: Callable[[], Awaitable[Response]]


def hash_request(*parts: str | bytes | None) -> str:
    """64 hex digits that differ for different requests, as every part is hashed with its length and kind."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"-" if data is None else b"%d:%b" % (len(data), data))
    return digest.hexdigest()


class Idempotency:
    """Sends keyed writes once. ``running`` is longer than any write can take."""

    def __init__(self, store: IdempotencyStore, vault: Vault, *, running: timedelta) -> None:
        self._store = store
        self._vault = vault
        self._running = running
        self._tasks: set[asyncio.Task[Response]] = set()

    async def send_once(self, caller: Caller, connection: ConnectionRecord, write: KeyedWrite) -> Response:
        """Send a write, or give its kept answer, as the table above says.

        Once begun it is finished and remembered, also where the caller has gone. Raises :class:`BadInput` for a key
        that cannot be stored, and what sending raises.
        """
        check_text("idempotencyKey", write.key)
        task = asyncio.create_task(self._claim_and_send(caller, connection, write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_retrieve)  # nobody is left to be told of its error
            raise

    async def purge(self) -> int:
        """Forget every tenant's answers that are older than a day; returns how many."""
        return await self._store.delete_older(now() - KEPT_FOR)

    async def aclose(self) -> None:
        """Wait for the writes that still run."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _claim_and_send(self, caller: Caller, connection: ConnectionRecord, write: KeyedWrite) -> Response:
        found = await self._store.claim(
            caller, connection.id, write.key, request_hash=write.request_hash, forgotten=now() - KEPT_FOR
        )
        if found is not None:
            return self._replay(connection, found, write)
        try:
            response = await write.send()
        except BaseException as error:
            lost = _as_lost(error)
            if lost is None:
                await self._store.release(caller, connection.id, write.key)
                raise
            await self._remember(caller, connection, write.key, None)
            raise lost from error
        if response.status in _NOT_CARRIED_OUT:
            await self._store.release(caller, connection.id, write.key)
        else:
            await self._remember(caller, connection, write.key, response)
        return response

    async def _remember(
        self, caller: Caller, connection: ConnectionRecord, key: str, response: Response | None
    ) -> None:
        """Where the database is down the row stays without an answer, and so its outcome unknown."""
        try:
            await self._store.finish(
                caller,
                connection.id,
                key,
                status=response.status if response else None,
                answer=self._seal(connection, key, response) if response else None,
            )
        except StorageUnavailable as error:
            _log.warning("idempotent_answer_not_kept", connection_id=connection.id, error=error.message)

    def _seal(self, connection: ConnectionRecord, key: str, response: Response) -> Sealed:
        body = response.body if len(response.body) <= LONGEST_KEPT_BODY else None
        headers = {name: value for name, value in response.headers.items() if name in {"content-type", "location"}}
        return self._vault.seal(msgspec.msgpack.encode(_Kept(headers, body)), binding=bind_answer(connection, key))

    def _replay(self, connection: ConnectionRecord, found: IdempotencyRecord, write: KeyedWrite) -> Response:
        if found.request_hash != write.request_hash:
            raise IdempotencyKeyReused("This idempotency key was used for another request.")
        if found.finished_at is None and found.started_at > now() - self._running:
            raise InProgress("A request with this idempotency key is still running.")
        if found.status is None or found.answer is None or found.key_id is None:
            raise OutcomeUnknown("The answer to the request with this idempotency key was lost: it may have happened.")
        opened = self._vault.open(Sealed(found.key_id, found.answer), bind_answer(connection, found.key))
        kept = msgspec.msgpack.decode(opened, type=_Kept)
        dropped = {BODY_DROPPED: "true"} if kept.body is None else {}
        return Response(
            status=found.status,
            headers=kept.headers | {REPLAYED: "true"} | dropped,
            body=kept.body or b"",
            links=NO_LINKS,
            rate_limit=None,
        )


def _as_lost(error: BaseException) -> BaseException | None:
    """What to raise where the write may have happened; None where it is known not to have."""
    if isinstance(error, OutcomeUnknown) or not isinstance(error, ServiceError):
        return error  # what is not ours says nothing about what was sent
    if not isinstance(error, UpstreamError):
        return None
    if isinstance(error, UpstreamInvalid | UpstreamTooLarge) or (error.upstream_status or 0) >= 500:
        return OutcomeUnknown(
            f"The write was sent, and no usable answer came: {error.message}",
            upstream_status=error.upstream_status,
            request_id=error.request_id,
        )
    return None


def _retrieve(task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        task.exception()
