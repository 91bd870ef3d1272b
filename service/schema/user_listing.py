"""Lists of users as a field asks for them: which way of reading, which cursors."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from service.directory.listing import Position, Slice, UserPage, Window, scan, walk_backward, walk_forward
from service.directory.query import Place, UserFilter, UserOrder, split_filter
from service.ids import build_inner_id

if TYPE_CHECKING:
    from service.schema.context import Context

Seal = Callable[[Sequence[Position | Place]], list[str]]
"""Gives the cursors of positions."""


class UserListing:
    """What a field asks of lists of users, each over some connections."""

    def __init__(
        self,
        context: "Context",
        window: Window,
        condition: UserFilter,
        order: UserOrder | None,
        *,
        wants_groups: bool,
    ) -> None:
        self._context = context
        self._window = window
        self._filter = condition
        self._order = order
        self._wants_groups = wants_groups
        self._query = split_filter(condition)

    @property
    def _is_scan(self) -> bool:
        return self._order is not None or self._query.keeps is not None or self._filter.group_ids is not None

    async def read(self, connection_ids: Sequence[str], named: Sequence[str] | None) -> tuple[Slice, Seal]:
        """The users in the window of the list over these connections, and what seals their positions into cursors.

        ``named`` are those that the caller named, None for all it may see. Raises :class:`InvalidCursor` and
        :class:`ScanLimitExceeded`; a connection that fails is among the failures.
        """
        codec = self._context.services.cursors
        ids = None if named is None else sorted(set(named))
        scope = codec.scope(self._context.caller.tenant_id, "users", ids, self._filter, self._order)
        return await self._slice(sorted(connection_ids), scope), partial(codec.seal_all, scope)

    async def _slice(self, ids: Sequence[str], scope: bytes) -> Slice:
        if self._is_scan:
            return await self._scan(ids, scope)
        codec, window = self._context.services.cursors, self._window
        if window.before is not None:
            return await walk_backward(self._page, ids, window.count, codec.open(scope, window.before, Position))
        after = codec.open(scope, window.after, Position) if window.after is not None else None
        return await walk_forward(self._page, ids, window.count, after, may_be_empty=self._query.search is not None)

    async def _page(self, connection_id: str, page_cursor: str | None) -> UserPage:
        services, source = self._context.services, await self._context.lookups.source(connection_id)
        page = services.members.page(source, page_cursor, search=self._query.search)
        if not self._wants_groups:
            return await page
        # The teams will be needed as soon as the page is there: start both together.
        users, _ = await asyncio.gather(page, self._context.lookups.expect_groups(source))
        return users

    async def _scan(self, ids: Sequence[str], scope: bytes) -> Slice:
        codec, window = self._context.services.cursors, self._window
        after = codec.open(scope, window.after, Place) if window.after is not None else None
        before = codec.open(scope, window.before, Place) if window.before is not None else None
        begin = self._all_members if self._filter.group_ids is None else self._members_of_groups
        return await scan(
            [(connection_id, partial(begin, connection_id)) for connection_id in ids],
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
