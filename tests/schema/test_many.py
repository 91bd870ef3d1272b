import asyncio
from collections.abc import Sequence

import pytest

from service.errors import NotFound
from service.schema.many import ManyLoader


class Recorder:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def __call__(self, keys: Sequence[str]) -> list[str | NotFound | None]:
        self.calls.append(list(keys))
        await asyncio.sleep(0)
        if "broken" in keys:
            raise ValueError("broken")
        others = {"missing": NotFound("missing"), "nothing": None}
        return [others.get(key, key.upper()) for key in keys]


async def test_keys_of_one_turn_are_one_call_and_no_key_is_loaded_twice():
    load = Recorder()
    loader = ManyLoader(load)
    first, second = await asyncio.gather(loader.load_many(["a", "b", "a"]), loader.load_many(["b", "c", "nothing"]))
    assert (first, second) == (["A", "B", "A"], ["B", "C", None])
    assert await loader.load_many(["c", "d"]) == ["C", "D"]
    assert await loader.load_many([]) == []
    assert load.calls == [["a", "b", "c", "nothing"], ["d"]]


async def test_an_error_of_a_key_is_its_value_and_one_of_the_call_is_everybodys():
    loader = ManyLoader(Recorder())
    good, missing = await loader.load_many(["a", "missing"])
    assert good == "A"
    assert isinstance(missing, NotFound)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            await loader.load_many(["broken"])


async def test_whoever_stops_waiting_stops_the_call():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def load(keys: Sequence[str]) -> list[str]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return []

    waiting = asyncio.ensure_future(ManyLoader(load).load_many(["a"]))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    await ended.wait()
