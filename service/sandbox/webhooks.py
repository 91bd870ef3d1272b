"""Webhooks on their way out: kept in view, steered while tests want it, and sent without anybody waiting."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from time import monotonic

from service.sandbox.deliveries import Delivery
from service.sandbox.sender import Sender
from service.sandbox.steering import Steering

_KEPT = 10_000
_WAIT = 5.0
_IS_OPEN = {"sending", "resting"}


class Webhooks:
    """Sends webhooks; ``deliveries`` are those that were sent, the oldest first, ``missed`` those that never were.

    ``retry_wait``, the seconds between attempts, may be changed at any time.
    """

    def __init__(self, clock: Callable[[], float], retry_wait: float) -> None:
        self.clock = clock
        self.retry_wait = retry_wait
        self.deliveries: deque[Delivery] = deque(maxlen=_KEPT)
        self.missed: deque[Delivery] = deque(maxlen=_KEPT)
        self.steering = Steering()
        self._changed = Condition()
        self._open: set[Delivery] = set()
        self._sender = Sender(clock, lambda: self.retry_wait, self._note)

    def send(self, delivery: Delivery) -> None:
        """Sends one, unless it is steered elsewhere; returns at once."""
        plan = self.steering.plan(delivery)
        if plan is None:
            delivery.state = "missed"
            self.missed.append(delivery)
        else:
            self._submit(*plan)

    def release(self) -> None:
        """Ends all steering, and sends what a reordering still holds."""
        self._submit(self.steering.clear())

    def wait(self, seconds: float = _WAIT) -> bool:
        """Waits until all that was sent was answered or given up, or rests for longer than that; whether it is so."""
        until = monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(lambda: not any(_is_due(one, until) for one in self._open), seconds)

    def clear(self) -> None:
        """Forgets everything, and gives up what is under way."""
        self._sender.cancel()
        self.steering.clear()
        with self._changed:
            self._open.clear()
            self._changed.notify_all()
        self.deliveries.clear()
        self.missed.clear()

    def _submit(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        if not deliveries:
            return
        self.deliveries.extend(deliveries)
        with self._changed:
            self._open.update(deliveries)
        self._sender.submit(deliveries, delay)

    def _note(self, delivery: Delivery) -> None:
        with self._changed:
            if delivery.state not in _IS_OPEN:
                self._open.discard(delivery)
            self._changed.notify_all()


def _is_due(delivery: Delivery, until: float) -> bool:
    return delivery.state == "sending" or delivery.rests_until <= until
