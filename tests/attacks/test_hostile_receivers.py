"""Endpoints that want to harm: they get one POST each time, and cost nobody else anything.

Over the whole way from an event to the delivery log. What the hostile ones do is in ``hostile_receivers``.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from service.connections.keyring import Keyring
from service.connections.vault import Vault
from service.db import Database
from service.events.models import DeliveryStatus, EndpointPayload, EndpointRecord
from service.sentry.origin import Origin
from service.webhooks.answers import LONGEST_ANSWER, explain
from tests.attacks.hostile_receivers import BOMB, HOSTILE
from tests.connections.factory import add_tenant
from tests.faults.replicas import until
from tests.scale import scaled
from tests.sentry.upstream import answer, serve
from tests.webhooks.delivering import HOOK, Post

OK = answer(b"thanks", headers={"Connection": "close"})
EVENTS = scaled(test=10, soak=200)
DEADLINE = 3.0


@asynccontextmanager
async def hostile() -> AsyncIterator[Origin]:
    """Where the hostile ones are."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attacks.hostile_receivers", stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Origin("http", "127.0.0.1", int(await process.stdout.readline()), "")
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def post(database: Database, tmp_path: Path) -> Post:
    return Post(database, Vault(Keyring.init(tmp_path / "keyring.json")), await add_tenant(database, "ten_1"))


@pytest.fixture
async def sqlite_post(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Post]:
    database = Database(sqlite_url)
    yield Post(database, Vault(Keyring.init(tmp_path / "keyring.json")), await add_tenant(database, "ten_1"))
    await database.dispose()


async def first_attempt(post: Post, endpoint: EndpointRecord) -> tuple[str, str | None]:
    """The word for what came of it, and the stored answer."""
    tried = [delivery for delivery in await post.read(endpoint) if delivery.attempts and delivery.lease_until is None]
    [attempt, *_] = await post.attempts(tried[0])
    return attempt.error or str(attempt.status), attempt.answer


async def test_hostile_endpoints_harm_nobody(post: Post) -> None:
    async with hostile() as origin, serve(OK) as receiver:
        post.allowed.add(origin)
        endpoints = {name: (await post.add(url=f"{origin}/{name}"))[0] for name in HOSTILE}
        neighbour, _ = await post.add(receiver)
        await post.append(*["issue.resolved"] * EVENTS)
        before = psutil.Process().memory_info().rss

        async def is_tried() -> bool:
            found = await post.read(*endpoints.values())
            tried = {each.endpoint_id for each in found if each.attempts and each.lease_until is None}
            return len(tried) == len(endpoints)

        async def is_delivered() -> bool:
            return {each.status for each in await post.read(neighbour)} == {DeliveryStatus.DELIVERED}

        async with post.worker(deadline=DEADLINE, grace=0):
            await until(is_tried)
            await post.append(*["issue.resolved"] * EVENTS)
            await until(is_delivered)
            assert len(receiver.requests) == 2 * EVENTS
            found = {name: await first_attempt(post, endpoint) for name, endpoint in endpoints.items()}
        assert psutil.Process().memory_info().rss - before < 32 * 2**20

    assert {name: word for name, (word, _) in found.items()} == {name: word for name, (_, word) in HOSTILE.items()}
    for _, text in found.values():
        assert text is None or (len(text) <= LONGEST_ANSWER and "\0" not in text)
    assert found["endless-body"][1] == "x" * LONGEST_ANSWER
    assert found["bomb"][1] == BOMB[:LONGEST_ANSWER].decode(errors="replace").replace("\0", "\ufffd")
    assert found["poison"][1] == "\ufffd" * 7 + "<script>"
    for name in ("come-back-in-thirty-thousand-years", "never-come-back"):
        for delivery in await post.read(endpoints[name]):
            assert delivery.next_at is not None
            assert delivery.next_at - delivery.created_at <= timedelta(hours=1, minutes=1)


async def test_a_redirect_leads_nowhere(sqlite_post: Post) -> None:
    async with AsyncExitStack() as stack:
        decoy = await stack.enter_async_context(serve(OK))
        places = (f"{decoy.origin}/", "https://10.0.0.1/", f"//127.0.0.1:{decoy.port}/", "/again")
        receivers, endpoints = [], []
        for status in (301, 302, 303, 307, 308):
            for place in places:
                headers = {"Location": place, "Connection": "close"}
                redirect = answer(b"", status=f"{status} Elsewhere", headers=headers)
                receivers.append(await stack.enter_async_context(serve(redirect)))
                endpoints.append((await sqlite_post.add(receivers[-1]))[0])
        await sqlite_post.append()
        async with sqlite_post.worker() as worker:
            await until(lambda: len(worker.seen.outcomes) == len(endpoints))
        assert [len(receiver.requests) for receiver in receivers] == [1] * len(endpoints)
        assert decoy.connections == 0
    for endpoint in endpoints:
        word, _ = await first_attempt(sqlite_post, endpoint)
        assert "redirect" in (explain(word) or "")


async def test_no_cookie_is_kept(sqlite_post: Post) -> None:
    async with serve(answer(b"", headers={"Set-Cookie": "a=b; Path=/", "Connection": "close"})) as receiver:
        await sqlite_post.add(receiver)
        async with sqlite_post.worker() as worker:
            for number in (1, 2):
                await sqlite_post.append()
                await until(lambda: len(worker.seen.outcomes) == number)  # noqa: B023 - awaited here
    assert not any("cookie" in dict(request.headers) for request in receiver.requests)


async def test_an_address_that_was_allowed_and_is_not_any_more_is_not_dialled(sqlite_post: Post) -> None:
    async with serve(OK) as receiver:
        endpoint, _ = await sqlite_post.add(receiver)
        sqlite_post.allowed.clear()
        async with sqlite_post.worker() as worker:
            await sqlite_post.append()
            await until(lambda: len(worker.seen.outcomes) == 1)
        assert receiver.connections == 0
    assert (await first_attempt(sqlite_post, endpoint))[0] == "refused"


@pytest.mark.parametrize("payload", EndpointPayload)
async def test_what_sentrys_headers_say_is_no_header_of_ours(sqlite_post: Post, payload: EndpointPayload) -> None:
    """Whatever a webhook brought: only its own few headers go on, and none that would break the request."""
    headers = {"host": "evil.example", "content-length": "0", "transfer-encoding": "chunked", "authorization": "x"}
    headers |= {"webhook-signature": "v1,x", "request-id": "a\r\nX-Evil: 1", "cookie": "a=b", "x-anything": "1"}
    async with serve(OK) as receiver:
        await sqlite_post.add(receiver, payload=payload)
        async with sqlite_post.worker() as worker:
            await sqlite_post.append(headers=headers)
            await until(lambda: len(worker.seen.outcomes) == 1)
    [request] = receiver.requests
    sent = dict(request.headers)
    assert sent["host"] == f"127.0.0.1:{receiver.port}"
    assert int(sent["content-length"]) == len(request.body) >= len(HOOK)
    assert not {"transfer-encoding", "authorization", "cookie", "x-anything", "x-evil", "request-id"} & sent.keys()
    assert len([name for name, _ in request.headers if name == "webhook-signature"]) == 1
