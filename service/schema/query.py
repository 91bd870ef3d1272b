"""The root of reading."""

from datetime import datetime
from typing import Annotated

import strawberry

from service.errors import BadInput, NotFound
from service.ids import is_connection_id, is_event_id, parse_user_id
from service.schema import arguments as args
from service.schema import relay
from service.schema.api_key import ApiKeyConnection, resolve_api_keys
from service.schema.audit import AuditEntryConnection, AuditFilterInput, resolve_audit_log
from service.schema.connection import Connection
from service.schema.connection_listing import ConnectionConnection, resolve_connections
from service.schema.context import Info
from service.schema.event_filter import ConnectionIds, Environment, Level, Project, Types, build_event_filter
from service.schema.event_listing import MOST_EVENTS, SentryEventConnection, resolve_events
from service.schema.event_types import build_event
from service.schema.inputs import assume_utc
from service.schema.link_session import LinkSession, find_link_session
from service.schema.proxy import Proxy, read_through_proxy
from service.schema.sealing_keys import RewrapProgress, SealingKey, resolve_rewrap_progress, resolve_sealing_keys
from service.schema.user import User, UserConnection, list_users
from service.schema.webhook_endpoint import (
    WebhookEndpoint,
    WebhookEndpointConnection,
    find_webhook_endpoint,
    resolve_webhook_endpoints,
)
from service.schema.webhook_quarantine import QuarantinedWebhookConnection, resolve_webhook_quarantine
from service.schema.webhook_receiver import WebhookReceiver

_MOST_IDS = 100

Id = Annotated[strawberry.ID, strawberry.argument(description="The global id.")]


@strawberry.type(description="Reading.")
class Query:
    """The root of reading, as a gateway composes it.

    Fields are nullable so that one that fails leaves its neighbours alone.
    """

    @strawberry.field(description="One connection; null where there is none.")
    async def connection(self, info: Info, id: Id) -> Connection | None:
        """One connection by id."""
        return await info.context.loaders.load_connection(id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="The connections that the caller may see, in the order in which they were linked.",
        directives=[relay.list_size()],
    )
    async def connections(
        self,
        info: Info,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
        filter: args.ConnectionFilter = None,
    ) -> ConnectionConnection | None:
        """A page of connections."""
        return await resolve_connections(info, relay.build_window(first, after, last, before), filter)

    @strawberry.field(
        description="The tenant's API keys, the oldest first. Needs the role `admin`.", directives=[relay.list_size()]
    )
    async def api_keys(
        self,
        info: Info,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
    ) -> ApiKeyConnection | None:
        """A page of API keys."""
        return await resolve_api_keys(info, relay.build_window(first, after, last, before))

    @strawberry.field(
        description="The tenant's audit log, the newest entry first: each use of an admin's rights, and what became of "
        "credentials. A caller that is narrowed to named connections is shown what was done to those. Needs the role "
        "`admin`.",
        directives=[relay.list_size()],
    )
    async def audit_log(
        self,
        info: Info,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
        filter: Annotated[
            AuditFilterInput | None, strawberry.argument(description="Conditions that all must hold.")
        ] = None,
    ) -> AuditEntryConnection | None:
        """A page of the audit log."""
        return await resolve_audit_log(info, relay.build_window(first, after, last, before), filter)

    @strawberry.field(
        description="What happened, in the order in which it was stored, the oldest first: `last: 20` gives the newest "
        "twenty. Nothing is ever stored before what was listed already, so whoever goes on from `endCursor` misses "
        "nothing; a cursor is good for a day. Events are kept for a while, a month unless the operator says otherwise. "
        "A caller that is narrowed to named connections is shown what happened to those.",
        directives=[relay.list_size()],
    )
    async def events(
        self,
        info: Info,
        connection_ids: ConnectionIds = None,
        types: Types = None,
        project: Project = None,
        environment: Environment = None,
        level: Level = None,
        since: Annotated[
            datetime | None,
            strawberry.argument(description="Stored at this time or later. UTC unless it says otherwise."),
        ] = None,
        first: Annotated[
            int | None, strawberry.argument(description="How many events to give: 50 unless said, at most 100.")
        ] = None,
        after: args.After = None,
        last: Annotated[
            int | None,
            strawberry.argument(description="How many events to give before `before`, or before the end, at most 100."),
        ] = None,
        before: args.Before = None,
    ) -> SentryEventConnection | None:
        """A page of events."""
        wanted = await build_event_filter(info.context, connection_ids, types, project, environment, level)
        window = relay.build_window(first, after, last, before, most=MOST_EVENTS, has_end=True)
        return await resolve_events(info, window, wanted, assume_utc(since))

    @strawberry.field(description="One link session; null where there is none. Needs the role `admin`.")
    async def link_session(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The session's id.")]
    ) -> LinkSession | None:
        """One link session by id."""
        return await find_link_session(info, id)  # type: ignore[return-value]  # the record backs the type

    @strawberry.field(
        description="Where the tenant has its events delivered, the oldest endpoint first. A caller that is narrowed "
        "to named connections is shown those that are limited to connections which it sees. Needs the role `admin`.",
        directives=[relay.list_size()],
    )
    async def webhook_endpoints(
        self,
        info: Info,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
    ) -> WebhookEndpointConnection | None:
        """A page of webhook endpoints."""
        return await resolve_webhook_endpoints(info, relay.build_window(first, after, last, before))

    @strawberry.field(description="One webhook endpoint; null where there is none. Needs the role `admin`.")
    async def webhook_endpoint(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The endpoint's id.")]
    ) -> WebhookEndpoint | None:
        """One webhook endpoint by id."""
        return await find_webhook_endpoint(info, id)  # type: ignore[return-value]  # the record backs the type

    @strawberry.field(
        description="The addresses that Sentry sends one connection's webhooks to, the oldest first. Needs the role "
        "`admin`."
    )
    async def webhook_receivers(
        self,
        info: Info,
        connection_id: Annotated[strawberry.ID, strawberry.argument(description="The connection.")],
    ) -> list[WebhookReceiver] | None:
        """The receivers of a connection."""
        return await info.context.services.receivers.list_of(info.context.caller, connection_id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="Webhooks that were genuine and did not belong to the connection that they came to, the newest "
        "first; they are kept for some days. A caller that is narrowed to named connections is shown those that came "
        "to these. Needs the role `admin`.",
        directives=[relay.list_size()],
    )
    async def webhook_quarantine(
        self,
        info: Info,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
    ) -> QuarantinedWebhookConnection | None:
        """A page of webhooks in quarantine."""
        return await resolve_webhook_quarantine(info, relay.build_window(first, after, last, before))

    @strawberry.field(
        description="The keys that seal stored secrets, with how many of the tenant's need each. A key is retired only "
        "once none does. Needs the role `admin`."
    )
    async def sealing_keys(self, info: Info) -> list[SealingKey] | None:
        """The keys."""
        return await resolve_sealing_keys(info)

    @strawberry.field(
        description="How far sealing the tenant's secrets anew has come, after the operator made a new key. Needs the "
        "role `admin`."
    )
    async def rewrap_progress(self, info: Info) -> RewrapProgress | None:
        """The progress."""
        return await resolve_rewrap_progress(info)

    @strawberry.field(description="One user; null where there is none.", directives=[relay.cost(5)])
    async def user(self, info: Info, id: Id) -> User | None:
        """One user by id."""
        return await load_user(info, id)

    @strawberry.field(
        description="The users of one connection, several, or all that the caller may see, as one list. A connection "
        "that fails is listed in `failures`; the others are served.",
        directives=[relay.list_size(), relay.cost(5)],
    )
    async def users(
        self,
        info: Info,
        connection_ids: Annotated[
            list[strawberry.ID] | None,
            strawberry.argument(description="The connections to list; all that the caller may see if absent."),
        ] = None,
        first: args.First = None,
        after: args.After = None,
        last: args.Last = None,
        before: args.Before = None,
        filter: args.UserFilter = None,
        order_by: args.UserOrder = None,
    ) -> UserConnection | None:
        """A page of users."""
        if connection_ids is None:
            ids = [record.id for record in await info.context.services.connections.every(info.context.caller)]
        else:
            ids = list(dict.fromkeys(connection_ids))
            found = await info.context.loaders.load_connections(ids)
            if None in found:
                raise NotFound("No such connection.")
        listing = list_users(info, relay.build_window(first, after, last, before), filter, order_by)
        return UserConnection(*await listing.read(ids, connection_ids))

    @strawberry.field(
        description="Read anything from Sentry: `GET` below `/api/0/`, with a connection's credential.",
        directives=[relay.cost(5)],
    )
    async def proxy(
        self,
        info: Info,
        connection_id: Annotated[strawberry.ID, strawberry.argument(description="The connection to read through.")],
        path: args.ProxyPath,
        query: args.ProxyQuery = None,
        first: args.ProxyFirst = None,
        after: args.ProxyAfter = None,
    ) -> Proxy | None:
        """A read through the proxy."""
        return await read_through_proxy(info, connection_id, path, query, first, after)


@strawberry.type(name="Query", description="Reading.")
class RelayQuery(Query):
    """The root with Relay's ``node``: served, but left out of the subgraph's SDL, where it could not compose."""

    @strawberry.field(description="Any object by its global id; null where there is none.", directives=[relay.cost(5)])
    async def node(self, info: Info, id: Id) -> relay.Node | None:
        """One object by id."""
        return await load_node(info, id)

    @strawberry.field(
        description="Several objects by their global ids, in the order asked for; null where there is none.",
        directives=[relay.cost(5)],
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="The global ids, at most 100.")],
    ) -> list[relay.Node | None]:
        """Objects by id."""
        if len(ids) > _MOST_IDS:
            raise BadInput(f"At most {_MOST_IDS} ids at once.")
        return [load_node(info, each) for each in ids]  # type: ignore[misc]  # awaited item by item


async def load_node(info: Info, global_id: str) -> relay.Node | None:
    """The object of a global id, None where there is none or it is not the caller's."""
    if is_connection_id(global_id):
        return await info.context.loaders.load_connection(global_id)  # type: ignore[return-value]  # backs the type
    if is_event_id(global_id):
        record = await info.context.loaders.event.load(global_id)
        return None if record is None else build_event(record)
    return await load_user(info, global_id)


async def load_user(info: Info, global_id: str) -> User | None:
    """The user of a global id, None where there is none or its connection is not the caller's."""
    key = parse_user_id(global_id)
    if key is None or await info.context.loaders.load_connection(key[0]) is None:
        return None
    return await info.context.loaders.user.load(key)  # type: ignore[return-value]  # backs the type
