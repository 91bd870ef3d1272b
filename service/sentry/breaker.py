"""Stops calling a Sentry that is down, for one tenant at a time. No I/O, no clock of its own."""

_FAILURES_TO_OPEN = 8
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class Breaker:
    """Closed until calls fail one after the other; then open for a pause; then one call at a time tries again.

    Times are seconds on any one clock that does not go back.
    """

    __slots__ = ("__weakref__", "_failures", "_opened_until", "_pause", "_probing")

    def __init__(self) -> None:
        self._failures = 0
        self._opened_until: float | None = None
        self._pause = _SHORTEST_PAUSE
        self._probing = False

    def admit(self, now: float) -> float:
        """0.0 where the call may go, and must then end in one of the three below; else seconds to wait."""
        if self._opened_until is None:
            return 0.0
        if now < self._opened_until:
            return self._opened_until - now
        if self._probing:
            return self._pause
        self._probing = True
        return 0.0

    def succeed(self) -> None:
        """An answer came, whatever it said."""
        self._failures = 0
        self._opened_until = None
        self._pause = _SHORTEST_PAUSE
        self._probing = False

    def fail(self, now: float) -> None:
        """No answer came, or only a gateway's."""
        if self._probing:
            self._probing = False
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._opened_until = now + self._pause
        elif self._opened_until is None:
            self._failures += 1
            if self._failures >= _FAILURES_TO_OPEN:
                self._failures = 0
                self._opened_until = now + self._pause

    def abandon(self) -> None:
        """The caller went away before there was an outcome."""
        self._probing = False
