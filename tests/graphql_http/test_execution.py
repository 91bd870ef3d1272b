import asyncio
from typing import Any

import pytest
from graphql import ExecutionResult

from service.graphql_http.execution import finish_query
from service.graphql_http.requests import ClientDisconnected


class Client:
    """Sends nothing until it leaves; ``query`` waits for ever, and ``is_stopped`` says that it was told to end."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.is_stopped = False

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def query(self) -> ExecutionResult:
        try:
            return await asyncio.Future()
        finally:
            self.is_stopped = True


async def test_a_client_that_leaves_stops_its_query_and_no_more():
    client = Client()
    client.left.set()
    with pytest.raises(ClientDisconnected):
        await finish_query(client.query(), client.receive, patience=0)
    assert client.is_stopped
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_who_is_cancelled_while_the_client_leaves_stays_cancelled():
    client = Client()
    task = asyncio.create_task(finish_query(client.query(), client.receive, patience=0))
    await asyncio.sleep(0.01)
    client.left.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.is_stopped


async def test_a_deadline_that_comes_as_the_client_leaves_is_the_deadline():
    client = Client()

    async def ask() -> None:
        async with asyncio.timeout(None) as clock:
            client.left.set()
            asyncio.get_running_loop().call_soon(clock.reschedule, 0)
            await finish_query(client.query(), client.receive, patience=0)

    with pytest.raises(TimeoutError):
        await ask()


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_nobody_listens_for_a_client_whose_query_has_ended(seconds: float):
    client = Client()

    async def answer() -> ExecutionResult:
        await asyncio.sleep(seconds)
        return ExecutionResult({"a": 1})

    before = asyncio.all_tasks()
    assert (await finish_query(answer(), client.receive, patience=0)).data == {"a": 1}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_nobody_listens_for_a_client_before_the_query_has_taken_its_while():
    heard: list[str] = []

    async def receive() -> dict[str, Any]:
        heard.append("asked")
        return {"type": "http.disconnect"}

    async def answer() -> ExecutionResult:
        await asyncio.sleep(0.01)
        return ExecutionResult({"a": 1})

    assert (await finish_query(answer(), receive, patience=3600)).data == {"a": 1}
    assert heard == []


async def test_who_leaves_in_the_turn_in_which_the_query_ends_cancels_nobody():
    left = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        return await left  # type: ignore[no-any-return]

    async def answer() -> ExecutionResult:
        await asyncio.sleep(0.01)
        left.set_result({"type": "http.disconnect"})
        await asyncio.sleep(0)
        return ExecutionResult({"a": 1})

    assert (await finish_query(answer(), receive, patience=0)).data == {"a": 1}
    for _ in range(3):
        await asyncio.sleep(0)  # where a cancellation would be raised
