import asyncio
from dataclasses import replace

import pytest

from service.connections.accounts import AccountSource
from service.connections.linking import Linker, LinkRequest
from service.connections.models import ConnectionRecord, ConnectionStatus
from service.db import Database
from service.errors import BadInput, Conflict, Forbidden, LinkRefused, ServiceError
from service.journal import Journal
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.sentry.client import SentryClient
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from service.sentry.reads import fetch_members
from service.sentry.transport import create_transport
from service.tenants.caller import Caller, Role
from tests.connections.factory import add_tenant, build_accounts
from tests.connections.upstream import client_of


@pytest.fixture
async def database(sqlite_url):
    """One engine suffices: what differs between them is tested with the store."""
    database = Database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
def policy(sandbox: Sandbox) -> EgressPolicy:
    return EgressPolicy([Origin.parse(sandbox.url)])


@pytest.fixture
async def client(policy):
    client = client_of(create_transport(policy, limit=20), policy)
    yield client
    await client.aclose()


@pytest.fixture
def accounts(store, vault, database, client) -> AccountSource:
    return build_accounts(database, store, vault, client)


@pytest.fixture
def linker(client: SentryClient, policy, store, vault, accounts, database) -> Linker:
    return Linker(client, policy, store, vault, accounts, Journal(database))


@pytest.fixture
def link(linker, admin, sandbox):
    async def link(token: str = DEMO_TOKENS.admin, *, caller: Caller = admin, **options) -> ConnectionRecord:
        request = LinkRequest(token, **({"origin": sandbox.url, "organization": "paper-boat"} | options))
        linked: ConnectionRecord = await linker.link(caller, request)
        return linked

    return link


async def test_a_linked_account_can_be_called(link, accounts, admin, client, sandbox):
    connection = await link(name="Mine", customer_id="c")
    assert (connection.name, connection.customer_id) == ("Mine", "c")
    assert (connection.organization_slug, connection.organization_name) == ("paper-boat", "Paper Boat")
    assert connection.control_origin == connection.api_origin == sandbox.url
    assert connection.scopes == sorted(connection.scopes)
    _, account = await accounts.account(admin, connection.id)
    assert len((await fetch_members(client, account)).items) == 6


async def test_one_token_links_each_of_its_organizations(link, store, admin):
    one, two = await link(organization="paper-boat"), await link(organization="northwind-rail")
    assert one.id != two.id
    assert {found.organization_slug for found in await store.page(admin, limit=9)} == {"paper-boat", "northwind-rail"}


async def test_linking_again_replaces_the_token(link, accounts, admin):
    first = await link(external_id="cust")
    again = await link(DEMO_TOKENS.limited, external_id="cust", origin=first.control_origin + "/api/0/")
    assert again.id == first.id
    assert again.scopes == ["org:read", "project:read"]
    _, account = await accounts.account(admin, first.id)
    assert (await account.tokens.token()).value == DEMO_TOKENS.limited
    with pytest.raises(Conflict):
        await link(external_id="cust", organization="northwind-rail")


async def test_the_same_external_id_linked_at_once_is_one_connection(link, store, admin):
    made = await asyncio.gather(*(link(external_id="cust") for _ in range(4)))
    assert len({connection.id for connection in made}) == 1
    assert await store.count(admin) == 1


async def test_an_unlinked_connection_is_revived(link, store, admin, accounts):
    first = await link(external_id="cust", customer_id="c")
    await store.unlink(admin, first.id)
    again = await link(external_id="cust")
    assert (again.id, again.customer_id, again.status) == (first.id, "c", ConnectionStatus.ACTIVE)
    await accounts.account(admin, first.id)


async def test_projects_limit_the_connection_and_can_be_changed(link, linker, sandbox, admin, stranger):
    slugs = [project.slug for project in sandbox.world.organizations[2].projects]
    connection = await link(projects=[slugs[0]], external_id="cust")
    assert [project["slug"] for project in connection.projects] == [slugs[0]]
    assert (await link(external_id="cust")).projects == connection.projects  # linking again does not lift the limit
    changed = await linker.set_projects(admin, connection.id, slugs)
    assert [project["slug"] for project in changed.projects] == slugs
    with pytest.raises(BadInput, match="nope"):
        await linker.set_projects(admin, connection.id, ["nope"])
    assert (await linker.set_projects(admin, connection.id, None)).projects is None
    for projects in (None, [slugs[0]]):
        with pytest.raises(ServiceError, match="no such connection"):
            await linker.set_projects(stranger, connection.id, projects)
        with pytest.raises(Forbidden):
            await linker.set_projects(replace(admin, role=Role.WRITE), connection.id, projects)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("externalId", {"external_id": ""}),
        ("externalId", {"external_id": "x" * 201}),
        ("customerId", {"customer_id": "a\0b"}),
        ("name", {"name": "\ud800"}),
        ("organization", {"organization": " "}),
        ("installationId", {"installation_id": ""}),
        ("projects", {"projects": []}),
        ("base URL", {"origin": "not a url"}),
        ("no such connection", {"external_id": "con_" + "0" * 26}),
    ],
)
async def test_bad_arguments_are_refused_by_name(link, store, admin, argument, options):
    with pytest.raises(ServiceError, match=argument):
        await link(**options)
    assert await store.count(admin) == 0


async def test_who_may_not_link_does_not_reach_sentry(link, admin, sandbox):
    for caller in (
        replace(admin, role=Role.READ),
        replace(admin, role=Role.WRITE),
        replace(admin, external_ids=frozenset({"x"})),
    ):
        with pytest.raises(Forbidden):
            await link(caller=caller)
    with pytest.raises(LinkRefused):
        await link(f"https://{'0' * 32}@o1.ingest.sentry.io/2")
    assert sandbox.count("GET", "") == 0


async def test_two_tenants_link_the_same_account_apart(link, store, admin, stranger):
    mine, theirs = await link(external_id="cust"), await link(external_id="cust", caller=stranger)
    assert mine.id != theirs.id
    await store.unlink(stranger, theirs.id)
    assert (await store.get_linked(admin, mine.id, fresh=True)).credential is not None


async def test_linking_for_an_unknown_tenant_says_so(link, admin, database):
    await add_tenant(database, "ten_3")
    with pytest.raises(ServiceError, match="no such tenant"):
        await link(caller=replace(admin, tenant_id="ten_never"))
