"""What a request carries: who asks, the services behind the graph, and loaders that live as long as the request."""

from dataclasses import dataclass, field
from typing import Any

import strawberry

from service.connections.accounts import AccountSource
from service.connections.linking import Linker
from service.connections.store import ConnectionStore
from service.directory.groups import GroupReader
from service.directory.members import MemberReader
from service.proxy.engine import ProxyEngine
from service.schema.cursors import CursorCodec
from service.schema.loaders import Loaders
from service.sentry.client import SentryClient
from service.tenants.caller import Caller
from service.tenants.store import TenantStore


@dataclass(frozen=True, slots=True)
class Services:
    """What the graph is served from: made once by the composition root, shared by all requests."""

    tenants: TenantStore
    api_key_pepper: bytes = field(repr=False)
    connections: ConnectionStore
    accounts: AccountSource
    linker: Linker
    client: SentryClient
    members: MemberReader
    groups: GroupReader
    proxy: ProxyEngine
    cursors: CursorCodec
    max_scan: int


@dataclass(slots=True)
class Context:
    """One request. ``extensions`` is added to the answer's ``extensions``."""

    caller: Caller
    services: Services
    extensions: dict[str, Any] = field(default_factory=dict)
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.caller, self.services)


Info = strawberry.Info[Context, None]
