"""Ways in which webhooks go wrong on their way, switched on for a resource and action while tests want them.

Each is a small record, so that it can come as JSON through the control endpoint:
``{"kind": "drop", "resource": "issue", "action": "resolved", "times": 2}``.
"""

from threading import Lock
from typing import Any

import msgspec

from service.sandbox.deliveries import Delivery


class Steer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.lower):
    """Strikes webhooks of a resource and an action (None: of any), so many of them; ``times=None`` is for ever.

    Service hooks have the resource ``service_hook`` and the action ``event.alert`` or ``event.created``, the legacy
    plugin's posts the resource ``plugin``.
    """

    resource: str | None = None
    action: str | None = None
    times: int | None = None

    def matches(self, delivery: Delivery) -> bool:
        """Whether it strikes this one."""
        return self.resource in {None, delivery.resource} and self.action in {None, delivery.action}


class Drop(Steer, frozen=True, kw_only=True):
    """It is never sent."""


class Delay(Steer, frozen=True, kw_only=True):
    """It is sent so many seconds late."""

    seconds: float = 1.0


class Duplicate(Steer, frozen=True, kw_only=True):
    """It is sent twice, one after the other, with the same body."""


class Reorder(Steer, frozen=True, kw_only=True):
    """It is held until there are ``size`` of them; then they are sent one after the other, the last first."""

    size: int = 2


AnySteer = Drop | Delay | Duplicate | Reorder


class Steering:
    """The steers that are switched on; the latest that matches strikes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._active: list[tuple[AnySteer, list[int | None], list[Delivery]]] = []

    def add(self, steer: AnySteer) -> None:
        """Switches one on."""
        with self._lock:
            self._active.append((steer, [steer.times], []))

    def clear(self) -> list[Delivery]:
        """Switches all off; what they held, the last first."""
        with self._lock:
            held = [delivery for _, _, waiting in self._active for delivery in waiting]
            self._active.clear()
        return held[::-1]

    def listed(self) -> list[dict[str, Any]]:
        """What is switched on, with the webhooks left."""
        with self._lock:
            return [msgspec.to_builtins(steer) | {"times": left[0]} for steer, left, _ in self._active]

    def plan(self, delivery: Delivery) -> tuple[list[Delivery], float] | None:
        """What to send now, one after the other, and after how many seconds; None where this one is dropped."""
        with self._lock:
            for steer, left, waiting in reversed(self._active):
                if left[0] != 0 and steer.matches(delivery):
                    if left[0] is not None:
                        left[0] -= 1
                    return _carry_out(steer, waiting, delivery)
        return [delivery], 0.0


def _carry_out(steer: AnySteer, waiting: list[Delivery], delivery: Delivery) -> tuple[list[Delivery], float] | None:
    if isinstance(steer, Drop):
        return None
    if isinstance(steer, Delay):
        return [delivery], steer.seconds
    if isinstance(steer, Duplicate):
        return [delivery, delivery.again()], 0.0
    waiting.append(delivery)
    if len(waiting) < steer.size:
        return [], 0.0
    turned = waiting[::-1]
    waiting.clear()
    return turned, 0.0
