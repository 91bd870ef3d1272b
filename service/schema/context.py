"""What a request carries: who asks, the services behind the graph, and loaders that live as long as the request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import strawberry

from service.connections.accounts import AccountSource
from service.connections.doctor import Doctor
from service.connections.linking import Linker
from service.connections.sealing_keys import SealingKeys
from service.connections.store import ConnectionStore
from service.directory.groups import GroupReader
from service.directory.members import MemberReader
from service.events.feed import Feed
from service.events.store import EventStore
from service.journal import Journal
from service.link.sessions import LinkSessions
from service.proxy.engine import ProxyEngine
from service.repair.listening import Listening
from service.schema.cursors import CursorCodec
from service.schema.loaders import Loaders, Lookups
from service.sentry.client import SentryClient
from service.sentry.limits import RateLimitState
from service.tenants.caller import Caller
from service.tenants.store import TenantStore
from service.webhooks.deliveries import Deliveries
from service.webhooks.endpoints import Endpoints
from service.webhooks.quarantine import Quarantine
from service.webhooks.receivers import Receivers


@dataclass(frozen=True, slots=True)
class Services:
    """What the graph is served from: made once by the composition root, shared by all requests."""

    tenants: TenantStore
    api_key_pepper: bytes = field(repr=False)
    connections: ConnectionStore
    accounts: AccountSource
    link_sessions: LinkSessions
    journal: Journal
    events: EventStore
    feed: Feed
    endpoints: Endpoints
    deliveries: Deliveries
    receivers: Receivers
    quarantine: Quarantine
    listening: Listening
    doctor: Doctor
    linker: Linker
    sealing_keys: SealingKeys
    client: SentryClient
    members: MemberReader
    groups: GroupReader
    proxy: ProxyEngine
    cursors: CursorCodec
    max_scan: int


class Context:
    """One request of one caller."""

    def __init__(self, caller: Caller, services: Services, *, wants_rate_limits: bool = False) -> None:
        self.caller = caller
        self.services = services
        self.lookups = Lookups(caller, services)
        self.loaders = Loaders(self.lookups)
        self.wants_rate_limits = wants_rate_limits
        services.client.begin_request()

    @property
    def extensions(self) -> Mapping[str, Any]:
        """``rateLimits`` of the connections that were used, where the request's ``extensions`` asked for them."""
        if not self.wants_rate_limits:
            return {}
        states = {
            connection_id: self.services.client.rate_limit(account)
            for connection_id, account in self.lookups.accounts.items()
        }
        return {"rateLimits": [_describe(each, state) for each, state in states.items() if state is not None]}


def _describe(connection_id: str, state: RateLimitState) -> dict[str, Any]:
    return {
        "connectionId": connection_id,
        "limit": state.limit,
        "remaining": state.remaining,
        "resetAt": state.reset_at,
        "concurrentLimit": state.concurrent_limit,
        "concurrentRemaining": state.concurrent_remaining,
    }


Info = strawberry.Info[Context, None]
