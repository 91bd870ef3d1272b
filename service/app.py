"""The composition root: every object is made here, wired to the others, started and stopped. Nothing else does that."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from service import __version__
from service.connections.accounts import AccountSource
from service.connections.cache import ConnectionCache
from service.connections.clients import Clients
from service.connections.doctor import Doctor
from service.connections.idempotency import IdempotencyStore
from service.connections.installations import Installations
from service.connections.keyring import Keyring
from service.connections.linking import Linker
from service.connections.refresh_store import RefreshStore
from service.connections.refreshing import LEASE_MARGIN, Refresher
from service.connections.rewrap import missing_keys
from service.connections.sealing_keys import SealingKeys
from service.connections.store import ConnectionStore
from service.connections.vault import Vault
from service.db import Database
from service.directory.groups import GroupReader
from service.directory.members import MemberReader
from service.errors import BadInput, ConfigurationError, StorageUnavailable
from service.events.feed import Feed
from service.events.store import EventStore
from service.executor import create_executor
from service.graphql_http.endpoint import create_graphql_routes
from service.graphql_http.origins import cors_middleware
from service.graphql_http.requests import GraphQLRequest
from service.graphql_http.sessions import Sessions
from service.graphql_http.shortcut import Shortcut
from service.journal import Journal
from service.last_used import LastUsed
from service.link.sessions import LinkSessions
from service.operations.health import ReadinessProbe, check_disk, create_health_routes, remember
from service.operations.metrics import create_metrics_route
from service.operations.observer import Observer
from service.proxy.engine import ProxyEngine
from service.proxy.idempotency import Idempotency
from service.proxy.rest import create_proxy_route
from service.repair.claims import Claims
from service.repair.comparing import Comparison
from service.repair.listening import Listening
from service.repair.repairer import CLAIM_MARGIN, Repairer
from service.schema.build import build_schema
from service.schema.context import Context, Services
from service.schema.cursors import CursorCodec
from service.schema.graphiql.demo_key import create_demo_key_route
from service.schema.graphiql.page import create_graphiql
from service.schema.prepared import PREPARED
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.transport import create_transport
from service.settings import Settings
from service.tasks import repeating
from service.tenants.authenticator import Authenticator
from service.tenants.caller import Caller
from service.tenants.store import TenantStore
from service.webhooks.addresses import Addresses
from service.webhooks.deliverer import Deliverer
from service.webhooks.deliveries import Deliveries
from service.webhooks.endpoints import Endpoints
from service.webhooks.finding import ReceiverFinder
from service.webhooks.places import AT_ONCE
from service.webhooks.quarantine import Quarantine
from service.webhooks.receive import HookReceiver
from service.webhooks.receivers import Receivers
from service.webhooks.routes import create_webhook_routes
from service.webhooks.sending import Sender

_PURGE_SECONDS = 3600

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """All parts of a process, wired. Making one opens nothing; :meth:`started` does."""

    settings: Settings
    database: Database
    keyring: Keyring
    vault: Vault
    clients: Clients
    last_used: LastUsed
    authenticator: Authenticator
    sessions: Sessions
    refresher: Refresher
    hooks: HookReceiver
    repairer: Repairer
    deliverer: Deliverer
    services: Services
    observer: Observer
    readiness: ReadinessProbe

    @classmethod
    def build(cls, settings: Settings) -> "Runtime":
        """Make all parts. Raises :class:`ConfigurationError` for a setting or keyring that cannot be used."""
        database = Database(settings.database_url)
        keyring = Keyring.load(settings.keyring_file)
        vault = Vault(keyring)
        last_used = LastUsed(database)
        observer = Observer.create(settings, version=__version__)
        policy = _build_policy("EGRESS_ALLOW", settings.egress_allow)
        forward_policy = _build_policy("FORWARD_ALLOW", settings.forward_allow)
        client = SentryClient(
            create_transport(policy, limit=settings.upstream_connections),
            policy=policy,
            deadline=settings.upstream_deadline,
            attempts=settings.upstream_attempts,
            max_bytes=settings.upstream_max_bytes,
            user_agent=f"sentry-graph/{__version__}",
            observe=observer.sentry_call,
            tenant_calls=max(1, settings.upstream_connections // 2),
        )
        cache = ConnectionCache()
        connections = ConnectionStore(database, cache)
        journal = Journal(database)
        events = EventStore(database)
        clients = Clients.of(settings)
        link_sessions = LinkSessions(database, keyring, public_url=settings.public_url, clients=clients, policy=policy)
        refresher = Refresher(
            RefreshStore(
                database,
                cache,
                lease_seconds=settings.upstream_deadline + LEASE_MARGIN,
                on_needs_reauth=link_sessions.create_for_reauth,
            ),
            client,
            vault,
            clients,
        )
        accounts = AccountSource(connections, vault, refresher, last_used)
        claims = Claims(
            database,
            lease=timedelta(seconds=settings.upstream_deadline + CLAIM_MARGIN),
            interval=timedelta(seconds=settings.repair_seconds),
        )
        addresses = Addresses(keyring, public_url=settings.public_url)
        finder = ReceiverFinder(database, vault, legacy=settings.legacy_webhooks)
        endpoints = Endpoints(database, connections, vault, forward_policy)
        sender = Sender(forward_policy, limit=AT_ONCE, user_agent=f"sentry-graph/{__version__}")
        members = MemberReader(client)
        # A keyed write counts as running for as long as it can last, and a little.
        running = timedelta(seconds=settings.upstream_deadline + 30)
        services = Services(
            tenants=TenantStore(database),
            api_key_pepper=keyring.api_key_pepper,
            connections=connections,
            accounts=accounts,
            link_sessions=link_sessions,
            journal=journal,
            events=events,
            feed=Feed(database, events, buffer=settings.subscription_buffer),
            endpoints=endpoints,
            deliveries=Deliveries(database, endpoints),
            receivers=Receivers(database, vault, addresses, finder),
            quarantine=Quarantine(database, clients, cache),
            listening=Listening(database),
            doctor=Doctor(client, connections, accounts, clients),
            linker=Linker(client, policy, connections, vault, accounts, journal, private_ca=settings.private_ca),
            sealing_keys=SealingKeys(database, keyring),
            client=client,
            members=members,
            groups=GroupReader(client, remember_seconds=settings.group_cache_seconds),
            proxy=ProxyEngine(client, accounts, Idempotency(IdempotencyStore(database), vault, running=running)),
            cursors=CursorCodec(keyring.cursor_key),
            max_scan=settings.max_scan,
        )
        authenticator = Authenticator(
            database, pepper=keyring.api_key_pepper, last_used=last_used, issuers=settings.jwt_issuers
        )
        readiness = ReadinessProbe(
            {
                "database": database.ping,
                "keys": remember(partial(_check_keys, database, keyring), seconds=30),
                "disk": check_disk(database.free_bytes, settings.min_free_bytes),
            }
        )
        return cls(
            settings=settings,
            database=database,
            keyring=keyring,
            vault=vault,
            clients=clients,
            last_used=last_used,
            authenticator=authenticator,
            sessions=Sessions(authenticator, limit=settings.subscriptions),
            refresher=refresher,
            hooks=HookReceiver(
                database,
                clients=clients,
                addresses=addresses,
                installations=Installations(database, cache),
                finder=finder,
                last_used=last_used,
                observe=observer.webhook,
            ),
            repairer=Repairer(claims, Comparison(database, claims), client, accounts, observer.repair),
            deliverer=Deliverer(database, sender, vault, observer),
            services=services,
            observer=observer,
            readiness=readiness,
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Open what is needed to serve, and close it at the end.

        Raises :class:`ConfigurationError` where another process serves this SQLite file, the database's tables are not
        of this version, or a stored secret needs a key that the keyring lacks.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.observer.close)
            stack.push_async_callback(self.database.dispose)
            stack.enter_context(self.database.serving_lock())
            if self.settings.is_sqlite:
                await self.database.migrate()
            else:
                await self.database.check_schema()
            await _check_keys(self.database, self.keyring)
            stack.push_async_callback(self.services.connections.aclose)
            stack.push_async_callback(self.authenticator.aclose)
            stack.push_async_callback(self.services.client.aclose)
            stack.push_async_callback(self.services.proxy.idempotency.aclose)
            await stack.enter_async_context(self.last_used.running())
            await stack.enter_async_context(self.services.feed.running())
            await stack.enter_async_context(self.refresher.running(sweeps=self.settings.works))
            await stack.enter_async_context(self.hooks.running())
            if self.settings.works:
                await stack.enter_async_context(self.services.quarantine.running())
                if self.settings.repair_seconds:
                    await stack.enter_async_context(self.repairer.running())
                await stack.enter_async_context(repeating(self._purge, _PURGE_SECONDS))
                await stack.enter_async_context(self.deliverer.running())
            yield

    async def _purge(self) -> None:
        try:
            await self.services.proxy.idempotency.purge()
            await self.services.link_sessions.purge()
            await self.services.journal.purge(self.settings.audit_days)
            await self.services.events.purge(self.settings.event_days)
            await self.services.quarantine.purge()
        except StorageUnavailable as error:
            _log.warning("rows_not_purged", error=error.message)


def _build_policy(name: str, allowed: Iterable[str]) -> EgressPolicy:
    """The policy that a setting opens."""
    setting = f"SENTRY_GRAPH_{name}"
    try:
        return EgressPolicy([Origin.parse(each) for each in allowed], setting=setting)
    except BadInput:
        raise ConfigurationError(
            f"{setting}: list origins such as http://sentry.internal:9000, with their scheme"
        ) from None


async def _check_keys(database: Database, keyring: Keyring) -> None:
    if missing := await missing_keys(database, keyring):
        raise ConfigurationError(
            f"Stored secrets need keys that the keyring does not hold: {', '.join(missing)}.",
            cure="Restore the keyring that they were sealed with.",
        )


def create_app(runtime: Runtime, *, demo_key: str | None = None) -> ASGIApp:
    """The ASGI application of a runtime, to be served while the runtime is started.

    ``demo_key`` is the API key that the demo's GraphiQL may fetch. A worker only says how it is.
    """
    settings, observer = runtime.settings, runtime.observer
    routes = _create_routes(runtime, demo_key) if settings.role != "worker" else []
    routes += create_health_routes(runtime.readiness, version=__version__)
    if settings.metrics:
        observer.metrics.watch_streams(lambda: runtime.sessions.count)
        routes.append(create_metrics_route(observer.metrics, token=settings.metrics_token))
    app = FastAPI(
        title="Sentry Graph",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # it would lead to the host and scheme that the request names: past TLS, and a path
        middleware=[cors_middleware(settings)],
    )
    app.router.routes.extend(routes)
    # Where no other origin may read answers, nothing is to be added to them; preflights go to the application.
    around = [cors_middleware(settings)] if settings.cors_origins else []
    return observer.wrap(Shortcut(app, *around), is_draining=lambda: runtime.readiness.is_draining)


def _create_routes(runtime: Runtime, demo_key: str | None) -> list[BaseRoute]:
    """What callers, customers and Sentry ask."""
    settings, services, observer = runtime.settings, runtime.services, runtime.observer
    authenticator = observer.wrap_authenticator(runtime.authenticator)

    def get_context(caller: Caller, request: GraphQLRequest) -> Context:
        return Context(caller, services, wants_rate_limits=request.extensions.get("rateLimits") is True)

    routes: list[BaseRoute] = []
    page = None
    if settings.graphiql:
        page, assets = create_graphiql(PREPARED, demo_key=demo_key is not None)
        routes += assets
    if demo_key is not None:
        routes.append(create_demo_key_route(demo_key, bound_host=settings.host, bound_port=settings.port))
    routes += create_graphql_routes(
        build_schema(suggestions=settings.suggestions, auth_directives=settings.auth_directives),
        settings=settings,
        get_context=get_context,
        authenticator=authenticator,
        sessions=runtime.sessions,
        observe=observer.graphql_request,
        page=page,
        executor_class=create_executor(observer.graphql_fallback) if settings.compiled_executor else None,
    )
    routes.append(
        create_proxy_route(
            services.proxy,
            services.client,
            authenticator,
            max_upload_bytes=settings.proxy_max_upload_bytes,
            public_url=settings.public_url,
        )
    )
    if settings.public_url is not None:
        from service.link.routes import create_link_routes  # noqa: PLC0415 - brings a template engine along

        routes += create_link_routes(
            database=runtime.database,
            keyring=runtime.keyring,
            vault=runtime.vault,
            linker=services.linker,
            accounts=services.accounts,
            client=services.client,
            clients=runtime.clients,
            public_url=settings.public_url,
            private_ca=settings.private_ca,
        )
    routes += create_webhook_routes(runtime.hooks)
    return routes
