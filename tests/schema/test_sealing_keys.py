"""The keys that seal secrets, in the graph: each tenant's own counts, and how far a rewrap has come."""

from typing import Any

from service.connections.rewrap import rewrap
from service.connections.vault import Vault
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph

KEYS = "{ sealingKeys { id isActive isHeld secrets } rewrapProgress { total done } }"


async def counted(graph: Graph) -> tuple[list[tuple[str, bool, int]], dict[str, int]]:
    answer: dict[str, Any] = await graph.query(KEYS)
    assert all(key["isHeld"] for key in answer["sealingKeys"])
    keys = [(key["id"], key["isActive"], key["secrets"]) for key in answer["sealingKeys"]]
    return keys, answer["rewrapProgress"]


async def test_each_tenant_counts_its_own_secrets_while_they_are_sealed_anew(graph: Graph) -> None:
    keyring, other = graph.runtime.keyring, await graph.as_tenant("Other")
    old = keyring.active_id
    assert await counted(graph) == ([(old, True, 0)], {"total": 0, "done": 0})
    for organization in (BIG, MIDDLE):
        await graph.link(organization)
    await other.link(SMALL)
    assert await counted(graph) == ([(old, True, 2)], {"total": 2, "done": 2})
    new = keyring.rotate()
    await graph.link(SMALL)
    expected = sorted([(old, False, 2), (new, True, 1)])
    assert await counted(graph) == (expected, {"total": 3, "done": 1})
    assert await counted(other) == (sorted([(old, False, 1), (new, True, 0)]), {"total": 1, "done": 0})
    await rewrap(graph.runtime.database, Vault(keyring))
    assert await counted(graph) == (sorted([(old, False, 0), (new, True, 3)]), {"total": 3, "done": 3})


async def test_a_key_that_is_missing_is_told(graph: Graph) -> None:
    await graph.link(BIG)
    keyring = graph.runtime.keyring
    old = keyring.active_id
    keyring.rotate()
    keyring.remove(old)
    keys = {key["id"]: key for key in (await graph.query(KEYS))["sealingKeys"]}
    assert (keys[old]["isHeld"], keys[old]["secrets"], keys[keyring.active_id]["isHeld"]) == (False, 1, True)
