import asyncio

import pytest
from structlog.testing import capture_logs

from service.tasks import Coalescer, repeating, together


async def test_together_keeps_the_order() -> None:
    async def after(ticks: int) -> int:
        for _ in range(ticks):
            await asyncio.sleep(0)
        return ticks

    assert await together(after(ticks) for ticks in (3, 1, 2)) == [3, 1, 2]


async def test_together_raises_the_first_error_itself_once_the_others_have_ended() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("forever")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        await together([forever(), fail()])
    assert ended == ["forever"]


async def test_equal_work_runs_once() -> None:
    coalescer: Coalescer[str, int] = Coalescer()
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls

    assert await asyncio.gather(*(coalescer.run("a", work) for _ in range(5))) == [1] * 5
    assert await coalescer.run("a", work) == 2
    assert list(await asyncio.gather(coalescer.run("a", work), coalescer.run("b", work))) == [4, 4]


async def test_an_error_is_shared_and_then_forgotten() -> None:
    coalescer: Coalescer[str, int] = Coalescer()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def succeed() -> int:
        return 1

    results = await asyncio.gather(*(coalescer.run("a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no"] * 3
    assert await coalescer.run("a", succeed) == 1


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("is_kept", [False, True])
async def test_who_is_cancelled_leaves_the_others_alone(which: int, *, is_kept: bool) -> None:
    coalescer: Coalescer[str, str] = Coalescer(is_kept=is_kept)
    release = asyncio.Event()
    begun = 0

    async def work() -> str:
        nonlocal begun
        begun += 1
        await release.wait()
        return "done"

    asking = [asyncio.ensure_future(coalescer.run("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    gone = asking.pop(which)
    gone.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*asking) == ["done"] * 2
    assert gone.cancelled()
    assert begun == (2 if which == 0 and not is_kept else 1)


async def test_kept_work_goes_on_when_everybody_is_gone() -> None:
    coalescer: Coalescer[str, str] = Coalescer(is_kept=True)
    release, ended = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        await release.wait()
        ended.set()
        raise ValueError("heard by nobody")

    asking = asyncio.ensure_future(coalescer.run("a", work))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    release.set()
    await coalescer.drain()
    assert ended.is_set()


async def test_who_waits_for_what_is_broken_off_is_cancelled() -> None:
    coalescer: Coalescer[str, None] = Coalescer()

    async def work() -> None:
        await asyncio.sleep(60)

    asking = [asyncio.ensure_future(coalescer.run("a", work)) for _ in range(2)]
    await asyncio.sleep(0)
    await coalescer.aclose()
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2


async def test_the_last_waiter_takes_the_work_with_it_and_a_newcomer_starts_afresh() -> None:
    coalescer: Coalescer[str, str] = Coalescer()
    cancelled = 0

    async def work() -> str:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            await asyncio.sleep(0)
            raise
        return "never"

    async def fresh() -> str:
        return "fresh"

    waiter = asyncio.ensure_future(coalescer.run("a", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.sleep(0)
    assert await coalescer.run("a", fresh) == "fresh"
    assert cancelled == 1
    assert waiter.cancelled()


async def test_what_is_begun_runs_once_and_is_shared_with_who_asks_meanwhile() -> None:
    coalescer: Coalescer[str, int] = Coalescer()
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        if begun == 2:
            raise KeyError("b")
        return begun

    coalescer.begin("a", work)
    coalescer.begin("a", work)
    assert begun == 0
    assert await coalescer.run("a", work) == 1
    coalescer.begin("a", work)
    await coalescer.drain()  # nobody asked, nobody is told
    assert begun == 2


async def test_closing_breaks_off_what_runs() -> None:
    coalescer: Coalescer[str, None] = Coalescer()
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("work")

    waiter = asyncio.ensure_future(coalescer.run("a", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await coalescer.aclose()
    assert ended == ["work"]
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_repeated_work_goes_on_after_an_error_that_is_logged() -> None:
    done = asyncio.Event()
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("once")
        done.set()

    with capture_logs() as logs:
        async with repeating(work, 0):
            await done.wait()
    assert calls >= 2
    assert [(line["event"], str(line["exc_info"])) for line in logs] == [("repeated_work_failed", "once")]
