"""The ``Connection`` type (a linked Sentry account) and the list of them. Answers from ``ConnectionRecord``."""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from service.connections.credentials import missing_scopes
from service.connections.models import ConnectionProblem, ConnectionRecord, ConnectionStatus, CredentialKind
from service.connections.problems import explain
from service.connections.removal import find_removal
from service.errors import BadInput
from service.executor import backed_by, batched
from service.ids import build_inner_id
from service.schema import arguments as args
from service.schema import relay
from service.schema.connection_webhooks import ConnectionWebhooks
from service.schema.context import Info
from service.schema.diagnosis import ConnectionDiagnosis
from service.schema.link_session import LinkSession, load_open_link_session
from service.schema.proxy import Proxy, read_through_proxy
from service.schema.rate_limit import SentryRateLimit, build_rate_limit
from service.schema.user import SentryOrganization, User, UserConnection, list_users
from service.schema.user_listing import UserListing
from service.sentry.profiles import Profile


@strawberry.type(description="A project that a connection is limited to.")
class ConnectionProject:
    """A project that a connection is limited to."""

    external_id: str = strawberry.field(description="Sentry's project id.")
    slug: str = strawberry.field(description="Sentry's project slug.")


@strawberry.type(description="A feature that the connection's credential does not reach, and the scopes that would.")
class ConnectionMissingScope:
    """A feature that the credential does not reach."""

    feature: str = strawberry.field(description="What will not work, such as `users`.")
    any_of: list[str] = strawberry.field(description="The scopes, any one of which would do.")


@strawberry.type(description="Where a credential is removed by hand.")
class ConnectionRemoval:
    """Where a credential is removed by hand."""

    url: str = strawberry.field(description="The page of Sentry; it opens after a login there.")
    instructions: str = strawberry.field(description="What to do there, and who can.")


async def _read_users(listing: UserListing, connection_id: str) -> UserConnection:
    page = UserConnection(*await listing.read([connection_id], [connection_id]))
    for failure in page.slice.failures:
        raise failure.error
    return page


def _list_users(
    records: Sequence[ConnectionRecord],
    info: Info,
    first: args.First = None,
    after: args.After = None,
    last: args.Last = None,
    before: args.Before = None,
    filter: args.UserFilter = None,
    order_by: args.UserOrder = None,
) -> list[Awaitable[UserConnection]]:
    """The users of each connection, which waits for no other; a failure is that field's error."""
    listing = list_users(info, relay.build_window(first, after, last, before), filter, order_by)
    return [_read_users(listing, record.id) for record in records]


@strawberry.federation.type(
    keys=["id", "externalId"],
    description="A linked Sentry account: a credential for one Sentry organization. (Not one of Relay's lists, whose "
    "type names end in `Connection` too.)",
)
class Connection(relay.Node):
    """A linked Sentry account."""

    name: str = strawberry.field(description="A name for people; the organization's unless another was given.")
    external_id: strawberry.ID = strawberry.field(
        description="The host's own id of the connection, unique in the tenant; the connection's id unless given."
    )
    customer_id: str | None = strawberry.field(description="The host's id of the customer; several may share one.")
    status: ConnectionStatus = strawberry.field(description="Whether the connection can be used.")
    status_reason: str | None = strawberry.field(description="Why it cannot be used, or soon will not be.")
    problem: ConnectionProblem | None = strawberry.field(
        description="What is wrong, in a word; an active connection has one while its credential cannot be renewed."
    )
    profile: Profile = strawberry.field(description="How much of the account it may use.")
    authentication: CredentialKind = strawberry.field(description="The kind of credential.")
    scopes: list[str] = strawberry.field(description="The OAuth scopes that the credential holds.")
    created_at: datetime = strawberry.field(description="When the account was first linked.")
    updated_at: datetime = strawberry.field(description="When the connection last changed.")
    last_used_at: datetime | None = strawberry.field(description="When Sentry was last called through it; to a minute.")
    expires_at: datetime | None = strawberry.field(
        description="When the credential expires; null if never. It is renewed before, where it can be."
    )
    users: UserConnection | None = batched(
        _list_users, description="The users of the organization.", directives=[relay.list_size(), relay.cost(5)]
    )

    is_type_of = backed_by(ConnectionRecord)

    @strawberry.field(description="What to do about its problem; null where it has none.")
    def cure(record: strawberry.Parent[ConnectionRecord]) -> str | None:
        """The cure of the problem."""
        return None if record.problem is None else explain(record.problem).cure

    @strawberry.field(
        description="The latest link session of its externalId that is open, to link it again by; null where there is "
        "none, and to callers without the role `admin`."
    )
    async def link_session(record: strawberry.Parent[ConnectionRecord], info: Info) -> LinkSession | None:
        """A session that is ready to send."""
        return await load_open_link_session(record, info)

    @strawberry.field(description="Where its credential is removed by hand, which only Sentry can revoke.")
    def removal(record: strawberry.Parent[ConnectionRecord]) -> ConnectionRemoval:
        """Where to remove the credential."""
        return find_removal(record.authentication, record.control_origin, record.organization_slug)  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="A live look at it: what its credential may do, whether Sentry still answers, what is wrong and "
        "what to do. It costs up to six calls to Sentry.",
        directives=[relay.cost(20)],
    )
    async def diagnosis(record: strawberry.Parent[ConnectionRecord], info: Info) -> ConnectionDiagnosis | None:
        """What the doctor says."""
        return await info.context.services.doctor.diagnose(info.context.caller, record.id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(description="The address of the Sentry that was linked.")
    def origin(record: strawberry.Parent[ConnectionRecord]) -> str:
        """The control origin: what the customer knows as Sentry's address."""
        return record.control_origin

    @strawberry.field(description="The organization that the connection reaches.")
    def organization(record: strawberry.Parent[ConnectionRecord]) -> SentryOrganization:
        """The linked organization."""
        return SentryOrganization(
            id=strawberry.ID(build_inner_id("org", record.id)),
            external_id=record.organization_id,
            slug=record.organization_slug,
            name=record.organization_name,
        )

    @strawberry.field(
        description="The projects that the proxy is limited to; null where it is not limited. "
        "Users are the organization's."
    )
    def projects(record: strawberry.Parent[ConnectionRecord]) -> list[ConnectionProject] | None:
        """The project constraint."""
        if record.projects is None:
            return None
        return [ConnectionProject(external_id=project["id"], slug=project["slug"]) for project in record.projects]

    @strawberry.field(description="What the credential's scopes do not reach; empty where everything works.")
    def missing_scopes(record: strawberry.Parent[ConnectionRecord]) -> list[ConnectionMissingScope]:
        """Features that will not work."""
        return [
            ConnectionMissingScope(feature=feature, any_of=list(scopes))
            for feature, scopes in missing_scopes(record.scopes).items()
        ]

    @strawberry.field(description="Sentry's rate limit as this process last saw it; null before the first call.")
    async def rate_limit(record: strawberry.Parent[ConnectionRecord], info: Info) -> SentryRateLimit | None:
        """The latest rate-limit state."""
        source = await info.context.lookups.source(record.id)
        return build_rate_limit(info.context.services.client.rate_limit(source.account))

    @strawberry.field(
        description="Whether its webhooks come; null until its issues are first compared with Sentry, and where the "
        "service does not repair."
    )
    async def webhooks(record: strawberry.Parent[ConnectionRecord], info: Info) -> ConnectionWebhooks | None:
        """What was heard of it."""
        return await info.context.loaders.webhooks.load(record.id)  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="One user, by primary address or by Sentry's user id; null where there is none.",
        directives=[relay.cost(5)],
    )
    async def user(
        record: strawberry.Parent[ConnectionRecord],
        info: Info,
        email: Annotated[str | None, strawberry.argument(description="The primary address, in any case.")] = None,
        external_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Sentry's user id, as assignees and actors carry it.")
        ] = None,
    ) -> User | None:
        """One user by a key of Sentry's."""
        if (email is None) == (external_id is None):
            raise BadInput("Give either `email` or `externalId`.")
        loaders = info.context.loaders
        if email is not None:
            return await loaders.user_by_email.load((record.id, email))  # type: ignore[return-value]  # backs the type
        return await loaders.user_by_external_id.load((record.id, str(external_id)))  # type: ignore[return-value]  # backs the type

    @strawberry.field(
        description="Read anything from Sentry: `GET` below `/api/0/`, with the connection's credential.",
        directives=[relay.cost(5)],
    )
    async def proxy(
        record: strawberry.Parent[ConnectionRecord],
        info: Info,
        path: args.ProxyPath,
        query: args.ProxyQuery = None,
        first: args.ProxyFirst = None,
        after: args.ProxyAfter = None,
    ) -> Proxy | None:
        """A read through the proxy."""
        return await read_through_proxy(info, record.id, path, query, first, after)
