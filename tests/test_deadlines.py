"""Every test runs with ``asyncio.timeout`` as well: the two have to do the same."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from service.deadlines import Deadlines

Limit = Callable[[], AbstractAsyncContextManager[object]]
SECONDS = 0.05


@contextlib.asynccontextmanager
async def shared(deadlines: Deadlines) -> AsyncIterator[object]:
    with deadlines.limit() as deadline:
        yield deadline


@pytest.fixture(params=["asyncio", "deadlines"])
def limit(request: pytest.FixtureRequest) -> Limit:
    deadlines = Deadlines(SECONDS)
    return (lambda: asyncio.timeout(SECONDS)) if request.param == "asyncio" else lambda: shared(deadlines)


async def test_what_takes_too_long_is_broken_off_and_the_task_goes_on(limit: Limit) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError) as caught:
            async with limit():
                await asyncio.sleep(10)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_done_in_time_is_left_alone(limit: Limit) -> None:
    async with limit():
        pass
    await asyncio.sleep(2 * SECONDS)


async def test_an_error_is_raised_as_it_is(limit: Limit) -> None:
    with pytest.raises(KeyError):
        async with limit():
            raise KeyError

    async def fail_at_the_end() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise KeyError

    with pytest.raises(KeyError):
        async with limit():
            await fail_at_the_end()


async def test_who_cancels_the_task_is_not_taken_for_the_deadline(limit: Limit) -> None:
    async def work() -> None:
        async with limit():
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancellation_beside_the_deadline_goes_on(limit: Limit) -> None:
    async def work() -> None:
        async with limit():
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                expired.set()
                await asyncio.sleep(10)

    expired = asyncio.Event()
    task = asyncio.ensure_future(work())
    await expired.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_around_each_other_the_one_that_began_first_is_raised_at_its_own_place(limit: Limit) -> None:
    ended: list[type[BaseException] | None] = []

    async def work() -> None:
        await asyncio.sleep(SECONDS / 2)
        try:
            async with limit():
                await asyncio.sleep(10)
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(TimeoutError):
        async with limit():
            await work()
    assert ended == [asyncio.CancelledError]


async def test_each_of_many_ends_at_its_own_time(limit: Limit) -> None:
    async def work(number: int) -> bool:
        await asyncio.sleep(number * SECONDS / 10)
        try:
            async with limit():
                if number % 2:
                    await asyncio.sleep(10)
        except TimeoutError:
            return True
        return False

    assert await asyncio.gather(*(work(number) for number in range(30))) == [bool(number % 2) for number in range(30)]


async def test_one_that_is_over_before_the_loop_came_by_is_told_so(limit: Limit) -> None:
    async def hold_up() -> None:
        until = time.monotonic() + 2 * SECONDS
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        async with limit():
            await hold_up()


async def test_one_timer_serves_all_and_nothing_is_left_of_those_that_ended() -> None:
    deadlines = Deadlines(SECONDS)
    timers = set()
    for _ in range(1000):
        with deadlines.limit():
            timers.add(deadlines._timer)
    assert len(timers) == 1
    assert not deadlines._open
    await asyncio.sleep(2 * SECONDS)
    assert deadlines._timer is None
    with pytest.raises(TimeoutError), deadlines.limit():  # and then anew
        await asyncio.sleep(10)


def test_it_is_for_tasks_only() -> None:
    with pytest.raises(RuntimeError), Deadlines(1).limit():
        pass
