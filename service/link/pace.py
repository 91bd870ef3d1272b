"""How often one session's page may be worked with.

Whoever has a link's address may send its forms for as long as it lasts; each writes rows, and may call a Sentry.
"""

import time
from collections.abc import Callable

from cachetools import LRUCache

_BURST = 120.0
_SECONDS = 15.0


class Pace:
    """Lets 120 requests of a session through at once, and one more for each 15 seconds since. In this process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: LRUCache[str, tuple[float, float]] = LRUCache(10_000)  # what was left, and when

    def wait(self, session_id: str) -> float:
        """Count a request; the seconds that it comes too early, 0 where it may go on."""
        present = self._clock()
        left, at = self._sessions.get(session_id, (_BURST, present))
        left = min(_BURST, left + (present - at) / _SECONDS)
        if left < 1.0:
            return (1.0 - left) * _SECONDS
        self._sessions[session_id] = (left - 1.0, present)
        return 0.0
