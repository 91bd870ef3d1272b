"""One request for a list of users: which connections, which way of reading, which cursors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from service.directory.listing import Position, Slice, UserPage, Window, scan, walk_backward, walk_forward
from service.directory.query import Place, UserFilter, UserOrder, split_filter
from service.errors import ServiceError
from service.ids import build_inner_id

if TYPE_CHECKING:
    from service.schema.context import Context


class UserListing:
    """One request for a list of users over some connections."""

    def __init__(
        self,
        context: "Context",
        connection_ids: Sequence[str],
        condition: UserFilter,
        order: UserOrder | None,
        *,
        wants_groups: bool,
    ) -> None:
        self._context = context
        self._wants_groups = wants_groups
        self._ids = sorted(connection_ids)
        self._filter = condition
        self._order = order
        self._query = split_filter(condition)

    @property
    def _is_scan(self) -> bool:
        return self._order is not None or self._query.keeps is not None or self._filter.group_ids is not None

    def scope(self, connection_ids: Sequence[str] | None) -> bytes:
        """What a cursor of this list is bound to."""
        ids = None if connection_ids is None else sorted(set(connection_ids))
        return self._context.services.cursors.scope(
            self._context.caller.tenant_id, "users", ids, self._filter, self._order
        )

    async def slice(self, window: Window, scope: bytes) -> Slice:
        """The users in a window of the list."""
        if self._is_scan:
            return await self._scan(window, scope)
        codec = self._context.services.cursors
        if window.before is not None:
            return await walk_backward(self._page, self._ids, window.count, codec.open(scope, window.before, Position))
        after = codec.open(scope, window.after, Position) if window.after is not None else None
        return await walk_forward(
            self._page, self._ids, window.count, after, may_be_empty=self._query.search is not None
        )

    async def _page(self, connection_id: str, page_cursor: str | None) -> UserPage:
        services, source = self._context.services, await self._context.lookups.source(connection_id)
        page = services.members.page(source, page_cursor, search=self._query.search)
        if not self._wants_groups:
            return await page
        # The teams will be needed as soon as the page is there: start both together. Whether the teams can be read is
        # for the field that asks for them to say.
        users, _ = await asyncio.gather(page, _ignoring_errors(services.groups.teams(source)))
        return users

    async def _scan(self, window: Window, scope: bytes) -> Slice:
        codec = self._context.services.cursors
        after = codec.open(scope, window.after, Place) if window.after is not None else None
        before = codec.open(scope, window.before, Place) if window.before is not None else None
        begin = self._all_members if self._filter.group_ids is None else self._members_of_groups
        return await scan(
            [(connection_id, partial(begin, connection_id)) for connection_id in self._ids],
            window,
            keeps=self._query.keeps,
            order=self._order,
            most=self._context.services.max_scan,
            after=after,
            before=before,
        )

    async def _all_members(self, connection_id: str) -> AsyncIterator[UserPage]:
        source = await self._context.lookups.source(connection_id)
        async for page in self._context.services.members.pages(source, search=self._query.search):
            yield page

    async def _members_of_groups(self, connection_id: str) -> AsyncIterator[UserPage]:
        # The teams' own lists hold just their members, but apply no search: the rest of the filter is left to us.
        services, source = self._context.services, await self._context.lookups.source(connection_id)
        wanted = set(self._filter.group_ids or ())
        for team in await services.groups.teams(source):
            if build_inner_id("grp", connection_id, team.id) in wanted:
                async for page in services.members.pages(source, team=team.slug):
                    yield page


async def _ignoring_errors(work: Awaitable[Any]) -> None:
    with suppress(ServiceError):
        await work
