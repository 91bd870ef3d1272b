"""The root of changing."""

from datetime import datetime
from typing import Annotated

import msgspec
import strawberry

from service.connections.linking import LinkRequest
from service.errors import BadInput
from service.proxy.engine import ProxyRequest
from service.schema import arguments as args
from service.schema import relay
from service.schema.api_key import ApiKey, require_key_admin
from service.schema.connection import Connection
from service.schema.context import Info
from service.schema.inputs import assume_utc
from service.schema.link_session import CreatedLinkSession, CreateLinkSessionInput, LinkSession, create_link_session
from service.schema.proxy import Proxy, call_through_proxy
from service.schema.scalars import JSON
from service.schema.webhook_delivery import ReplayWebhookEventsInput, WebhookDelivery, WebhookReplay, build_replay
from service.schema.webhook_endpoint import (
    CreateWebhookEndpointInput,
    UpdateWebhookEndpointInput,
    WebhookEndpoint,
    WebhookEndpointSecret,
)
from service.schema.webhook_receiver import (
    CreateWebhookReceiverInput,
    RotateWebhookReceiverSecretInput,
    WebhookReceiver,
)
from service.sentry.profiles import Profile
from service.tenants.caller import Role


@strawberry.input(description="A Sentry credential to link, and what to link it as.")
class LinkConnectionInput:
    """A Sentry credential to link."""

    token: str = strawberry.field(
        description="The credential: a user auth token, an internal integration's token, an OAuth or app token, or an "
        "organization auth token. It is sealed, and never given back."
    )
    origin: str = strawberry.field(
        default="https://sentry.io", description="Sentry's address: https://sentry.io, a region, or your own."
    )
    organization: str | None = strawberry.field(
        default=None, description="The organization's slug; needed where the token reaches several or cannot list them."
    )
    external_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Your id of the connection, unique in the tenant. Linking again with it replaces the credential "
        "and keeps the connection. The connection's own id if absent.",
    )
    customer_id: str | None = strawberry.field(default=None, description="Your id of the customer.")
    name: str | None = strawberry.field(default=None, description="A name for people; the organization's if absent.")
    projects: list[str] | None = strawberry.field(
        default=None, description="Limit the connection to these projects, by slug or id."
    )
    installation_id: str | None = strawberry.field(
        default=None, description="The UUID of the integration's installation, where the token is a public app's."
    )
    profile: Profile | None = strawberry.field(
        default=None,
        description="How much of the account to use; `FULL` if absent, or what the connection had before.",
    )
    ca_certificate: str | None = strawberry.field(
        default=None,
        description="The certificates (PEM) of the authorities to trust for this Sentry, where it is self-hosted with "
        "a private one. Only where the operator allows it.",
    )


@strawberry.input(description="What to change of a connection; what is absent stays.")
class UpdateConnectionInput:
    """What to change of a connection."""

    id: strawberry.ID = strawberry.field(description="The connection.")
    name: str | None = strawberry.field(default=None, description="A new name.")
    customer_id: strawberry.Maybe[str | None] = strawberry.field(
        default=None, description="A new customer id; null removes it."
    )
    projects: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Limit the connection to these projects, by slug or id; null lifts the limit."
    )
    profile: Profile | None = strawberry.field(
        default=None,
        description="A narrower profile. To widen it, have the account linked again: that is the customer's to allow.",
    )


@strawberry.input(description="An API key to make.")
class CreateApiKeyInput:
    """An API key to make."""

    name: str = strawberry.field(description="What the key is for.")
    role: Role = strawberry.field(default=Role.READ, description="What its holder may do.")
    connection_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Narrow the key to these connections."
    )
    external_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Narrow the key to the connections with these externalIds."
    )
    expires_at: datetime | None = strawberry.field(default=None, description="When it stops working; never if absent.")


@strawberry.type(description="A new API key, with the key itself.")
class CreatedApiKey:
    """A new API key."""

    api_key: ApiKey = strawberry.field(description="What is kept of it.")
    key: str = strawberry.field(description="The key itself: it is shown this once, and cannot be had again.")


EndpointId = Annotated[strawberry.ID, strawberry.argument(description="The webhook endpoint.")]


@strawberry.type(description="Changing.")
class Mutation:
    """The root of changing."""

    @strawberry.mutation(
        description="Link a Sentry account by its token, or give a connection a new one. Needs the role `admin`.",
        directives=[relay.cost(10)],
    )
    async def link_connection(
        self,
        info: Info,
        input: Annotated[LinkConnectionInput, strawberry.argument(description="What to link.")],
    ) -> Connection | None:
        """Link an account."""
        request = LinkRequest(
            token=input.token,
            origin=input.origin,
            organization=input.organization,
            external_id=input.external_id,
            customer_id=input.customer_id,
            name=input.name,
            projects=input.projects,
            installation_id=input.installation_id,
            profile=input.profile,
            ca_certificate=input.ca_certificate,
        )
        return await info.context.services.linker.link(info.context.caller, request)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Change a connection's name, customer, profile or projects. Needs the role `admin`.",
        directives=[relay.cost(5)],
    )
    async def update_connection(
        self,
        info: Info,
        input: Annotated[UpdateConnectionInput, strawberry.argument(description="What to change.")],
    ) -> Connection | None:
        """Change a connection."""
        services, caller = info.context.services, info.context.caller
        record = await services.connections.update(
            caller,
            input.id,
            name=input.name,
            customer_id=... if input.customer_id is None else input.customer_id.value,
            profile=input.profile,
        )
        if input.projects is not None:
            record = await services.linker.set_projects(caller, input.id, input.projects.value)
        return record  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Destroy a connection's credential. The connection stays as `UNLINKED`: linking again with its "
        "externalId revives it. Needs the role `admin`. Remove the credential in Sentry too, which only Sentry can "
        "revoke: `removal` says where."
    )
    async def unlink_connection(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The connection.")],
    ) -> Connection | None:
        """Unlink an account."""
        return await info.context.services.connections.unlink(info.context.caller, id)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Make a link session: an address to send to a customer, who links a Sentry account there. Needs "
        "the role `admin`."
    )
    async def create_link_session(
        self,
        info: Info,
        input: Annotated[CreateLinkSessionInput, strawberry.argument(description="What to make.")],
    ) -> CreatedLinkSession | None:
        """Make a link session."""
        return await create_link_session(info, input)

    @strawberry.mutation(description="End a link session, so that nothing can be linked by it. Needs the role `admin`.")
    async def cancel_link_session(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The session's id.")],
    ) -> LinkSession | None:
        """End a link session."""
        return await info.context.services.link_sessions.cancel(info.context.caller, id)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Make an address for the webhooks of one connection: of an internal integration, a service hook, "
        "or the legacy plugin where the operator allows it. Needs the role `admin`."
    )
    async def create_webhook_receiver(
        self,
        info: Info,
        input: Annotated[CreateWebhookReceiverInput, strawberry.argument(description="What to make.")],
    ) -> WebhookReceiver | None:
        """Make a webhook receiver."""
        receivers = info.context.services.receivers
        return await receivers.create(info.context.caller, input.connection_id, input.kind, input.secret)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Give a webhook receiver the secret that Sentry signs with from now on. The one before stays good "
        "for a while. Needs the role `admin`."
    )
    async def rotate_webhook_receiver_secret(
        self,
        info: Info,
        input: Annotated[RotateWebhookReceiverSecretInput, strawberry.argument(description="The new secret.")],
    ) -> WebhookReceiver | None:
        """Rotate a webhook receiver's secret."""
        receivers = info.context.services.receivers
        return await receivers.rotate_secret(  # type: ignore[return-value]  # backs the type
            info.context.caller, input.id, input.secret, overlap=input.to_overlap()
        )

    @strawberry.mutation(
        description="Delete a webhook receiver, and give its id back: what Sentry sends to its address is refused. "
        "Needs the role `admin`."
    )
    async def delete_webhook_receiver(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The webhook receiver.")],
    ) -> strawberry.ID | None:
        """Delete a webhook receiver."""
        return strawberry.ID((await info.context.services.receivers.delete(info.context.caller, id)).id)

    @strawberry.mutation(description="Make an API key of the tenant. Needs the role `admin`.")
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[CreateApiKeyInput, strawberry.argument(description="What to make.")],
    ) -> CreatedApiKey | None:
        """Make an API key."""
        caller = info.context.caller
        require_key_admin(caller)
        record, key = await info.context.services.tenants.create_key(
            caller.tenant_id,
            name=input.name,
            role=input.role,
            connection_ids=input.connection_ids,
            external_ids=input.external_ids,
            expires_at=assume_utc(input.expires_at),
            pepper=info.context.services.api_key_pepper,
            actor=caller.subject,
        )
        return CreatedApiKey(api_key=record, key=key)  # type: ignore[arg-type]  # the record backs the type

    @strawberry.mutation(description="Revoke an API key of the tenant at once. Needs the role `admin`.")
    async def revoke_api_key(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The key's id.")],
    ) -> ApiKey | None:
        """Revoke an API key."""
        caller = info.context.caller
        require_key_admin(caller)
        tenants = info.context.services.tenants
        return await tenants.revoke_key(caller.tenant_id, id, actor=caller.subject)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Have the tenant's events delivered to an address, as webhooks of the Standard Webhooks kind. "
        "Needs the role `admin`."
    )
    async def create_webhook_endpoint(
        self,
        info: Info,
        input: Annotated[CreateWebhookEndpointInput, strawberry.argument(description="What to make.")],
    ) -> WebhookEndpointSecret | None:
        """Make a webhook endpoint."""
        endpoints = info.context.services.endpoints
        return WebhookEndpointSecret.of(await endpoints.create(info.context.caller, input.to_change()))

    @strawberry.mutation(
        description="Change a webhook endpoint. What waits to be delivered goes where the endpoint is then. Needs the "
        "role `admin`."
    )
    async def update_webhook_endpoint(
        self,
        info: Info,
        input: Annotated[UpdateWebhookEndpointInput, strawberry.argument(description="What to change.")],
    ) -> WebhookEndpoint | None:
        """Change a webhook endpoint."""
        endpoints = info.context.services.endpoints
        return await endpoints.update(info.context.caller, input.id, input.to_change())  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Deliver to a webhook endpoint again that was disabled. What it missed is replayed on request. "
        "Needs the role `admin`."
    )
    async def enable_webhook_endpoint(self, info: Info, id: EndpointId) -> WebhookEndpoint | None:
        """Enable a webhook endpoint."""
        return await info.context.services.endpoints.enable(info.context.caller, id)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Delete a webhook endpoint with all its deliveries, and give its id back. Needs the role `admin`."
    )
    async def delete_webhook_endpoint(self, info: Info, id: EndpointId) -> strawberry.ID | None:
        """Delete a webhook endpoint."""
        await info.context.services.endpoints.delete(info.context.caller, id)
        return id

    @strawberry.mutation(
        description="Give a webhook endpoint a new secret. For a day the one before signs beside it, so that receivers "
        "can change over. Needs the role `admin`."
    )
    async def rotate_webhook_endpoint_secret(self, info: Info, id: EndpointId) -> WebhookEndpointSecret | None:
        """Replace a secret."""
        return WebhookEndpointSecret.of(await info.context.services.endpoints.rotate_secret(info.context.caller, id))

    @strawberry.mutation(
        description="Deliver an event of the type `webhook_endpoint.test` to a webhook endpoint, whatever events it "
        "wants; its deliveries show what becomes of it. Needs the role `admin`."
    )
    async def test_webhook_endpoint(self, info: Info, id: EndpointId) -> WebhookDelivery | None:
        """Test a webhook endpoint."""
        return await info.context.services.endpoints.test(info.context.caller, id)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Deliver an event once more that was delivered or given up; what waits for its next attempt is "
        "tried at once. Receivers know it by the same `webhook-id`. Needs the role `admin`."
    )
    async def replay_webhook_delivery(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The delivery.")]
    ) -> WebhookDelivery | None:
        """Repeat a delivery."""
        return await info.context.services.deliveries.replay(info.context.caller, id)  # type: ignore[return-value]  # backs the type

    @strawberry.mutation(
        description="Deliver events of a range to a webhook endpoint, those that it wants now, whether they were "
        "delivered before or not. Needs the role `admin`."
    )
    async def replay_webhook_events(
        self,
        info: Info,
        input: Annotated[ReplayWebhookEventsInput, strawberry.argument(description="Which events.")],
    ) -> WebhookReplay | None:
        """Repeat a range of events."""
        deliveries = info.context.services.deliveries
        return build_replay(await deliveries.replay_events(info.context.caller, input.endpoint_id, input.to_range()))

    @strawberry.mutation(
        description="Deliver once more all that was given up for a webhook endpoint. Needs the role `admin`."
    )
    async def replay_dead_webhook_deliveries(self, info: Info, endpoint_id: EndpointId) -> WebhookReplay | None:
        """Repeat what was given up."""
        return build_replay(await info.context.services.deliveries.replay_dead(info.context.caller, endpoint_id))

    @strawberry.mutation(
        description="Call any method of Sentry's API below `/api/0/`, with a connection's credential. Needs the role "
        "`write`. A call whose outcome is unknown (`OUTCOME_UNKNOWN`) is never repeated by itself.",
        directives=[relay.cost(10)],
    )
    async def proxy(
        self,
        info: Info,
        connection_id: Annotated[strawberry.ID, strawberry.argument(description="The connection to call through.")],
        method: Annotated[str, strawberry.argument(description="GET, POST, PUT, PATCH or DELETE.")],
        path: args.ProxyPath,
        query: args.ProxyQuery = None,
        body: Annotated[JSON | None, strawberry.argument(description="The JSON body to send.")] = strawberry.UNSET,
        idempotency_key: Annotated[
            str | None,
            strawberry.argument(
                description="Your id of this write: repeating it within 24 hours gives the first answer again."
            ),
        ] = None,
    ) -> Proxy | None:
        """A call through the proxy."""
        if method.upper() not in _METHODS:
            raise BadInput("`method` must be one of " + ", ".join(sorted(_METHODS)) + ".")
        info.context.caller.require(Role.WRITE)
        request = ProxyRequest(
            method=method.upper(),
            path=path,
            query=[(parameter.name, parameter.value) for parameter in query or ()],
            body=None if body is strawberry.UNSET else msgspec.json.encode(body),
            idempotency_key=idempotency_key,
        )
        answer = await call_through_proxy(info, connection_id, request)
        return Proxy(answer)


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
