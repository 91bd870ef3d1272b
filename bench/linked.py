"""What the peers are told of the world: where the upstream is, and the connections that the product has linked."""

import json
import os
from typing import Any

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9")
CONNECTIONS: dict[str, dict[str, Any]] = {
    row["id"]: row for row in json.loads(os.environ.get("BENCH_CONNECTIONS", "[]"))
}
"""Rows of ``id``, ``name``, ``customerId`` and ``organization`` (its slug), by id, in the order of linking."""
