"""Makes the requests of webhooks from one thread with kept connections, so that nobody who causes one waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from time import monotonic

import aiohttp

from service.sandbox.deliveries import Attempt, Delivery

_CONNECTIONS = 100
_KEPT_SECONDS = 2.0
"Less than servers keep an idle connection, so that none is used in the moment in which it ends."
_LINGERS = 1.0
"Seconds that the thread waits for more before it ends."
_LONGEST = 30.0
"Seconds after which a receiver that answers in drops is left, as Sentry's own workers are stopped."


class Sender:
    """Sends from a thread that lives while there is something to send.

    ``clock`` dates the attempts; ``retry_wait`` says how many seconds lie between them; ``on_change`` is called from
    the thread after whatever changes a delivery.
    """

    def __init__(
        self, clock: Callable[[], float], retry_wait: Callable[[], float], on_change: Callable[[Delivery], None]
    ) -> None:
        self._clock = clock
        self._retry_wait = retry_wait
        self._on_change = on_change
        self._lock = Lock()
        self._inbox: list[tuple[Sequence[Delivery], float]] = []
        self._is_running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def submit(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Sends soon, or after a delay in seconds; of several each after the one before it was answered."""
        with self._lock:
            self._inbox.append((deliveries, delay))
            if not self._is_running:
                self._is_running = True
                Thread(target=lambda: asyncio.run(self._run()), name="sandbox webhooks", daemon=True).start()
            elif self._loop:
                self._loop.call_soon_threadsafe(self._wake.set)

    def cancel(self) -> None:
        """Gives up all that is under way or waits."""
        with self._lock:
            self._inbox.clear()
            if self._loop:
                self._loop.call_soon_threadsafe(self._cancel_tasks)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self) -> None:
        with self._lock:
            self._wake = asyncio.Event()
            self._loop = asyncio.get_running_loop()
        # A stand-in on a loopback port may send to one with a certificate of its own.
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEPT_SECONDS, ssl=False)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while self._take(session) or await self._is_woken():
                pass

    def _take(self, session: aiohttp.ClientSession) -> bool:
        """Starts on what came in; whether anything did."""
        with self._lock:
            jobs, self._inbox = self._inbox, []
        self._wake.clear()
        for deliveries, delay in jobs:
            task = asyncio.create_task(self._send_all(session, deliveries, delay))
            self._tasks.add(task)
            task.add_done_callback(self._end_task)
        return bool(jobs)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _is_woken(self) -> bool:
        """Waits for more; False where the thread ends instead."""
        try:
            async with asyncio.timeout(None if self._tasks else _LINGERS):
                await self._wake.wait()
            return True
        except TimeoutError:
            with self._lock:
                self._is_running = bool(self._inbox)
                if not self._is_running:
                    self._loop = None
                return self._is_running

    async def _send_all(self, session: aiohttp.ClientSession, deliveries: Sequence[Delivery], delay: float) -> None:
        if delay:
            await self._rest(deliveries, delay)
        for delivery in deliveries:
            await self._send(session, delivery)

    async def _send(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        policy = delivery.policy
        for left in reversed(range(policy.retries + 1)):
            delivery.state = "sending"
            attempt = await self._try(session, delivery)
            delivery.attempts.append(attempt)
            if attempt.status is not None and attempt.status < 400:
                delivery.state = "delivered"
                break
            if not left or not policy.retries_after(attempt):
                delivery.state = "failed"
                break
            await self._rest([delivery], self._retry_wait())
        self._on_change(delivery)

    async def _rest(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        for delivery in deliveries:
            delivery.rests_until, delivery.state = monotonic() + seconds, "resting"
            self._on_change(delivery)
        await asyncio.sleep(seconds)

    async def _try(self, session: aiohttp.ClientSession, delivery: Delivery) -> Attempt:
        at, headers, seconds = self._clock(), delivery.sign(delivery.body), delivery.policy.timeout
        timeout = aiohttp.ClientTimeout(total=_LONGEST, sock_connect=seconds, sock_read=seconds)
        try:
            async with session.post(
                delivery.url, data=delivery.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return Attempt(at, headers, status=answer.status)
        except TimeoutError:
            return Attempt(at, headers, error=f"TimeoutError: no answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(at, headers, error=f"{type(error).__name__}: {error}")
