"""How a connection's webhooks come. Answers from ``RepairRecord``."""

from datetime import datetime

import strawberry

from service.connections.repair_models import RepairRecord


@strawberry.type(description="Whether a connection's webhooks come, as seen when its issues were compared last.")
class ConnectionWebhooks:
    """Whether a connection's webhooks come."""

    silent_since: datetime | None = strawberry.field(
        description="When it was noticed that they had stopped; null while they come, and where none ever did. See the "
        "event `webhooks.silent`."
    )

    @strawberry.field(description="When the last one came; null where none ever did.")
    def last_received_at(record: strawberry.Parent[RepairRecord]) -> datetime | None:
        """When the last one came."""
        return record.heard_at
