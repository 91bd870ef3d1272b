"""The keys that seal stored secrets, and how far sealing anew has come."""

import strawberry

from service.connections.sealing_keys import SealingKey as SealingKeyCount
from service.schema.api_key import require_key_admin
from service.schema.context import Info


@strawberry.type(description="A key that seals stored secrets, without the key itself.")
class SealingKey:
    """A key that seals stored secrets."""

    id: strawberry.ID = strawberry.field(description="The key's id.")
    is_active: bool = strawberry.field(description="Whether it seals what is stored now.")
    is_held: bool = strawberry.field(
        description="Whether the service has it; the secrets of one that is missing cannot be read."
    )
    secrets: int = strawberry.field(description="How many of the tenant's secrets need it.")


@strawberry.type(description="How far sealing the tenant's secrets anew under the active key has come.")
class RewrapProgress:
    """How far sealing anew has come."""

    total: int = strawberry.field(description="How many secrets the tenant has.")
    done: int = strawberry.field(description="How many of them the active key seals.")


async def resolve_sealing_keys(info: Info) -> list[SealingKey]:
    """The keys. Raises :class:`Forbidden`."""
    return await _count(info)  # type: ignore[return-value]  # the counts back the type


async def resolve_rewrap_progress(info: Info) -> RewrapProgress:
    """The tenant's progress. Raises :class:`Forbidden`."""
    keys = await _count(info)
    return RewrapProgress(
        total=sum(key.secrets for key in keys), done=sum(key.secrets for key in keys if key.is_active)
    )


async def _count(info: Info) -> list[SealingKeyCount]:
    """Secrets are counted over all of the tenant's connections: for those who see them all."""
    require_key_admin(info.context.caller)
    return await info.context.services.sealing_keys.count(info.context.caller.tenant_id)
