"""The ``WebhookReceiver`` type: an address that Sentry sends one connection's webhooks to, and what makes one."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import strawberry

from service.columns import now
from service.connections.receiver_models import ReceiverKind, ReceiverRecord
from service.errors import BadInput
from service.schema.context import Info
from service.webhooks.receivers import LONGEST_OVERLAP

if TYPE_CHECKING:
    from service.schema.connection import Connection

_LONGEST = int(LONGEST_OVERLAP.total_seconds())
_USUAL = 24 * 3600


@strawberry.type(
    description="An address that Sentry sends the webhooks of one connection to: those of an internal integration, of "
    "a service hook, or of the legacy plugin. (A public integration has one address for all its installations, which "
    "the operator knows.)"
)
class WebhookReceiver:
    """An address of one connection's webhooks."""

    id: strawberry.ID = strawberry.field(description="The receiver's id.")
    kind: ReceiverKind = strawberry.field(description="What sends to it.")
    created_at: datetime = strawberry.field(description="When it was made.")
    last_used_at: datetime | None = strawberry.field(
        description="When a genuine webhook came last; to some seconds. Null if none ever did."
    )

    @strawberry.field(
        description="The address to enter in Sentry. Whoever knows that of a `LEGACY_PLUGIN`, which signs nothing, can "
        "send events."
    )
    def url(record: strawberry.Parent[ReceiverRecord], info: Info) -> str:
        """The address."""
        return info.context.services.receivers.url(record)

    @strawberry.field(description="Until when the secret before is good, too; null where there is none.")
    def previous_secret_until(record: strawberry.Parent[ReceiverRecord]) -> datetime | None:
        """The end of a rotation."""
        until = record.previous_until
        return until if until is not None and until > now() else None

    @strawberry.field(description="The connection whose events come to it.")
    async def connection(
        record: strawberry.Parent[ReceiverRecord], info: Info
    ) -> Annotated["Connection", strawberry.lazy("service.schema.connection")] | None:
        """The connection."""
        return await info.context.loaders.load_connection(record.connection_id)  # type: ignore[return-value]  # backs the type


@strawberry.input(description="A webhook receiver to make.")
class CreateWebhookReceiverInput:
    """A receiver to make."""

    connection_id: strawberry.ID = strawberry.field(description="The connection whose events will come to it.")
    kind: ReceiverKind = strawberry.field(description="What will send to it.")
    secret: str | None = strawberry.field(
        default=None,
        description="What Sentry signs with: an internal integration's Client Secret, or the `secret` in Sentry's "
        "answer to making a service hook. It is sealed, and never given back. The legacy plugin has none.",
    )


@strawberry.input(description="A webhook receiver's new secret.")
class RotateWebhookReceiverSecretInput:
    """A receiver's new secret."""

    id: strawberry.ID = strawberry.field(description="The receiver.")
    secret: str = strawberry.field(description="What Sentry signs with from now on.")
    keep_previous_for: int = strawberry.field(
        default=_USUAL,
        description=f"The seconds that the secret before stays good, from 0 to {_LONGEST}; a day if absent.",
    )

    def to_overlap(self) -> timedelta:
        """How long both are good. Raises :class:`BadInput`."""
        if not 0 <= self.keep_previous_for <= _LONGEST:
            raise BadInput(f"`keepPreviousFor` must be between 0 and {_LONGEST} seconds.")
        return timedelta(seconds=self.keep_previous_for)
