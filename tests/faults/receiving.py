"""Real services that take webhooks, a sender that tries again as Sentry does, and what must hold of what is stored."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlmodel import col, select

from service.columns import now
from service.connections.keyring import Keyring
from service.connections.repair_models import RepairRecord
from service.db import Database
from service.events.models import DeliveryRecord, EndpointPayload, EndpointRecord, EndpointStatus, EventRecord
from service.settings import PREFIX
from tests.connections.factory import add_tenant
from tests.webhooks.receiving import PUBLIC_URL, SECRET, Receiving, issue, signed

NOWHERE = "https://127.0.0.1:9"
"""A private address, which is never called."""

CHILD = Path(__file__).with_name("receiving_child.py")


@dataclass
class Nursery:
    """A process that forks services, one after the other, which all listen at ``url``."""

    process: Process
    url: str

    async def start(self) -> int:
        """Start a service; its process id. It listens already."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"start\n")
        return int(await self._read_line())

    async def ended(self) -> int:
        """How the service ended, once it has."""
        return int(await self._read_line())

    async def stop(self, service: int) -> None:
        os.kill(service, signal.SIGTERM)
        assert await self.ended() in {0, -signal.SIGTERM}

    async def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        assert line, "a service of the test did not start; see its messages above"
        return line


@contextlib.asynccontextmanager
async def nursing(database_url: str, keyring_file: Path) -> AsyncIterator[Nursery]:
    ours = {
        "DATABASE_URL": database_url,
        "KEYRING_FILE": str(keyring_file),
        "PUBLIC_URL": PUBLIC_URL,
        "REPAIR_SECONDS": "0",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = inherited | {f"{PREFIX}{name}": value for name, value in ours.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        env=environment | {"PYTHONPATH": str(CHILD.parents[2])},
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,  # what it forks belongs to it
    )
    nursery = Nursery(process, "")
    try:
        nursery.url = f"http://127.0.0.1:{await nursery._read_line()}"
        yield nursery
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@dataclass
class Sender:
    """Sends webhooks to a receiver, and again what was not acknowledged."""

    http: httpx.AsyncClient
    path: str
    sent: Counter[bytes] = field(default_factory=Counter)
    acknowledged: set[bytes] = field(default_factory=set)
    waiting: list[bytes] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    number: int = 0

    def fresh(self) -> bytes:
        """A webhook that was never sent."""
        self.number += 1
        return issue(self.number)

    async def send(self, body: bytes, crash: str = "") -> int | None:
        """The status of the answer, None where there is none. What is not acknowledged waits to be sent again."""
        self.sent[body] += 1
        headers = signed(body, SECRET, "issue") | ({"x-crash": crash} if crash else {})
        status = None
        try:
            status = (await self.http.post(self.path, content=body, headers=headers)).status_code
            self.statuses[status] += 1
        except httpx.TransportError:
            pass
        finally:
            if status == 200:
                self.acknowledged.add(body)
            else:
                self.waiting.append(body)
        return status

    async def send_again(self) -> None:
        """Send what waits, until all of it is acknowledged."""
        while self.waiting:
            again, self.waiting = self.waiting, []
            await asyncio.gather(*(self.send(body) for body in again))


@dataclass
class Rows:
    """What a database holds."""

    database: Database
    connection_id: str

    async def count(self, body: bytes) -> int:
        async with self.database.session() as session:
            return len(list(await session.exec(select(EventRecord.id).where(EventRecord.body == body))))

    async def is_due(self) -> bool:
        """Whether the connection is to be compared with Sentry now."""
        async with self.database.session() as session:
            clock = await self.database.read_clock(session)
            found = (await session.exec(select(RepairRecord.next_at))).one()
            return found <= clock

    async def check(self, sender: Sender) -> None:
        """Nothing that was acknowledged is lost, nothing is there unmarked twice, and each has its delivery."""
        async with self.database.session() as session:
            wanted = select(EventRecord).where(col(EventRecord.body).is_not(None))
            events = list(await session.exec(wanted.order_by(col(EventRecord.position))))
            positions = list(await session.exec(select(EventRecord.position).order_by(col(EventRecord.position))))
            deliveries = Counter(await session.exec(select(DeliveryRecord.event_id)))
        first: dict[bytes, str] = {}
        rows: Counter[bytes] = Counter()
        for event in events:
            assert event.body is not None
            assert event.repeat_of == first.get(event.body)
            first.setdefault(event.body, event.id)
            rows[event.body] += 1
        assert sender.acknowledged <= set(rows) <= set(sender.sent)
        assert all(rows[body] <= times for body, times in sender.sent.items())
        assert positions == list(range(1, len(positions) + 1))
        sequences = [event.sequence for event in events]
        assert sequences == list(range(sequences[0] or 0, (sequences[0] or 0) + len(events)))
        assert deliveries == {event.id: 1 for event in events}


@dataclass
class Post:
    """A database with a receiver and an endpoint, and whoever sends to it."""

    nursery: Nursery
    sender: Sender
    rows: Rows


@contextlib.asynccontextmanager
async def prepare_receiving(database_url: str, folder: Path) -> AsyncIterator[Post]:
    """Fill a migrated database."""
    database = Database(database_url)
    keyring = Keyring.init(folder / "keyring.json")
    async with Receiving.build(database, keyring).running() as receiving:
        admin = await add_tenant(database, "ten_1")
        nowhere = {"control_origin": NOWHERE, "api_origin": NOWHERE}
        connection = await receiving.link(admin, client=None, installation_id=None, **nowhere)
        url = receiving.receivers.url(await receiving.receiver(admin, connection))
    async with database.session() as session:
        session.add(
            EndpointRecord(
                id="whe_1",
                tenant_id="ten_1",
                url=NOWHERE,
                status=EndpointStatus.ENABLED,
                payload=EndpointPayload.SENTRY,
                key_id=keyring.active_id,
                secret=b"",
                created_at=now(),
                updated_at=now(),
            )
        )
        await session.commit()
    async with (
        nursing(database_url, folder / "keyring.json") as nursery,
        httpx.AsyncClient(base_url=nursery.url, timeout=30) as http,
    ):
        sender = Sender(http, url.removeprefix(PUBLIC_URL))
        await sender.send(sender.fresh())
        yield Post(nursery, sender, Rows(database, connection.id))
    await database.dispose()
