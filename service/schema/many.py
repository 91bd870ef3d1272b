"""A dataloader for callers that bring many keys at once, as batched fields do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from service.errors import ServiceError

K = TypeVar("K")
V = TypeVar("V")


class ManyLoader(Generic[K, V]):
    """Loads keys that are asked for at the same time in one call, and none twice. For one request.

    There is one task for all keys of a call, where a dataloader has a future for each key. ``load`` gives the values in
    their keys' order; one may be the error of its key.
    """

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Sequence[V | ServiceError | None]]]) -> None:
        self._load = load
        self._loading: dict[K, asyncio.Task[Mapping[K, V | ServiceError | None]]] = {}
        self._gathered: list[K] = []

    async def load_many(self, keys: Sequence[K]) -> list[V | ServiceError | None]:
        """The values of keys, in their order: None where there is none. Raises what ``load`` raises."""
        new = [key for key in dict.fromkeys(keys) if key not in self._loading]
        if new:
            # Whoever comes before the call begins joins it.
            task = self._loading[self._gathered[0]] if self._gathered else asyncio.ensure_future(self._load_gathered())
            self._gathered += new
            self._loading.update(dict.fromkeys(new, task))
        found: dict[K, V | ServiceError | None] = {}
        for task in {self._loading[key] for key in keys}:
            found.update(await task)
        return [found[key] for key in keys]

    async def _load_gathered(self) -> Mapping[K, V | ServiceError | None]:
        count = -1
        while count != len(self._gathered):
            count = len(self._gathered)
            await asyncio.sleep(0)
        keys, self._gathered = self._gathered, []
        return dict(zip(keys, await self._load(keys), strict=True))
