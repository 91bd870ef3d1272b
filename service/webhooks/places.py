"""How much a process sends at once, and to whom: so that a receiver that is slow or hostile delays nobody else.

An endpoint earns its places. One that nothing is known of has a few; each quick success gives one more, a slow one
takes back what was earned, and a failure leaves one. A tenant has a quarter of all at most.
"""

import random
from collections import Counter
from collections.abc import Sequence

from cachetools import LRUCache

from service.webhooks.answers import OURS, Answer
from service.webhooks.claiming import Queue

AT_ONCE = 256
"""What a process sends at once."""

OF_TENANT = 64
OF_ENDPOINT = 32
OF_UNKNOWN = 4
OF_FAILING = 1
QUICK_MILLISECONDS = 2000

_REMEMBERED = 10_000  # endpoints


class Places:
    """The places of one process. ``is_short``: not all that was due got one when it was last asked for."""

    def __init__(self) -> None:
        self._of_endpoint: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._earned: LRUCache[str, int] = LRUCache(_REMEMBERED)
        self.is_short = False

    def allot(self, due: Sequence[Queue]) -> dict[str, int]:
        """How many deliveries of each endpoint there is place for. Who comes first is drawn by lot."""
        left = AT_ONCE - self._of_tenant.total()
        of_tenant = Counter(self._of_tenant)
        found: dict[str, int] = {}
        self.is_short = False
        for queue in random.sample(due, len(due)):
            earned = self._earned.get(queue.endpoint_id, OF_FAILING if queue.is_failing else OF_UNKNOWN)
            free = min(earned - self._of_endpoint[queue.endpoint_id], OF_TENANT - of_tenant[queue.tenant_id], left)
            count = max(0, min(free, queue.due))
            if count:
                found[queue.endpoint_id] = count
            of_tenant[queue.tenant_id] += count
            left -= count
            self.is_short |= count < queue.due or queue.due >= OF_ENDPOINT  # which is as far as it was counted
        return found

    def take(self, endpoint_id: str, tenant_id: str) -> None:
        """Something is being sent from now on."""
        self._of_endpoint[endpoint_id] += 1
        self._of_tenant[tenant_id] += 1

    def leave(self, endpoint_id: str, tenant_id: str) -> None:
        """It is over."""
        for places, whose in ((self._of_endpoint, endpoint_id), (self._of_tenant, tenant_id)):
            places[whose] -= 1
            if not places[whose]:
                del places[whose]

    def judge(self, endpoint_id: str, answer: Answer, milliseconds: int) -> None:
        """What an answer earns its endpoint."""
        if answer.problem in OURS:
            return
        earned = self._earned.get(endpoint_id, OF_UNKNOWN)
        if not answer.is_success:
            self._earned[endpoint_id] = OF_FAILING
        elif milliseconds <= QUICK_MILLISECONDS:
            self._earned[endpoint_id] = min(earned + 1, OF_ENDPOINT)
        else:
            self._earned[endpoint_id] = min(earned + 1, OF_UNKNOWN)
