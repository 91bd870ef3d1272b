"""An operation that is cancelled, times out or is dropped leaves nothing running and nobody to complain."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import parse

from service.executor import create_executor
from tests.executor.outcomes import (
    assert_nothing_runs,
    build,
    leaving_nothing_behind,
    quick_collections,
    run,
)
from tests.executor.worlds import Builder, Writer

POINTS = 200


def make_executor(seed: int) -> Any:
    chance = random.Random(seed)
    world = Builder(seed, trouble=chance.choice([0, 0.05]), batches=True).build()
    writer = Writer(world, chance, fields=60)
    document = parse(writer.write(chance.choice(["query", "query", "mutation"])))
    executor_class = create_executor(pytest.fail, compile_after=0)
    return build(executor_class, world.schema, document, root_value=world.root, raw_variable_values=writer.variables)


@pytest.fixture(autouse=True)
def _quickly() -> Iterator[None]:
    with quick_collections():
        yield


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_cancelled_at_any_point_nothing_is_left():
    broken_off = 0
    with leaving_nothing_behind():
        for seed in range(POINTS):
            executor = make_executor(seed)
            task = asyncio.ensure_future(run(executor))
            await pass_turns(seed % 9)
            broken_off += task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if seed % 9 == 0:
                await pass_turns(5)  # it had not begun: nobody waited for what it had
            await assert_nothing_runs(executor)
            del executor, task
    assert broken_off > POINTS / 4


def expire_after(turns: int, clock: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(expire_after, turns - 1, clock)
    elif not clock.expired():
        with contextlib.suppress(RuntimeError):  # it is over
            clock.reschedule(loop.time())


async def test_timed_out_at_any_point_nothing_is_left():
    broken_off = 0
    with leaving_nothing_behind():
        for seed in range(POINTS):
            executor = make_executor(seed)
            try:
                async with asyncio.timeout(None) as clock:
                    expire_after(seed % 9, clock)
                    await run(executor)
                    clock.reschedule(None)
            except TimeoutError:
                broken_off += 1
            await pass_turns(10)
            await assert_nothing_runs(executor)
            del executor
    assert broken_off


async def test_a_result_that_nobody_awaits_leaves_nothing():
    with leaving_nothing_behind():
        for seed in range(POINTS // 5):
            executor = make_executor(seed)
            executor.execute_operation()
            await pass_turns(5)  # what had begun is cancelled, and ends
            await assert_nothing_runs(executor)
            del executor


async def test_a_task_cancelled_before_it_began_leaves_nothing():
    with leaving_nothing_behind():
        for seed in range(POINTS // 5):
            executor = make_executor(seed)
            result = executor.execute_operation()
            if hasattr(result, "__await__"):
                task = asyncio.ensure_future(result)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await pass_turns(5)  # what had begun is cancelled, and ends
            await assert_nothing_runs(executor)
            del executor, result


async def test_siblings_of_an_error_that_bubbles_have_ended_with_the_result():
    from graphql import build_schema  # noqa: PLC0415

    schema = build_schema("type Query { slow: String, item: Item } type Item { fails: String!, slow: String }")
    ended: list[str] = []

    async def slow(source: Any, info: Any) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(info.path.key)
        return ""

    async def fail(source: Any, info: Any) -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    fields = schema.type_map["Item"].fields  # type: ignore[attr-defined]
    fields["slow"].resolve, fields["fails"].resolve = slow, fail
    schema.query_type.fields["item"].resolve = lambda *_: {}  # type: ignore[union-attr]
    executor = build(
        create_executor(pytest.fail, compile_after=0), schema, parse("{ item { fails slow other: slow } }")
    )
    result = await run(executor)
    assert result.data == {"item": None}
    assert [error.path for error in result.errors or ()] == [["item", "fails"]]
    assert ended == ["slow", "other"]
    await assert_nothing_runs(executor)
