"""What was committed, told at once to whoever waits for it: in every process on PostgreSQL, in the one on SQLite.

An announcement may be lost (PostgreSQL keeps none for a listener that is away), so it says only where to look: whoever
hears it reads the tables, and reads them now and then without having heard anything.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

_CHANNEL = "sentry_graph"  # https://www.postgresql.org/docs/current/sql-notify.html
_NOTIFY = text("SELECT pg_notify(:channel, topic) FROM unnest(CAST(:topics AS text[])) AS topic")
_KEY = "announced"
_LOOK_SECONDS = 30.0  # how often the listening connection is tried
_AGAIN_SECONDS = 1.0

_log = structlog.get_logger(__name__)

Hear = Callable[[str | None], None]
"""Is told a topic, or None where some may have been missed. It must neither block nor raise."""


def announce(session: AsyncSession, topic: str) -> None:
    """Tell ``topic`` once the transaction of :meth:`service.db.Database.run_transaction` is committed.

    Equal ones of a transaction are told once. At most some hundred characters, none of them secret.
    """
    session.info.setdefault(_KEY, set()).add(topic)


class Announcer:
    """Carries the announcements of one database."""

    def __init__(self, postgres_url: str | None) -> None:
        """``postgres_url`` is None for SQLite, whose one process needs no carrier."""
        self._url = postgres_url
        self._ears: list[Hear] = []
        self._listening: asyncio.Task[None] | None = None

    async def send(self, session: AsyncSession) -> None:
        """Make the announcements part of the transaction, so that nobody hears what was undone. Before the commit."""
        if self._url is not None and (topics := sorted(session.info.pop(_KEY, ()))):
            await (await session.connection()).execute(_NOTIFY, {"channel": _CHANNEL, "topics": topics})

    def tell(self, session: AsyncSession) -> None:
        """Tell them to this process, where it is the only one. After the commit."""
        for topic in sorted(session.info.pop(_KEY, ())):
            self._tell(topic)

    @contextlib.asynccontextmanager
    async def hearing(self, hear: Hear) -> AsyncIterator[None]:
        """Call ``hear`` with each topic while the block runs."""
        self._ears.append(hear)
        if self._url is not None and self._listening is None:
            self._listening = asyncio.create_task(self._listen(self._url), name="announcements")
        try:
            yield
        finally:
            self._ears.remove(hear)
            if not self._ears and self._listening is not None:
                listening, self._listening = self._listening, None  # who begins meanwhile listens anew
                listening.cancel()
                await asyncio.wait({listening})

    def _tell(self, topic: str | None) -> None:
        for hear in list(self._ears):
            hear(topic)

    async def _listen(self, url: str) -> None:
        while True:
            try:
                await self._listen_once(url)
            except Exception as error:  # noqa: BLE001 - the next connection may do, and nobody else would hear of it
                _log.warning("announcements_lost", error=type(error).__name__)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen_once(self, url: str) -> None:
        import asyncpg  # noqa: PLC0415 - SQLite does without

        connection = await asyncpg.connect(  # type: ignore[no-untyped-call]  # asyncpg has no types
            url, timeout=10, server_settings={"application_name": "sentry-graph listener"}
        )
        is_lost = asyncio.Event()
        connection.add_termination_listener(lambda _: is_lost.set())
        try:
            await connection.add_listener(_CHANNEL, lambda *said: self._tell(said[3]))
            self._tell(None)  # whatever was announced while nobody listened
            while not is_lost.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(is_lost.wait(), _LOOK_SECONDS)
                if not is_lost.is_set():
                    await connection.execute("SELECT 1", timeout=10)
        finally:
            connection.terminate()
