"""One caller cannot use up what all share: connections to one Sentry, and memory."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.errors import UpstreamTimeout, UpstreamTooLarge, UpstreamUnavailable
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.paths import ApiPath
from tests.sentry.upstream import Request, Upstream, account_of, answer, client_for, json_answer, serve

PATH = ApiPath.of("organizations", "acme", "members")


def path(number: int) -> ApiPath:
    return ApiPath.of("organizations", "acme", "releases", f"r{number}")


def accounts(upstream: Upstream, tenant: str) -> list[Account]:
    """Connections of one tenant, each with a credential, and so a rate limit, of its own."""
    return [
        account_of(upstream.origin, tenant=tenant, connection=f"{tenant}_{n}", fingerprint=f"{tenant}_{n}")
        for n in range(9)
    ]


async def test_a_tenant_has_so_many_calls_under_way_and_its_neighbours_do_not_wait() -> None:
    release, full = asyncio.Event(), asyncio.Event()
    under_way = most = 0

    async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        if "web" in request.line:
            under_way += 1
            most = max(most, under_way)
            if under_way == 3:
                full.set()
            await release.wait()
            under_way -= 1
        writer.write(answer())

    async with serve(hang) as upstream, client_for(upstream.origin, tenant_calls=3) as client:
        slow = [
            asyncio.create_task(client.get(account, ApiPath.of("projects", "acme", "web")))
            for account in accounts(upstream, "tnt_1")
        ]
        async with asyncio.timeout(4):
            await full.wait()
            neighbour = await client.get(accounts(upstream, "tnt_2")[0], PATH)
            assert neighbour.status == 200
            assert not any(task.done() for task in slow)
            release.set()
            assert [each.status for each in await asyncio.gather(*slow)] == [200] * 9
        assert most == 3


async def test_an_open_stream_holds_its_turn_until_it_is_closed() -> None:
    async with (
        serve(answer(b"x" * 10)) as upstream,
        client_for(upstream.origin, tenant_calls=2, deadline=0.2) as client,
    ):
        first, second, third, *_ = accounts(upstream, "tnt_1")
        async with AsyncExitStack() as stack:
            for account in (first, second):
                await stack.enter_async_context(client.stream(account, "GET", PATH))
            with pytest.raises(UpstreamTimeout):
                await client.get(third, PATH)
            assert (await client.get(accounts(upstream, "tnt_2")[0], PATH)).status == 200
        assert (await client.get(third, PATH)).status == 200


async def _fail(client: SentryClient, account: Account, number: int) -> None:
    with pytest.raises(UpstreamUnavailable):
        await client.get(account, path(number))


async def test_no_turn_is_lost_to_failures_and_callers_who_leave() -> None:
    release = asyncio.Event()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        if "/r1/" in request.line:
            await release.wait()
        writer.write(json_answer({}, status="500 X" if "/r2/" in request.line else "200 OK"))

    async with serve(behave) as upstream, client_for(upstream.origin, tenant_calls=2, attempts=1) as client:
        own = accounts(upstream, "tnt_1")
        for _ in range(5):
            leaving = [asyncio.create_task(client.get(account, path(1))) for account in own[:4]]
            await asyncio.sleep(0.02)  # two are under way, two wait
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            await _fail(client, own[5], 2)
            async with client.stream(own[6], "GET", path(3)) as streamed:
                assert [piece async for piece in streamed.body] == [b"{}"]
        both = await asyncio.gather(*(client.get(account, path(3)) for account in own[:2]))
        assert [each.status for each in both] == [200, 200]
        release.set()


async def test_a_request_reads_five_of_the_largest_answers_and_no_more() -> None:
    async with (
        serve(answer(b'"' + b"x" * 998 + b'"')) as upstream,
        client_for(upstream.origin, max_bytes=1000) as client,
    ):
        account = account_of(upstream.origin)

        async def read(count: int) -> None:
            client.begin_request()
            await asyncio.gather(*(client.get(account, path(number)) for number in range(count)))

        await asyncio.create_task(read(5))
        with pytest.raises(UpstreamTooLarge):
            await asyncio.create_task(read(6))
        await asyncio.create_task(read(5))


async def test_what_is_shared_counts_for_each_who_gets_it() -> None:
    """An answer that is asked for six times is read once, and written six times."""
    async with (
        serve(answer(b'"' + b"x" * 998 + b'"')) as upstream,
        client_for(upstream.origin, max_bytes=1000) as client,
    ):
        account = account_of(upstream.origin)

        async def read(count: int) -> None:
            client.begin_request()
            await asyncio.gather(*(client.get(account, PATH) for _ in range(count)))

        await asyncio.create_task(read(5))
        assert len(upstream.requests) == 1
        with pytest.raises(UpstreamTooLarge):
            await asyncio.create_task(read(6))


async def test_outside_of_a_request_nothing_is_counted() -> None:
    async with (
        serve(answer(b'"' + b"x" * 998 + b'"')) as upstream,
        client_for(upstream.origin, max_bytes=1000) as client,
    ):
        for number in range(8):
            await client.get(account_of(upstream.origin), path(number))
        assert len(upstream.requests) == 8
