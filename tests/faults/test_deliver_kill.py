"""`serve` killed with -9 amid a delivery: it arrives all the same, with the same id and a higher attempt, and soon.

Nothing in the product helps to hit the points. A relay before the receiver holds the request (it was claimed, and has
not arrived), or the receiver keeps its answer (it has arrived), or the answer comes while the test holds the lock that
marking it needs.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.events.models import DeliveryStatus
from service.sandbox.app import Sandbox
from service.sentry.origin import Origin
from service.tenants.caller import Caller, Role
from service.webhooks.deliverer import LEASE_SECONDS
from tests.faults.locks import rows_locked
from tests.faults.relay import Relay
from tests.faults.replicas import TENANT, Replica, prepare, until
from tests.scale import scaled
from tests.sentry.upstream import Request, answer, serve
from tests.serving import free_port
from tests.webhooks.delivering import Post

Point = Literal["before it arrives", "before it is answered", "before it is marked"]

POINTS: tuple[Point, ...] = ("before it arrives", "before it is answered", "before it is marked")
KILLS = scaled(test=1, soak=340)
"""At each point, on each engine: a thousand in all in the soak."""
WAITED_FOR = 50
"""One in so many kills is made up for without any help, within the time that is promised."""
WITHIN = 60.0
LEASE = timedelta(seconds=LEASE_SECONDS)
TEST = "mutation Test($id: ID!) { testWebhookEndpoint(id: $id) { id eventId } }"


@dataclass
class Consumer:
    """Takes webhooks; what is held is not answered."""

    attempts: dict[str, list[int]] = field(default_factory=dict)
    holds: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: Request, writer: asyncio.StreamWriter) -> None:
        headers = dict(request.headers)
        self.attempts.setdefault(headers["webhook-id"], []).append(int(headers["sentry-graph-attempt"]))
        self.arrived.set()
        if self.holds:
            await self.goes_on.wait()
        writer.write(answer(b"", headers={"Connection": "close"}))


async def kill_at(point: Point, replica: Replica, consumer: Consumer, relay: Relay, url: str, endpoint_id: str) -> str:
    """Have an event delivered, and kill the process at a point of it; the event's id."""
    consumer.arrived.clear()
    consumer.goes_on.clear()
    consumer.holds = point != "before it arrives"
    stop = relay.stop("webhook-id") if point == "before it arrives" else None
    planned = (await replica.ask(TEST, id=endpoint_id)).json()["data"]["testWebhookEndpoint"]
    async with asyncio.timeout(30):
        if stop is not None:
            await stop.arrived.wait()
            await replica.kill()
            stop.drop()
        elif point == "before it is answered":
            await consumer.arrived.wait()
            await replica.kill()
        else:
            await consumer.arrived.wait()
            async with rows_locked(url, "webhook_deliveries", [planned["id"]]) as is_tried:
                consumer.goes_on.set()
                await is_tried
                await replica.kill()
    consumer.holds = False
    consumer.goes_on.set()
    return str(planned["eventId"])


async def test_what_a_killed_process_was_delivering_arrives(
    database_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    url, consumer = database_url, Consumer()
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(serve(consumer.receive))
        relay = await stack.enter_async_context(Relay(receiver.origin.url).running())
        service = await prepare(url, tmp_path, sandbox)
        service.settings |= {"forward_allow": json.dumps([relay.url]), "log_level": "error"}
        database = Database(url)
        stack.push_async_callback(database.dispose)
        vault = Vault(Keyring.load(tmp_path / "keyring.json"))
        post = Post(database, vault, Caller(TENANT, Role.ADMIN, "test"))
        post.allowed.add(Origin.parse(relay.url))
        endpoint, _ = await post.add(url=f"{relay.url}/hook")
        expected: list[str] = []
        killed = time.monotonic()
        for number in range(KILLS * len(POINTS) + 1):
            async with service.replica(free_port()) as replica:
                if number:  # what the one before left
                    async with asyncio.timeout(WITHIN - (time.monotonic() - killed)):
                        await until_delivered(post, expected[-1])
                    is_second = POINTS[(number - 1) % len(POINTS)] == "before it arrives"
                    assert consumer.attempts[expected[-1]] == ([2] if is_second else [1, 2])
                if number < KILLS * len(POINTS):
                    point = POINTS[number % len(POINTS)]
                    expected.append(await kill_at(point, replica, consumer, relay, url, endpoint.id))
                    killed = time.monotonic()
            if number % WAITED_FOR != WAITED_FOR - 1:
                await post.pass_time(LEASE)
    assert list(consumer.attempts) == expected


async def until_delivered(post: Post, event_id: str) -> None:
    """Until it is written down that the event has arrived."""

    async def is_delivered() -> bool:
        found = [delivery.status for delivery in await post.read() if delivery.event_id == event_id]
        return found == [DeliveryStatus.DELIVERED]

    await until(is_delivered)
