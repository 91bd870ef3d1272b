"""The keys that seal secrets, as one tenant may see them: how many of its own secrets need each."""

from dataclasses import dataclass

from service.connections.keyring import Keyring
from service.connections.rewrap import count_by_key
from service.db import Database


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key, without the key itself. ``is_held`` is False where secrets need it and the keyring lacks it."""

    id: str
    is_active: bool
    is_held: bool
    secrets: int


class SealingKeys:
    """Counts a tenant's secrets by the key that they need."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def count(self, tenant_id: str) -> list[SealingKey]:
        """Every key of the keyring, and any other that a secret of the tenant needs, by id."""
        self._keyring.reload_if_changed()
        active, held = self._keyring.active_id, self._keyring.key_ids
        counts = await count_by_key(self._database, tenant_id=tenant_id)
        return [
            SealingKey(key_id, key_id == active, key_id in held, counts.get(key_id, 0))
            for key_id in sorted(held | counts.keys())
        ]
