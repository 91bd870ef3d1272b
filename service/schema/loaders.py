"""Dataloaders of one request: look-ups that happen in many places are gathered into as few calls as can be.

They live for one request and know its caller, so nothing crosses from one tenant to another.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiodataloader import DataLoader

from service.connections.link_models import LinkSessionRecord
from service.connections.models import ConnectionRecord
from service.connections.repair_models import RepairRecord
from service.directory.members import Source
from service.directory.user import Membership, Organization, User
from service.errors import ServiceError
from service.events.models import AttemptRecord, EventRecord
from service.schema.many import ManyLoader
from service.sentry.account import Account
from service.sentry.payloads import Team, decode
from service.tasks import together
from service.tenants.caller import Caller

if TYPE_CHECKING:
    from service.schema.context import Services

V = TypeVar("V")
UserKey = tuple[str, str]
"""A connection's id, and the user's key in it."""

Found = Mapping[str, Mapping[str, V | ServiceError]]
"""What was found, by connection's id and key; what nothing was found for is absent."""

Load = Callable[[Source, Sequence[str]], Awaitable[Mapping[str, V | ServiceError]]]
"""Loads keys of one connection."""


class Lookups:
    """The look-ups of one request, for one caller: each for a whole batch of keys."""

    def __init__(self, caller: Caller, services: "Services") -> None:
        self._caller = caller
        self._services = services
        self.accounts: dict[str, Account] = {}
        """The accounts that this request used, by connection id."""
        self._teams: dict[str, list[Team]] = {}

    async def source(self, connection_id: str) -> Source:
        """A connection ready to be read. Raises NotFound (missing or foreign alike) or NeedsReauth."""
        record, account = await self._services.accounts.account(self._caller, connection_id)
        self.accounts[connection_id] = account
        organization = Organization(
            record.id, record.organization_id, record.organization_slug, record.organization_name
        )
        return Source(account, organization, tuple(record.scopes))

    async def expect_groups(self, source: Source) -> None:
        """Read the teams that :meth:`memberships` will need. Whether they can be read is for that to say."""
        with suppress(ServiceError):
            self._teams[source.account.connection_id] = await self._services.groups.teams(source)

    def recall_connection(self, connection_id: str) -> ConnectionRecord | None:
        """A connection that was read a moment ago; None says nothing of it."""
        return self._services.connections.recall(self._caller, connection_id)

    async def connections(self, ids: list[str]) -> list[ConnectionRecord | None]:
        """Connections by id; None for those that the caller may not see."""
        found = await self._services.connections.get_many(self._caller, ids)
        return [found.get(each) for each in ids]

    async def connections_by_external_id(self, external_ids: list[str]) -> list[ConnectionRecord | None]:
        """Connections by externalId."""
        found = await self._services.connections.get_many_by_external_id(self._caller, external_ids)
        return [found.get(each) for each in external_ids]

    async def open_link_sessions(self, external_ids: list[str]) -> list[LinkSessionRecord | None]:
        """The open link session of each externalId."""
        found = await self._services.link_sessions.find_open_by_external_ids(self._caller, external_ids)
        return [found.get(each) for each in external_ids]

    async def events(self, ids: list[str]) -> list[EventRecord | None]:
        """Events by id, of connections that the caller may see."""
        found = await self._services.events.get_many(self._caller.tenant_id, ids)
        if self._caller.is_narrowed:
            connections = {event.connection_id for event in found.values() if event.connection_id is not None}
            seen = await self._services.connections.get_many(self._caller, connections)
            found = {event.id: event for event in found.values() if event.connection_id in seen}
        return [found.get(each) for each in ids]

    async def webhooks(self, connection_ids: list[str]) -> list[RepairRecord | None]:
        """What listens for each connection's events."""
        found = await self._services.listening.get_many(self._caller.tenant_id, connection_ids)
        return [found.get(each) for each in connection_ids]

    async def attempts(self, delivery_ids: list[str]) -> list[list[AttemptRecord]]:
        """The attempts of each delivery."""
        found = await self._services.deliveries.attempts(self._caller.tenant_id, delivery_ids)
        return [found.get(each, []) for each in delivery_ids]

    async def load_users(self, wanted: Mapping[str, Sequence[str]]) -> Found[User]:
        """Users by member id, without a future for each: for callers that have the whole batch at hand."""
        return await self._per_connection(wanted, self._services.members.by_member_id)

    async def load_users_by_email(self, wanted: Mapping[str, Sequence[str]]) -> Found[User]:
        """Users by primary address."""
        return await self._per_connection(wanted, self._services.members.by_email)

    async def users(self, keys: list[UserKey]) -> list[User | None]:
        """Users by member id."""
        return await self._users(keys, self._services.members.by_member_id)

    async def users_by_external_id(self, keys: list[UserKey]) -> list[User | None]:
        """Users by Sentry's id of the user."""
        return await self._users(keys, self._services.members.by_user_id)

    async def users_by_email(self, keys: list[UserKey]) -> list[User | None]:
        """Users by primary address."""
        return await self._users(keys, self._services.members.by_email)

    async def _users(self, keys: list[UserKey], load: Load[User]) -> list[User | None]:
        found = await self._per_connection(group_keys(keys), load)
        return in_order(found, keys)  # type: ignore[return-value]  # aiodataloader makes an exception that key's error

    async def memberships(self, keys: Sequence[UserKey]) -> list[list[Membership] | ServiceError | None]:
        """The memberships of each user."""

        async def load(source: Source, member_ids: Sequence[str]) -> Mapping[str, list[Membership]]:
            teams = self._teams.get(source.account.connection_id)
            return await self._services.groups.memberships(source, member_ids, teams=teams)

        return in_order(await self._per_connection(group_keys(keys), load), keys)

    async def member_details(self, keys: Sequence[UserKey]) -> list[msgspec.Raw | ServiceError | None]:
        """What Sentry says of each member alone."""
        return in_order(await self._per_connection(group_keys(keys), self._details), keys)

    async def _details(self, source: Source, member_ids: Sequence[str]) -> dict[str, msgspec.Raw | ServiceError]:
        async def load_one(member_id: str) -> msgspec.Raw | ServiceError:
            try:
                return _without_invite_link(await self._services.groups.detail(source, member_id))
            except ServiceError as error:
                return error

        return dict(zip(member_ids, await together(map(load_one, member_ids)), strict=True))

    async def _per_connection(self, wanted: Mapping[str, Sequence[str]], load: Load[V]) -> Found[V]:
        """Load keys connection by connection, all at once; a failing connection fails its own keys only."""

        async def load_one(connection_id: str, keys: Sequence[str]) -> Mapping[str, V | ServiceError]:
            try:
                return await load(await self.source(connection_id), keys)
            except ServiceError as error:
                return dict.fromkeys(keys, error)

        return dict(zip(wanted, await together(load_one(*each) for each in wanted.items()), strict=True))


class Loaders:
    """The loaders of one request, each made when it is first asked for.

    They refer to the look-ups, which do not refer to them: what a request loaded goes with it, not with the collector.
    """

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def load_connection(self, connection_id: str) -> ConnectionRecord | None:
        """A connection by id; None where the caller may not see it."""
        return self._lookups.recall_connection(connection_id) or await self.connection.load(connection_id)

    async def load_connections(self, ids: Sequence[str]) -> list[ConnectionRecord | None]:
        """Connections by id, in order."""
        found = [self._lookups.recall_connection(each) for each in ids]
        return await self.connection.load_many(ids) if None in found else found

    @cached_property
    def connection(self) -> DataLoader[str, ConnectionRecord | None]:
        """By id; asked only for what nobody remembers."""
        return DataLoader(self._lookups.connections)

    @cached_property
    def connection_by_external_id(self) -> DataLoader[str, ConnectionRecord | None]:
        """By externalId."""
        return DataLoader(self._lookups.connections_by_external_id)

    @cached_property
    def open_link_session(self) -> DataLoader[str, LinkSessionRecord | None]:
        """By externalId."""
        return DataLoader(self._lookups.open_link_sessions)

    @cached_property
    def event(self) -> DataLoader[str, EventRecord | None]:
        """By id."""
        return DataLoader(self._lookups.events)

    @cached_property
    def webhooks(self) -> DataLoader[str, RepairRecord | None]:
        """By connection id."""
        return DataLoader(self._lookups.webhooks)

    @cached_property
    def attempts(self) -> DataLoader[str, list[AttemptRecord]]:
        """By delivery id."""
        return DataLoader(self._lookups.attempts)

    @cached_property
    def user(self) -> DataLoader[UserKey, User | None]:
        """By member id."""
        return DataLoader(self._lookups.users)

    @cached_property
    def user_by_external_id(self) -> DataLoader[UserKey, User | None]:
        """By Sentry's id of the user."""
        return DataLoader(self._lookups.users_by_external_id)

    @cached_property
    def user_by_email(self) -> DataLoader[UserKey, User | None]:
        """By primary address."""
        return DataLoader(self._lookups.users_by_email)

    @cached_property
    def memberships(self) -> ManyLoader[UserKey, list[Membership]]:
        """By the user's key."""
        return ManyLoader(self._lookups.memberships)

    @cached_property
    def member_details(self) -> ManyLoader[UserKey, msgspec.Raw]:
        """By the user's key."""
        return ManyLoader(self._lookups.member_details)


def group_keys(keys: Iterable[UserKey]) -> dict[str, list[str]]:
    """Keys by the connection that they are of."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for connection_id, key in keys:
        grouped[connection_id].append(key)
    return grouped


def in_order(found: Found[V], keys: Iterable[UserKey | None]) -> list[V | ServiceError | None]:
    """What was found for each key; None where nothing was, or there is no key."""
    nothing: Mapping[str, V | ServiceError] = {}
    return [found.get(key[0], nothing).get(key[1]) if key else None for key in keys]


def _without_invite_link(body: bytes) -> msgspec.Raw:
    # Whoever has the link of an invitation can join the organization by it: a reader of users must not.
    fields = decode(body, dict[str, msgspec.Raw])
    fields.pop("invite_link", None)
    return msgspec.Raw(msgspec.json.encode(fields))
