"""The product, watching itself: ``python -m bench.watched (pauses|profile) PORT FILE`` writes to the file when it ends.

SIGUSR1 begins anew, after warming up. *Pauses* are CPU time of the process between two beats of a timer on its event
loop, a millisecond apart, so that neither other processes nor waiting count; and the collections of the garbage
collector. The *profile* is made of samples, a few hundred a second of CPU: what the main thread does, by line of stack.
"""

import asyncio
import gc
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import uvloop

from bench.product import REPOSITORY
from service.app import Runtime, create_app
from service.cli.serve import run_server
from service.operations.listening import open_sockets
from service.operations.logs import configure_logging
from service.settings import read_settings

_BEAT_SECONDS = 0.001
_SAMPLE_SECONDS = 0.002


class Watch(Protocol):
    """Something that watches a process from inside."""

    def begin(self) -> None:
        """Forget what was seen."""

    async def watch(self) -> None:
        """Watch until cancelled."""

    def result(self) -> Any:
        """What was seen, for JSON."""


class Pauses:
    """How long the event loop was busy at a stretch, and how long the garbage collector took."""

    def __init__(self) -> None:
        self.begin()
        gc.callbacks.append(self._note_collection)

    def begin(self) -> None:
        self._stretches: list[float] = []
        self._collections: list[tuple[int, float]] = []
        self._started = 0.0

    async def watch(self) -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now = time.process_time()
            self._stretches.append(now - last)
            last = now

    def result(self) -> Any:
        return {"stretches": sorted(self._stretches)[-1000:], "collections": self._collections}

    def _note_collection(self, phase: str, about: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._started = now
        else:
            self._collections.append((about["generation"], now - self._started))


class Profile:
    """What runs, sampled: by the function itself, and by all functions that wait for it."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._own: Counter[str] = Counter()
        self._within: Counter[str] = Counter()

    async def watch(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)
        await asyncio.Event().wait()

    def result(self) -> Any:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return {"own": self._own.most_common(), "within": self._within.most_common()}

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._own[_name(frame)] += 1
        seen = set()
        while frame is not None:
            seen.add(_name(frame))
            frame = frame.f_back
        self._within.update(seen)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename
    short = file.removeprefix(f"{REPOSITORY}/").rpartition("site-packages/")[2]
    return f"{short}:{code.co_firstlineno} {code.co_qualname}"


async def _serve(watch: Watch, port: int) -> None:
    settings = read_settings(port=port)
    configure_logging(settings.log_format, settings.log_level)
    runtime = Runtime.build(settings)
    app = create_app(runtime)
    with open_sockets(settings.host, settings.port) as sockets:
        async with runtime.started():
            signal.signal(signal.SIGUSR1, lambda *_: watch.begin())
            watching = asyncio.ensure_future(watch.watch())
            await run_server(app, runtime, sockets)
            watching.cancel()


def main() -> None:
    """Serve until SIGTERM, then write down what was seen."""
    watch: Watch = Pauses() if sys.argv[1] == "pauses" else Profile()
    uvloop.run(_serve(watch, int(sys.argv[2])))
    Path(sys.argv[3]).write_text(json.dumps(watch.result()))


if __name__ == "__main__":
    main()
