"""Reading a connection's members from Sentry as users: pages, and look-ups by key in as few calls as can be."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal, TypeVar

import msgspec

from service.connections.credentials import refuse_empty
from service.directory.listing import UserPage
from service.directory.user import Organization, RawRows, User
from service.errors import BadInput, MissingScope
from service.ids import build_user_id, is_sentry_id
from service.sentry.account import Account
from service.sentry.client import SentryClient
from service.sentry.payloads import Member
from service.sentry.reads import PAGE_SIZE, Page, fetch_members
from service.tasks import together

_LONGEST_ADDRESS = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
_MOST_QUERY = 6000  # characters of a look-up's query: the whole request line stays under the usual 8 KiB

T = TypeVar("T")
Feature = Literal["users", "groups"]
Fetch = Callable[[str | None], Awaitable[Page[T]]]
"""Fetches the page at one of Sentry's cursors; at None the first."""


class Source(msgspec.Struct, frozen=True):
    """A connection ready to be read: its account, its credential's scopes, and the organization of its users."""

    account: Account
    organization: Organization
    scopes: tuple[str, ...]


class MemberReader:
    """Users of connections, read from the members endpoint (``GET organizations/{o}/members/``)."""

    def __init__(self, client: SentryClient) -> None:
        self._client = client

    async def page(self, source: Source, page_cursor: str | None, *, search: str | None = None) -> UserPage:
        """One page of a connection's users, in Sentry's order. Raises UpstreamError."""
        fetch = self._fetcher(source, search)
        return _build_page(source, await _read_page(source, fetch, "users", page_cursor))

    async def pages(
        self, source: Source, *, search: str | None = None, team: str | None = None
    ) -> AsyncIterator[UserPage]:
        """Every page of a connection's users, or of one team's. Raises UpstreamError."""
        fetch = self._fetcher(source, search, team)
        async for page in walk_pages(source, fetch, "users" if team is None else "groups"):
            yield _build_page(source, page)

    def _fetcher(self, source: Source, search: str | None, team: str | None = None) -> Fetch[Member]:
        return lambda cursor: fetch_members(self._client, source.account, query=search, cursor=cursor, team=team)

    async def by_member_id(self, source: Source, member_ids: Sequence[str]) -> dict[str, User]:
        """The users with these member ids; who is gone is absent. One call per hundred ids."""
        return {user.member.id: user for user in await self._look_up(source, "id", member_ids)}

    async def by_user_id(self, source: Source, user_ids: Sequence[str]) -> dict[str, User]:
        """The users with these Sentry user ids (those of assignees and actors); what is no id finds nobody.

        One call per hundred ids.
        """
        users = await self._look_up(source, "user.id", filter(is_sentry_id, user_ids))
        return {user.external_id: user for user in users if user.external_id is not None}

    async def by_email(self, source: Source, emails: Sequence[str]) -> dict[str, User | BadInput]:
        """The users whose primary address equals one of these, case-insensitively; keys are as given.

        Where several do, the value is the error that says so. Sentry's search also finds secondary addresses: those
        are left out.
        """
        wanted = {email: email.strip().casefold() for email in emails}
        # Quoted, since an apostrophe or a colon at an end would else swallow the next token or make it free text.
        searchable = [f'"{email}"' for email in dict.fromkeys(wanted.values()) if _is_searchable(email)]
        matches: dict[str, list[User]] = {}
        for user in await self._look_up(source, "email", searchable):
            matches.setdefault((user.email or "").casefold(), []).append(user)
        found: dict[str, User | BadInput] = {}
        for email, key in wanted.items():
            users = matches.get(key, [])
            if len(users) == 1:
                found[email] = users[0]
            elif users:
                found[email] = BadInput(
                    f"{len(users)} users of this connection have this primary address.",
                    cure="Ask for the user by id.",
                )
        return found

    async def _look_up(self, source: Source, key: str, values: Iterable[str]) -> list[User]:
        # A repeated key means "or"; a page holds a hundred, so a hundred keys need one call. An address may be the
        # secondary one of many people, so that its matches can go on to further pages.
        queries = _join([f"{key}:{value}" for value in dict.fromkeys(values)])
        results = await together(self._all(source, query) for query in queries)
        return [user for users in results for user in users]

    async def _all(self, source: Source, search: str) -> list[User]:
        return [user async for page in self.pages(source, search=search) for user in page.users]


def _is_searchable(email: str) -> bool:
    return 0 < len(email) <= _LONGEST_ADDRESS and email.isprintable() and not set(email) & set('"\\')


class _NamingScope:
    """Names the scope that the reads inside need where Sentry refuses them without doing so, as older servers do."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MissingScope):
            error.missing_scopes = error.missing_scopes or [self._scope]


NAMING: dict[Feature, _NamingScope] = {"users": _NamingScope("member:read"), "groups": _NamingScope("team:read")}
"""To read inside of, by what is read: it keeps nothing of a read, so one serves all."""


async def walk_pages(source: Source, fetch: Fetch[T], feature: Feature) -> AsyncIterator[Page[T]]:
    """Every page of a list, by what fetches the one at a cursor. Raises UpstreamError, and MissingScope for none."""
    cursor: str | None = None
    while True:
        page = await _read_page(source, fetch, feature, cursor)
        yield page
        if (cursor := page.next_cursor) is None:
            return


async def _read_page(source: Source, fetch: Fetch[T], feature: Feature, cursor: str | None) -> Page[T]:
    with NAMING[feature]:
        page = await fetch(cursor)
    if not page.items and cursor is None:
        refuse_empty(feature, source.scopes)
    return page


def _join(tokens: Sequence[str]) -> list[str]:
    """As few queries as can hold the tokens."""
    if len(tokens) <= PAGE_SIZE and len(whole := " ".join(tokens)) <= _MOST_QUERY:
        return [whole] if whole else []
    queries: list[str] = []
    chunk: list[str] = []
    length = 0
    for token in tokens:
        if chunk and (len(chunk) == PAGE_SIZE or length + len(token) > _MOST_QUERY):
            queries.append(" ".join(chunk))
            chunk, length = [], 0
        chunk.append(token)
        length += len(token) + 1
    return [*queries, " ".join(chunk)]


def _build_page(source: Source, page: Page[Member]) -> UserPage:
    connection_id, organization, rows = source.account.connection_id, source.organization, RawRows(page.body)
    start = build_user_id(connection_id, "")
    return UserPage(
        users=[
            User(start + member.id, connection_id, organization, member, rows, index)
            for index, member in enumerate(page.items)
        ],
        page_cursor=page.page_cursor,
        next_cursor=page.next_cursor,
        previous_cursor=page.previous_cursor,
    )
