"""Tenants and narrowed callers, interleaved at random over one service: nobody gets what is another's.

What could carry it across is shared by all: identical calls under way, the connections' and callers' caches, teams
remembered for seconds, persisted documents, idempotency keys, cursors.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.connections.models import ConnectionRecord
from service.ids import build_user_id, new_id
from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph
from tests.scale import scaled

PEOPLE = "nodes { id email groups { name } organizations { slug } remoteData }"
BY_ID = {
    "users": "query ($id: ID!) { users(connectionIds: [$id], first: 20) { %s failures { code } } }" % PEOPLE,
    "connection": "query ($id: ID!) { connection(id: $id) { name externalId users(first: 20) { %s } } }" % PEOPLE,
    "scan": "query ($id: ID!) { users(connectionIds: [$id], orderBy: {field: EMAIL}, first: 20) { %s } }" % PEOPLE,
    "proxy": 'query ($id: ID!) { proxy(connectionId: $id, path: "organizations/{organization}/members/") { result } }',
    "node": "query ($id: ID!) { node(id: $id) { ... on Connection { name users(first: 5) { %s } } } }" % PEOPLE,
    "diagnosis": "query ($id: ID!) { connection(id: $id) { id diagnosis { role problems { code } } } }",
    "entity": 'query ($id: ID!) { _entities(representations: [{__typename: "Connection", id: $id}]) '
    "{ ... on Connection { name users(first: 5) { %s } } } }" % PEOPLE,
}
BY_EXTERNAL_ID = (
    'query ($id: ID!) { _entities(representations: [{__typename: "Connection", externalId: $id}]) '
    "{ ... on Connection { id name users(first: 5) { %s } } } }" % PEOPLE
)
BY_USER = "query ($id: ID!) { user(id: $id) { email groups { name } remoteDetail connection { name } } }"
EVERYTHING = (
    "{ connections { totalCount nodes { id name externalId } } users(first: 1000) { %s } "
    "auditLog(first: 1000) { nodes { connectionId details } } }" % PEOPLE  # for admins: to others an error
)
WALK = "query ($after: String) { users(first: 2, after: $after) { %s pageInfo { endCursor } } }" % PEOPLE
WRITE = """mutation ($id: ID!, $key: String!) {
  proxy(connectionId: $id, method: "POST", path: "organizations/{organization}/teams/", body: {slug: "made"},
    idempotencyKey: $key) { statusCode result }
}"""
UNLINK = "mutation ($id: ID!) { unlinkConnection(id: $id) { status } }"


@dataclass
class Account:
    """A connection, and the texts that stand in its data alone."""

    owner: Graph
    connection: ConnectionRecord
    organization: str
    token: str
    canaries: set[str]
    is_readable: bool = True
    is_linked: bool = True

    async def toggle(self) -> None:
        if self.is_linked:
            await self.owner.query(UNLINK, id=self.connection.id)
        else:
            await self.owner.link(self.organization, self.token, external_id=self.connection.external_id)
        self.is_linked = not self.is_linked


@dataclass
class World:
    accounts: dict[str, Account]
    callers: dict[str, tuple[Graph, set[str]]]
    """Each caller, and the names of the accounts that it sees."""
    cursors: list[str] = field(default_factory=list)


@pytest.fixture
async def world(graph: Graph) -> World:
    mine, theirs = graph, await graph.as_tenant("Other")
    organizations = {each.slug: each for each in graph.sandbox.world.organizations}
    emails = {slug: {member.email for member in each.members} for slug, each in organizations.items()}

    async def link(owner: Graph, slug: str, external_id: str, token: str, *, is_readable: bool = True) -> Account:
        others = set().union(*(found for other, found in emails.items() if other != slug))
        canaries = {email for email in emails[slug] - others if email}
        connection = await owner.link(slug, token, external_id=external_id)
        return Account(owner, connection, slug, token, canaries | {connection.id}, is_readable)

    accounts = {
        "mine 1": await link(mine, BIG, "customer-1", DEMO_TOKENS.admin),
        "mine 2": await link(mine, MIDDLE, "customer-2", DEMO_TOKENS.admin),
        "theirs 1": await link(theirs, SMALL, "customer-1", DEMO_TOKENS.admin),
        # The very URLs of "mine 1", by a credential that may not read members: what is shared would show.
        "theirs 2": await link(theirs, BIG, "customer-2", DEMO_TOKENS.limited, is_readable=False),
    }
    first, second = accounts["mine 1"].connection, accounts["mine 2"].connection
    return World(
        accounts,
        {
            "mine": (mine, {"mine 1", "mine 2"}),
            "mine, narrowed by id": (await mine.as_role(Role.ADMIN, connection_ids=[first.id]), {"mine 1"}),
            "mine, narrowed by externalId": (
                await mine.as_role(Role.WRITE, external_ids=[second.external_id]),
                {"mine 2"},
            ),
            "mine, narrowed to theirs": (
                await mine.as_role(Role.READ, connection_ids=[accounts["theirs 1"].connection.id]),
                set(),
            ),
            "theirs": (theirs, {"theirs 1", "theirs 2"}),
            "theirs, narrowed": (await theirs.as_role(Role.WRITE, external_ids=["customer-1"]), {"theirs 1"}),
        },
    )


def check(world: World, name: str, text: str, account: str | None = None) -> None:
    """No canary of an account that the caller does not see, nor of one whose credential does not see it."""
    _, seen = world.callers[name]
    allowed = set().union(*(world.accounts[each].canaries for each in seen if world.accounts[each].is_readable))
    allowed |= {world.accounts[each].connection.id for each in seen}
    for other, found in world.accounts.items():
        leaked = [canary for canary in found.canaries - allowed if canary in text]
        assert not leaked, f"{name} sees {leaked[:3]} of {other}, asking for {account}"


async def by_id(world: World, name: str, operation: str, account: str) -> None:
    caller, seen = world.callers[name]
    target = world.accounts[account]
    was_linked = target.is_linked
    answer = await caller.send(BY_ID[operation], id=target.connection.id)
    check(world, name, answer.text, account)
    if account not in seen:
        assert answer.content == (await caller.send(BY_ID[operation], id=new_id("con"))).content
    elif target.is_readable and was_linked and target.is_linked:
        assert any(canary in answer.text for canary in target.canaries), answer.text[:500]


async def by_external_id(world: World, name: str, _: str, account: str) -> None:
    caller, seen = world.callers[name]
    external_id = world.accounts[account].connection.external_id
    answer = await caller.send(BY_EXTERNAL_ID, id=external_id)
    check(world, name, answer.text, account)
    if external_id not in {world.accounts[each].connection.external_id for each in seen}:
        assert answer.json() == {"data": {"_entities": [None]}}


async def by_user(world: World, name: str, _: str, account: str) -> None:
    caller, seen = world.callers[name]
    target = world.accounts[account]
    organization = next(
        each for each in caller.sandbox.world.organizations if each.slug == target.connection.organization_slug
    )
    answer = await caller.send(BY_USER, id=build_user_id(target.connection.id, str(organization.members[0].id)))
    check(world, name, answer.text, account)
    if account not in seen:
        assert answer.json()["data"] == {"user": None}


async def everything(world: World, name: str, _: str, account: str) -> None:
    caller, seen = world.callers[name]
    answer = await caller.send(EVERYTHING)
    check(world, name, answer.text, account)
    found = answer.json()["data"]["connections"]
    assert {each["id"] for each in found["nodes"]} == {world.accounts[each].connection.id for each in seen}
    assert found["totalCount"] == len(seen)


async def walk(world: World, name: str, operation: str, account: str) -> None:
    """With whatever cursor anybody was given."""
    caller, _ = world.callers[name]
    after = world.cursors[len(operation + account) % len(world.cursors)] if world.cursors else None
    answer = await caller.send(WALK, after=after)
    check(world, name, answer.text, account)
    if users := (answer.json().get("data") or {}).get("users"):
        world.cursors.append(users["pageInfo"]["endCursor"])


async def rest(world: World, name: str, _: str, account: str) -> None:
    caller, seen = world.callers[name]
    target = world.accounts[account].connection

    async def get(connection_id: str) -> httpx.Response:
        url = f"/proxy/{connection_id}/api/0/organizations/{{organization}}/members/"
        return await caller.http.get(url, headers={"authorization": f"Bearer {caller.key}"})

    answer = await get(target.id)
    check(world, name, answer.text + str(answer.headers.get("link")), account)
    if account not in seen:
        missing = await get(new_id("con"))
        assert (answer.status_code, answer.content) == (missing.status_code, missing.content) == (404, answer.content)


async def write(world: World, name: str, operation: str, account: str) -> None:
    """Under keys that others use too: an answer that is kept is only its connection's."""
    caller, seen = world.callers[name]
    answer = await caller.send(WRITE, id=world.accounts[account].connection.id, key=f"key-{operation}")
    check(world, name, answer.text, account)
    if account not in seen:
        codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
        assert codes <= {"NOT_FOUND", "FORBIDDEN"}


async def persisted(world: World, name: str, operation: str, account: str) -> None:
    """A document that one tenant registered is not there for another."""
    tenant = world.callers[name][0].tenant_id
    caller = world.callers[name][0]
    text = f"query Of{tenant} {{ connections {{ totalCount }} }} # {operation}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}

    async def ask(graph: Graph, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {graph.key}"}
        answer = await graph.http.post("/graphql", json={"extensions": extensions, **body}, headers=headers)
        return json.loads(answer.content)

    assert "errors" not in await ask(caller, query=text)
    for other, _ in world.callers.values():
        is_known = "errors" not in await ask(other)
        assert is_known == (other.tenant_id == tenant), account


STEPS = (by_id, by_external_id, by_user, everything, walk, rest, write, persisted)
NAMES = ["mine", "mine, narrowed by id", "mine, narrowed by externalId", "mine, narrowed to theirs", "theirs"]
REQUESTS = st.tuples(
    st.sampled_from(STEPS),
    st.sampled_from([*NAMES, "theirs, narrowed"]),
    st.sampled_from(list(BY_ID)),
    st.sampled_from(["mine 1", "mine 2", "theirs 1", "theirs 2"]),
)
ROUNDS = st.lists(
    st.lists(REQUESTS, min_size=1, max_size=8) | st.sampled_from(["mine 1", "mine 2", "theirs 1", "theirs 2"]),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=scaled(test=25, soak=1500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(rounds=ROUNDS)
@example(rounds=[[(by_id, "mine", "users", "mine 1"), (by_id, "theirs", "users", "theirs 2")]])
@example(rounds=[[(by_id, "theirs", "scan", "theirs 2"), (by_id, "mine", "scan", "mine 1")]])
@example(rounds=[[(by_id, "mine", "proxy", "mine 1"), (by_id, "theirs", "proxy", "theirs 2")]])
@example(rounds=[[(by_id, "mine", "users", "mine 1")], [(by_id, "mine, narrowed by externalId", "users", "mine 1")]])
@example(rounds=[[(by_external_id, "mine", "", "mine 1")], [(by_external_id, "theirs", "", "theirs 1")]])
@example(rounds=[[(write, "mine", "x", "mine 1"), (write, "theirs", "x", "theirs 2"), (write, "mine", "x", "mine 2")]])
async def test_whatever_is_asked_at_once_each_gets_its_own(world: World, rounds: list[Any]) -> None:
    for requests in rounds:
        if isinstance(requests, str):
            await world.accounts[requests].toggle()
        else:
            await asyncio.gather(
                *(step(world, name, operation, account) for step, name, operation, account in requests)
            )
