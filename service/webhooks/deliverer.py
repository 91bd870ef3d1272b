"""The worker that delivers: it looks what is due, claims it, sends it, and has what came of it written down.

Woken by announcements and by due times, and looking now and then without being told. Any number of processes do this on
one PostgreSQL database. A receiver that is slow, or hostile, delays nobody else (:mod:`service.webhooks.places`).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.connections.vault import Vault
from service.db import Database
from service.errors import SecretUnreadable, StorageUnavailable
from service.events.append import DELIVERIES, may_have
from service.tasks import repeating
from service.webhooks.answers import Answer, Problem
from service.webhooks.claiming import Claim, Claims
from service.webhooks.message import build_message
from service.webhooks.places import OF_ENDPOINT, Places
from service.webhooks.secrets import open_secrets
from service.webhooks.sending import Sender
from service.webhooks.settling import Attempt, Fate, Settler

LEASE_SECONDS = 30.0
"""How long a claim holds: longer than sending may take, and than writing down what came of it usually does."""

_LOOK_SECONDS = 5.0
_REST_SECONDS = 0.05  # between two looks, so that what comes meanwhile is claimed together
_AGAIN_SECONDS = 1.0  # after a look that failed
_SETTLE_SECONDS = 60.0  # for an outcome to be written, while the database is away
_GRACE_SECONDS = 5.0  # for what is being sent when the process ends
_COUNT_SECONDS = 15.0


class DeliveryObserver(Protocol):
    """Is told what happens. Its methods must not block."""

    def delivery(self, outcome: str, seconds: float) -> None:
        """An attempt has ended: a word of :class:`Fate`, and the seconds since the delivery was planned."""

    def deliveries_pending(self, count: int) -> None:
        """So much is to be delivered, due or not; what is beyond 100 000 is not counted."""


_log = structlog.get_logger(__name__)


class Deliverer:
    """Delivers events of all tenants. One for each process. ``grace`` are the seconds for what is sent at its end."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        vault: Vault,
        observer: DeliveryObserver,
        *,
        grace: float = _GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._claims = Claims(database, lease_seconds=LEASE_SECONDS)
        self._settler = Settler(database)
        self._sender = sender
        self._vault = vault
        self._observer = observer
        self._grace = grace
        self._woken = asyncio.Event()
        self._is_ending = False
        self._sending: set[asyncio.Task[None]] = set()
        self._places = Places()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the block runs. At its end nothing more is claimed, and what is being sent ends soon.

        Raises :class:`StorageUnavailable` at the beginning.
        """
        await self._claims.release()
        async with self._database.hearing(self._hear), repeating(self._count, _COUNT_SECONDS):
            running = asyncio.create_task(self._run(), name="deliveries")
            try:
                yield
            finally:
                self._is_ending = True
                self._woken.set()
                await running
                await self._end()

    def _hear(self, topic: str | None) -> None:
        if topic in (DELIVERIES, None):
            self._woken.set()

    async def _run(self) -> None:
        while not self._is_ending:
            self._woken.clear()
            try:
                wait = await self._look()
            except StorageUnavailable as error:
                _log.warning("deliveries_not_looked_for", code=error.code)
                wait = _AGAIN_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever it is, deliveries go on
                _log.error("deliveries_not_looked_for", exc_info=error)
                wait = _AGAIN_SECONDS
            await asyncio.sleep(_REST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _look(self) -> float:
        """Begin to send what is due and has a place; the seconds after which to look again."""
        queues = await self._claims.queues(OF_ENDPOINT)
        wanted = self._places.allot([queue for queue in queues if queue.is_enabled and queue.due])
        for claim in await self._claims.claim(wanted) if wanted else ():
            self._begin(claim)
        disabled = [queue.endpoint_id for queue in queues if not queue.is_enabled]
        if disabled:  # some of one at a time: what is due elsewhere waits meanwhile
            await self._claims.bury(random.choice(disabled))  # noqa: S311 - a lot
        waits = [queue.wait for queue in queues if queue.is_enabled and not queue.due]
        return min([*waits, _AGAIN_SECONDS if disabled else _LOOK_SECONDS])

    def _begin(self, claim: Claim) -> None:
        task = asyncio.create_task(self._deliver(claim), name="delivery")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        self._places.take(claim.endpoint.id, claim.endpoint.tenant_id)

    async def _deliver(self, claim: Claim) -> None:
        began = time.monotonic()
        answer = await self._send(claim)
        attempt = Attempt(claim, answer, milliseconds=round((time.monotonic() - began) * 1000))
        self._places.leave(claim.endpoint.id, claim.endpoint.tenant_id)
        self._places.judge(claim.endpoint.id, answer, attempt.milliseconds)
        if self._places.is_short:
            self._woken.set()
        fate = await self._settle(attempt)
        self._observer.delivery(fate, (attempt.ended_at - claim.planned_at).total_seconds())
        if fate is not Fate.DELIVERED:
            _log.debug(  # each is in the delivery log
                "delivery_failed",
                tenant_id=claim.endpoint.tenant_id,
                endpoint_id=claim.endpoint.id,
                delivery_id=claim.delivery_id,
                attempt=claim.attempt,
                problem=answer.word,
                outcome=fate.value,
            )

    async def _send(self, claim: Claim) -> Answer:
        if not may_have(claim.endpoint, claim.event):  # it was limited since the delivery was planned
            return Answer(problem=Problem.OTHER_CONNECTION)
        try:
            message = build_message(
                claim.event,
                claim.endpoint.payload,
                claim.names,
                signing=open_secrets(self._vault, claim.endpoint, claim.clock),
                attempt=claim.attempt,
                timestamp=int(claim.clock.timestamp()),
            )
            return await self._sender.send(claim.endpoint.url, message)
        except SecretUnreadable:
            return Answer(problem=Problem.SECRET_UNREADABLE)
        except asyncio.CancelledError:  # the process ends: what is known of the attempt is still written down
            if task := asyncio.current_task():
                task.uncancel()
            return Answer(problem=Problem.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - one that goes wrong must not be tried for ever, nor unseen
            _log.error("delivery_failed", delivery_id=claim.delivery_id, exc_info=error)
            return Answer(problem=Problem.INTERNAL)

    async def _settle(self, attempt: Attempt) -> Fate:
        """Insist for a while: what is not written down is sent again once the claim is over."""
        ends = time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                return await self._settler.settle(attempt)
            except (StorageUnavailable, SQLAlchemyError) as error:
                _log.warning("delivery_not_settled", delivery_id=attempt.claim.delivery_id, error=type(error).__name__)
                if self._is_ending or time.monotonic() > ends:
                    return Fate.LOST
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _end(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._grace)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._settler.drain()
        await self._sender.aclose()

    async def _count(self) -> None:
        try:
            self._observer.deliveries_pending(await self._claims.count_pending())
        except StorageUnavailable as error:
            _log.warning("deliveries_not_counted", code=error.code)
