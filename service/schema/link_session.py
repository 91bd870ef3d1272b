"""The ``LinkSession`` type: an invitation to link an account, and what makes one. Answers from its record."""

import enum
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import strawberry

from service.connections.link_models import LinkMethod, LinkSessionRecord
from service.connections.link_models import LinkSessionStatus as StoredStatus
from service.connections.models import ConnectionRecord
from service.errors import BadInput, NotFound
from service.link.records import is_open
from service.link.rules import LONGEST, SHORTEST, USUAL, LinkSessionRequest
from service.schema.context import Info
from service.sentry.profiles import Profile
from service.tenants.caller import Role

if TYPE_CHECKING:
    from service.schema.connection import Connection

_SHORTEST, _LONGEST, _USUAL = (int(each.total_seconds()) for each in (SHORTEST, LONGEST, USUAL))


@strawberry.enum(description="Where a link session stands.")
class LinkSessionStatus(enum.Enum):
    """Where a link session stands; unlike the stored one, it knows the time."""

    CREATED = strawberry.enum_value("created", description="Nobody has begun yet; opening the address begins nothing.")
    STARTED = strawberry.enum_value("started", description="Somebody has begun, and may go on.")
    COMPLETED = strawberry.enum_value("completed", description="An account was linked by it.")
    EXPIRED = strawberry.enum_value("expired", description="Its time is over, and nothing was linked.")
    CANCELED = strawberry.enum_value("canceled", description="It was cancelled.")


@strawberry.type(
    description="An invitation to link one Sentry account by a page of this service: whoever has its `url` can do so."
)
class LinkSession:
    """An invitation to link one account."""

    id: strawberry.ID = strawberry.field(description="The session's id.")
    external_id: strawberry.ID | None = strawberry.field(
        description="The externalId of the connection to make or to link again; null makes one with an id of ours."
    )
    customer_id: str | None = strawberry.field(description="Your id of the customer.")
    name: str | None = strawberry.field(description="The customer's name, as the page shows it.")
    redirect_uri: str | None = strawberry.field(description="Where the browser goes at the end.")
    allowed_origins: list[str] = strawberry.field(
        description="The origins that may embed the page, and that it tells of the end."
    )
    profile: Profile = strawberry.field(description="How much of the account will be used.")
    origin: str | None = strawberry.field(description="The Sentry that must be linked; any if null.")
    organization: str | None = strawberry.field(description="The organization that must be linked; any if null.")
    projects: list[str] | None = strawberry.field(
        description="The projects that the connection will be limited to; the customer chooses if null."
    )
    problem: str | None = strawberry.field(description="The code of what went wrong last, if it did.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime = strawberry.field(description="When it ends by itself.")
    completed_at: datetime | None = strawberry.field(description="When an account was linked by it.")

    @strawberry.field(description="Where it stands.")
    def status(record: strawberry.Parent[LinkSessionRecord]) -> LinkSessionStatus:
        """The stored status, or that its time is over."""
        if record.status in {StoredStatus.CREATED, StoredStatus.STARTED} and not is_open(record):
            return LinkSessionStatus.EXPIRED
        return LinkSessionStatus(record.status.value)

    @strawberry.field(
        description="The address to send to the customer, and to nobody else; null once it is over. A caller that is "
        "narrowed to named connections gets it only of sessions that can do no more than the caller itself."
    )
    def url(record: strawberry.Parent[LinkSessionRecord], info: Info) -> str | None:
        """The address, while it is of use."""
        may_have_it = record.is_narrowed or not info.context.caller.is_narrowed
        return info.context.services.link_sessions.url(record) if may_have_it and is_open(record) else None

    @strawberry.field(description="The ways that the page offers.")
    def methods(record: strawberry.Parent[LinkSessionRecord]) -> list[LinkMethod]:
        """The ways to link."""
        return [LinkMethod(method) for method in record.methods]

    @strawberry.field(description="The connection that was linked by it.")
    async def connection(
        record: strawberry.Parent[LinkSessionRecord], info: Info
    ) -> Annotated["Connection", strawberry.lazy("service.schema.connection")] | None:
        """The linked connection."""
        if record.connection_id is None:
            return None
        return await info.context.loaders.load_connection(record.connection_id)  # type: ignore[return-value]  # backs the type


@strawberry.input(description="A link session to make.")
class CreateLinkSessionInput:
    """A link session to make."""

    external_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Your id of the connection, unique in the tenant. One that is linked already is linked again, and "
        "keeps its id and history. A new connection with an id of ours if absent.",
    )
    customer_id: str | None = strawberry.field(default=None, description="Your id of the customer.")
    name: str | None = strawberry.field(
        default=None, description="The customer's name: the page says for whom the account is linked."
    )
    redirect_uri: str | None = strawberry.field(
        default=None, description="Where the browser goes at the end: https, or http on this machine."
    )
    allowed_origins: list[str] = strawberry.field(
        default_factory=list,
        description="The origins that may embed the page, and that it tells of the end, such as https://app.example. "
        "That of `redirectUri` if absent.",
    )
    methods: list[LinkMethod] | None = strawberry.field(
        default=None, description="The ways to offer; all that are configured if absent."
    )
    profile: Profile = strawberry.field(default=Profile.READ, description="How much of the account will be used.")
    origin: str | None = strawberry.field(
        default=None, description="Link this Sentry and no other; the customer chooses if absent."
    )
    organization: str | None = strawberry.field(
        default=None, description="Link the organization of this slug and no other; the customer chooses if absent."
    )
    projects: list[str] | None = strawberry.field(
        default=None, description="Limit the connection to these projects; the customer chooses if absent."
    )
    expires_in: int = strawberry.field(
        default=_USUAL,
        description=f"The seconds that it lasts, from {_SHORTEST} to {_LONGEST}; a week if absent.",
    )

    def to_request(self) -> LinkSessionRequest:
        """What to make. Raises :class:`BadInput`."""
        if not _SHORTEST <= self.expires_in <= _LONGEST:
            raise BadInput(f"`expiresIn` must be between {_SHORTEST} and {_LONGEST} seconds.")
        return LinkSessionRequest(
            external_id=self.external_id,
            customer_id=self.customer_id,
            name=self.name,
            redirect_uri=self.redirect_uri,
            allowed_origins=self.allowed_origins,
            methods=self.methods,
            profile=self.profile,
            origin=self.origin,
            organization=self.organization,
            projects=self.projects,
            expires_in=timedelta(seconds=self.expires_in),
        )


@strawberry.type(description="A new link session.")
class CreatedLinkSession:
    """A new link session."""

    link_session: LinkSession = strawberry.field(description="The session.")
    url: str = strawberry.field(description="The address to send to the customer, and to nobody else.")


async def load_open_link_session(connection: ConnectionRecord, info: Info) -> LinkSession | None:
    """The latest session of a connection's externalId that is open; None to callers without the role ``admin``."""
    if info.context.caller.role is not Role.ADMIN:
        return None
    return await info.context.loaders.open_link_session.load(connection.external_id)  # type: ignore[return-value]  # backs the type


async def create_link_session(info: Info, input_: CreateLinkSessionInput) -> CreatedLinkSession:
    """Make a session. Raises what :meth:`LinkSessions.create` does."""
    sessions = info.context.services.link_sessions
    record = await sessions.create(info.context.caller, input_.to_request())
    return CreatedLinkSession(link_session=record, url=sessions.url(record))  # type: ignore[arg-type]  # the record backs the type


async def find_link_session(info: Info, id_: str) -> LinkSessionRecord | None:
    """A session by id; None where there is none, and where it is not the caller's. Raises :class:`Forbidden`."""
    try:
        return await info.context.services.link_sessions.get(info.context.caller, id_)
    except NotFound:
        return None
