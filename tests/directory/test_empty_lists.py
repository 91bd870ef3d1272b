"""Lists that Sentry leaves empty for want of a right are errors; lists that are empty are lists."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from service.directory.groups import GroupReader
from service.directory.members import MemberReader, Source
from service.directory.user import Organization
from service.errors import MissingScope
from service.sentry.account import Account, Token
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin

HERE = Origin.parse("https://sentry.io")


class Tokens:
    async def token(self) -> Token:
        return Token("t" * 64, 1)

    async def fresh_token(self, rejected: Token) -> Token:
        raise AssertionError

    async def doubt(self, rejected: Token) -> None:
        raise AssertionError


class Answering(httpx.AsyncBaseTransport):
    """Lists of Sentry's by the last part of their path; all others are empty."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, object]]] = {}
        self.queries: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.queries.append(request.url.query.decode())
        if "cursor=" in self.queries[-1]:
            return httpx.Response(200, json=[])
        return httpx.Response(200, json=self.lists.get(request.url.path.rstrip("/").rpartition("/")[2], []))


@pytest.fixture
async def upstream() -> Answering:
    return Answering()


@pytest.fixture
async def client(upstream: Answering) -> AsyncIterator[SentryClient]:
    client = SentryClient(
        upstream, policy=EgressPolicy(), deadline=5, attempts=1, max_bytes=2**20, user_agent="test", tenant_calls=5
    )
    yield client
    await client.aclose()


def source(*scopes: str) -> Source:
    account = Account("ten_1", "con_1", HERE, HERE, "acme", "f" * 64, Tokens())
    return Source(account, Organization("con_1", "2", "acme", "Acme"), scopes)


Reads = dict[str, Callable[[MemberReader, GroupReader, Source], object]]

READS: Reads = {
    "users": lambda members, _, source: members.page(source, None),
    "searched users": lambda members, _, source: members.page(source, None, search="role:owner"),
    "users by member id": lambda members, _, source: members.by_member_id(source, ["7"]),
    "users by user id": lambda members, _, source: members.by_user_id(source, ["7"]),
    "users by address": lambda members, _, source: members.by_email(source, ["a@acme.example"]),
    "groups": lambda _, groups, source: groups.teams(source),
    "memberships": lambda _, groups, source: groups.memberships(source, ["7"]),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("level", [None, "read", "write", "admin"])
async def test_an_empty_list_counts_only_with_a_scope_for_it(client: SentryClient, read: str, level: str | None):
    kind = "team" if read in {"groups", "memberships"} else "member"
    members = MemberReader(client)
    groups = GroupReader(client, remember_seconds=60)
    scopes = ["org:read", "event:read", *([f"{kind}:{level}"] if level else [])]
    if level is not None:
        await READS[read](members, groups, source(*scopes))  # type: ignore[misc]  # each is a coroutine
        return
    with pytest.raises(MissingScope, match="says nothing") as refused:
        await READS[read](members, groups, source(*scopes))  # type: ignore[misc]  # each is a coroutine
    assert refused.value.missing_scopes == [f"{kind}:read"]


async def test_what_is_listed_is_listed_whatever_the_scopes_are(client: SentryClient, upstream: Answering):
    """Some lists need less than their feature: Sentry shows teams to whoever may read the organization."""
    upstream.lists["teams"] = [{"id": "1", "slug": "core", "memberCount": 0}]
    upstream.lists["members"] = [{"id": "7", "email": "a@acme.example"}]
    members = MemberReader(client)
    groups = GroupReader(client, remember_seconds=60)
    assert [team.slug for team in await groups.teams(source("org:read"))] == ["core"]
    assert len((await members.page(source("org:read"), None)).users) == 1


async def test_the_empty_end_of_a_list_is_its_end(client: SentryClient):
    assert (await MemberReader(client).page(source("org:read"), "100:1:0")).users == []


async def test_a_refused_list_is_not_remembered_as_empty(client: SentryClient, upstream: Answering):
    groups = GroupReader(client, remember_seconds=60)
    for _ in range(2):
        with pytest.raises(MissingScope):
            await groups.teams(source("org:read"))
    assert len(upstream.queries) == 2


async def test_a_team_that_says_it_has_members_and_lists_none_is_refused(client: SentryClient, upstream: Answering):
    upstream.lists["teams"] = [{"id": "1", "slug": "core", "memberCount": 3}]
    groups = GroupReader(client, remember_seconds=60)
    with pytest.raises(MissingScope):
        await groups.memberships(source("org:read", "member:read"), [str(number) for number in range(9)])
    assert await groups.memberships(source("org:read", "team:read"), [str(number) for number in range(9)]) == {}
