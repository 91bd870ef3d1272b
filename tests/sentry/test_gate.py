import asyncio
import time

import pytest

from service.sentry.gate import Gate
from service.sentry.limits import parse_rate_limit


def told(limit: int, remaining: int, *, ends_in: float = 60, concurrent: int = 100) -> dict[str, str]:
    return {
        "x-sentry-rate-limit-limit": str(limit),
        "x-sentry-rate-limit-remaining": str(remaining),
        "x-sentry-rate-limit-reset": str(int(time.time() + ends_in)),
        "x-sentry-rate-limit-concurrentlimit": str(concurrent),
    }


async def opened(headers: dict[str, str]) -> Gate:
    """A gate that knows its limits."""
    gate = Gate()
    leave(gate, await gate.enter(), headers)
    return gate


def leave(gate: Gate, serial: int, headers: dict[str, str], *, refused: bool = False) -> None:
    gate.leave(serial, parse_rate_limit(headers), headers, refused=refused)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_go_in_the_order_they_came() -> None:
    headers = told(1000, 999, concurrent=1)
    gate = await opened(headers)
    order: list[int] = []

    async def one(number: int) -> None:
        serial = await gate.enter()
        order.append(number)
        await asyncio.sleep(0)
        leave(gate, serial, headers)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert order == list(range(20))


async def test_a_waiter_that_goes_away_costs_no_turn() -> None:
    gate = await opened(told(1000, 999, concurrent=1))
    serial = await gate.enter()
    waiters = [asyncio.create_task(gate.enter()) for _ in range(3)]
    await settle()
    waiters[0].cancel()
    await settle()
    gate.abandon()
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    assert waiters[1].result() > serial
    gate.abandon()
    await waiters[2]


async def test_a_turn_that_comes_together_with_the_cancellation_is_handed_on() -> None:
    gate = await opened(told(1000, 999, concurrent=1))
    await gate.enter()
    first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await settle()
    gate.abandon()  # gives the turn to the first …
    first.cancel()  # … which is gone before it can take it
    with pytest.raises(asyncio.CancelledError):
        await first
    await second


async def test_a_waiter_that_is_gone_is_passed_over() -> None:
    gate = await opened(told(1000, 999, concurrent=1))
    await gate.enter()
    first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await settle()
    first.cancel()
    gate.abandon()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second


async def test_a_window_that_ends_lets_waiters_go() -> None:
    gate = await opened(told(2, 0, ends_in=1))
    wait = gate.wait()
    assert wait is not None
    assert 0 < wait <= 1.1
    await asyncio.wait_for(asyncio.gather(gate.enter(), gate.enter()), timeout=5)


async def test_no_wait_is_known_where_nothing_limits() -> None:
    gate = await opened({})
    assert gate.wait() == 0.0
