"""Nothing of one tenant, or of a connection that a caller is not narrowed to, is seen or told apart from nothing.

Every field of the schema is classified here; a new one fails the first test until it is.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
from graphql import GraphQLObjectType

from service.events.models import EndpointPayload
from service.ids import build_user_id, new_id
from service.link.rules import LinkSessionRequest
from service.schema.build import build_schema
from service.schema.event_types import EVENT_TYPES
from service.tenants.caller import Role
from service.webhooks.endpoint_rules import EndpointChange
from tests.graph_fixture import BIG, MIDDLE, Graph
from tests.scale import scaled

# Operations that name an object: `$id` is the global id of a connection or a user, or an externalId.
BY_CONNECTION = {
    "Query.connection": "query ($id: ID!) { connection(id: $id) { name organization { slug } } }",
    "Query.users": "query ($id: ID!) { users(connectionIds: [$id]) { nodes { email } failures { message } } }",
    "Query.proxy": 'query ($id: ID!) { proxy(connectionId: $id, path: "organizations/{organization}/") { result } }',
    "Query.node": "query ($id: ID!) { node(id: $id) { id ... on Connection { name } } }",
    "Query.nodes": "query ($id: ID!) { nodes(ids: [$id]) { id ... on Connection { name } } }",
    "Query._entities": 'query ($id: ID!) { _entities(representations: [{__typename: "Connection", id: $id}]) '
    "{ ... on Connection { name } } }",
    "Query.connection diagnosis": "query ($id: ID!) { connection(id: $id) { diagnosis { problems { code } } } }",
    "Query.auditLog": "query ($id: ID!) { auditLog(filter: {connectionId: $id}) { nodes { action details } } }",
    "Query.events": "query ($id: ID!) { events(connectionIds: [$id]) { nodes { id } } }",
    "Subscription.events": "subscription ($id: ID!) { events(connectionIds: [$id]) { id } }",
    "Mutation.updateConnection": 'mutation ($id: ID!) { updateConnection(input: {id: $id, name: "x"}) { name } }',
    "Mutation.updateConnection projects": "mutation ($id: ID!) "
    "{ updateConnection(input: {id: $id, projects: null}) { name } }",
    "Query.webhookReceivers": "query ($id: ID!) { webhookReceivers(connectionId: $id) { url } }",
    "Mutation.createWebhookReceiver": "mutation ($id: ID!) { createWebhookReceiver(input: "
    '{connectionId: $id, kind: INTERNAL_INTEGRATION, secret: "5f5f5f5f5f5f5f5f"}) { url } }',
    "Mutation.createWebhookEndpoint": "mutation ($id: ID!) "
    '{ createWebhookEndpoint(input: {url: "https://consumer.example", connectionIds: [$id]}) { secret } }',
    "Mutation.unlinkConnection": "mutation ($id: ID!) { unlinkConnection(id: $id) { name } }",
    "Mutation.proxy": 'mutation ($id: ID!) { proxy(connectionId: $id, method: "POST", '
    'path: "organizations/{organization}/teams/", body: {slug: "x"}, idempotencyKey: "k") { result } }',
}
BY_EXTERNAL_ID = {
    "Query._entities externalId": 'query ($id: ID!) { _entities(representations: [{__typename: "Connection", '
    "externalId: $id}]) { ... on Connection { name } } }",
}
BY_EXTERNAL_ID_AS_ADMIN = {
    "Mutation.createLinkSession": "mutation ($id: ID!) "
    "{ createLinkSession(input: {externalId: $id}) { linkSession { status connection { name } } } }",
}
BY_SESSION = {
    "Query.linkSession": "query ($id: ID!) { linkSession(id: $id) { externalId url } }",
    "Mutation.cancelLinkSession": "mutation ($id: ID!) { cancelLinkSession(id: $id) { externalId url } }",
}
BY_USER = {
    "Query.user": "query ($id: ID!) { user(id: $id) { email } }",
    "Query.node User": "query ($id: ID!) { node(id: $id) { id ... on User { email } } }",
    "Query.nodes User": "query ($id: ID!) { nodes(ids: [$id]) { id ... on User { email } } }",
    "Query._entities User": 'query ($id: ID!) { _entities(representations: [{__typename: "User", id: $id}]) '
    "{ ... on User { email } } }",
}
BY_EMAIL = {
    "Query._entities email": 'query ($id: ID!, $email: String!) { _entities(representations: [{__typename: "User", '
    "connectionId: $id, email: $email}]) { ... on User { email } } }",
}
BY_EVENT = {
    "Query.node Event": "query ($id: ID!) { node(id: $id) { id ... on SentryEvent { type payload } } }",
    "Query.nodes Event": "query ($id: ID!) { nodes(ids: [$id]) { id ... on SentryEvent { type payload } } }",
    "Subscription.events after": "subscription ($id: ID!) { events(after: $id) { id } }",
}
BY_ENDPOINT = {
    "Query.webhookEndpoint": "query ($id: ID!) { webhookEndpoint(id: $id) { url deliveries { nodes { id } } } }",
    "Mutation.updateWebhookEndpoint": "mutation ($id: ID!) "
    '{ updateWebhookEndpoint(input: {id: $id, name: "x"}) { url } }',
    "Mutation.enableWebhookEndpoint": "mutation ($id: ID!) { enableWebhookEndpoint(id: $id) { url } }",
    "Mutation.rotateWebhookEndpointSecret": "mutation ($id: ID!) { rotateWebhookEndpointSecret(id: $id) { secret } }",
    "Mutation.testWebhookEndpoint": "mutation ($id: ID!) { testWebhookEndpoint(id: $id) { id } }",
    "Mutation.replayWebhookEvents": "mutation ($id: ID!) "
    '{ replayWebhookEvents(input: {endpointId: $id, since: "2020-01-01"}) { count } }',
    "Mutation.replayDeadWebhookDeliveries": "mutation ($id: ID!) "
    "{ replayDeadWebhookDeliveries(endpointId: $id) { count } }",
    "Mutation.deleteWebhookEndpoint": "mutation ($id: ID!) { deleteWebhookEndpoint(id: $id) }",
}
BY_RECEIVER = {
    "Mutation.rotateWebhookReceiverSecret": "mutation ($id: ID!) "
    '{ rotateWebhookReceiverSecret(input: {id: $id, secret: "5f5f5f5f5f5f5f5f"}) { url } }',
    "Mutation.deleteWebhookReceiver": "mutation ($id: ID!) { deleteWebhookReceiver(id: $id) }",
}
BY_DELIVERY = {"Mutation.replayWebhookDelivery": "mutation ($id: ID!) { replayWebhookDelivery(id: $id) { eventId } }"}
BY_KEY = {"Mutation.revokeApiKey": "mutation ($id: ID!) { revokeApiKey(id: $id) { name } }"}

# Operations that name no object: what they answer or change is the caller's own, as the tests below show.
OWN = {
    "Query.connections",
    "Query.apiKeys",
    "Query.sealingKeys",
    "Query.rewrapProgress",
    "Query.webhookEndpoints",
    "Query.webhookQuarantine",
    "Query._service",
    "Mutation.linkConnection",
    "Mutation.createApiKey",
}

# Types whose objects are reached through the operations above only: their fields answer from the object, or call
# Sentry with the object's own connection.
REACHED = {
    "ApiKey",
    "ApiKeyConnection",
    "ApiKeyEdge",
    "AuditEntry",
    "AuditEntryConnection",
    "AuditEntryEdge",
    "Connection",
    "ConnectionConnection",
    "ConnectionDiagnosis",
    "ConnectionDiagnosisFeature",
    "ConnectionDiagnosisProblem",
    "ConnectionEdge",
    "ConnectionFailure",
    "ConnectionMissingScope",
    "ConnectionProject",
    "ConnectionRemoval",
    "ConnectionWebhooks",
    "CreatedApiKey",
    "CreatedLinkSession",
    "EventActor",
    "EventError",
    "EventIssue",
    "EventProject",
    "EventTag",
    "LinkSession",
    "PageInfo",
    "Proxy",
    "ProxyHeader",
    "QuarantinedWebhook",
    "QuarantinedWebhookConnection",
    "QuarantinedWebhookEdge",
    "RewrapProgress",
    "SealingKey",
    "SentryEventConnection",
    "SentryEventEdge",
    "SentryOrganization",
    "SentryRateLimit",
    "User",
    "UserConnection",
    "UserEdge",
    "UserEmail",
    "UserGroup",
    "UserPhone",
    "UserRole",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryConnection",
    "WebhookDeliveryEdge",
    "WebhookEndpoint",
    "WebhookEndpointConnection",
    "WebhookEndpointEdge",
    "WebhookEndpointSecret",
    "WebhookReceiver",
    "WebhookReplay",
    "_Service",
    *(each.__name__ for each in EVENT_TYPES),
}
# Their fields with arguments, which could name an object: each is looked at below.
ARGUMENTS = {"Connection.users", "Connection.user", "Connection.proxy", "WebhookEndpoint.deliveries"}

ROOTS = {"Query", "Mutation", "Subscription"}

SECRETS = ("lumen-labs", "Lumen Labs")


def test_every_field_is_classified() -> None:
    tables = [BY_CONNECTION, BY_EXTERNAL_ID, BY_EXTERNAL_ID_AS_ADMIN, BY_SESSION, BY_USER, BY_EMAIL, BY_EVENT, BY_KEY]
    tables += [BY_ENDPOINT, BY_DELIVERY, BY_RECEIVER]
    classified = {name.split(" ")[0] for table in tables for name in table}
    found: set[str] = set()
    for type_ in build_schema()._schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name.startswith("__"):
            continue
        for name, field in type_.fields.items():
            if type_.name in ROOTS or (field.args and f"{type_.name}.{name}" not in ARGUMENTS):
                found.add(f"{type_.name}.{name}")
            else:
                assert type_.name in REACHED, f"{type_.name}.{name} is new: say how a caller reaches it"
    assert found == classified | OWN


@dataclass(frozen=True)
class Foreign:
    """A caller, and what it must not be able to tell from nothing."""

    graph: Graph
    connection_id: str
    external_id: str
    email: str
    key_id: str
    session_id: str
    event_id: str
    endpoint_id: str
    delivery_id: str


@pytest.fixture(params=["other tenant", "narrowed by id", "narrowed by externalId"])
async def foreign(graph: Graph, request: pytest.FixtureRequest) -> Foreign:
    secret = await graph.link(BIG, external_id="big-customer")
    await graph.make_key()
    key_id = (await graph.runtime.services.tenants.list_keys(graph.tenant_id))[-1].id
    email = graph.sandbox.world.organizations[0].members[0].email
    sessions = graph.runtime.services.link_sessions
    session = await sessions.create(graph.caller, LinkSessionRequest(external_id=secret.external_id))
    if request.param == "other tenant":
        caller = await graph.as_tenant("Other")
        await caller.link(MIDDLE, external_id="middle-customer")
    else:
        allowed = await graph.link(MIDDLE, external_id="middle-customer")
        narrowing = (
            {"connection_ids": [allowed.id]}
            if request.param == "narrowed by id"
            else {"external_ids": [allowed.external_id]}
        )
        caller = await graph.as_role(Role.ADMIN, **narrowing)
    graph.sandbox.requests.clear()
    (event,) = await graph.runtime.services.events.page(graph.tenant_id, limit=1)
    endpoints = graph.runtime.services.endpoints
    change = EndpointChange(url="https://consumer.example", name=SECRETS[1], payload=EndpointPayload.EVENT)
    endpoint, _ = await endpoints.create(graph.caller, replace(change, connection_ids=[secret.id]))
    delivery = await endpoints.test(graph.caller, endpoint.id)
    return Foreign(caller, secret.id, secret.external_id, email, key_id, session.id, event.id, endpoint.id, delivery.id)


async def same(graph: Graph, operation: str, foreign: dict[str, Any], missing: dict[str, Any]) -> None:
    """The two answers are the same, byte by byte, and nothing was asked of Sentry."""
    there, nowhere = await graph.send(operation, **foreign), await graph.send(operation, **missing)
    assert there.content == nowhere.content
    assert there.status_code == nowhere.status_code
    assert not any(secret in there.text for secret in SECRETS)
    assert graph.calls() == 0


@pytest.mark.parametrize("name", BY_CONNECTION)
async def test_a_foreign_connection_is_not_there(foreign: Foreign, name: str) -> None:
    await same(foreign.graph, BY_CONNECTION[name], {"id": foreign.connection_id}, {"id": new_id("con")})


@pytest.mark.parametrize("name", BY_EXTERNAL_ID)
async def test_a_foreign_external_id_is_not_there(foreign: Foreign, name: str) -> None:
    await same(foreign.graph, BY_EXTERNAL_ID[name], {"id": foreign.external_id}, {"id": "nobody"})


@pytest.mark.parametrize("name", BY_EXTERNAL_ID_AS_ADMIN)
async def test_a_foreign_external_id_is_nobodys(foreign: Foreign, name: str) -> None:
    """Free to another tenant, and missing to a caller who may make no connections: as one that nobody has."""
    await same(foreign.graph, BY_EXTERNAL_ID_AS_ADMIN[name], {"id": foreign.external_id}, {"id": "nobody"})


@pytest.mark.parametrize("name", BY_SESSION)
async def test_a_foreign_link_session_is_not_there(foreign: Foreign, name: str) -> None:
    await same(foreign.graph, BY_SESSION[name], {"id": foreign.session_id}, {"id": new_id("lks")})


@pytest.mark.parametrize("name", BY_USER)
async def test_a_foreign_user_is_not_there(foreign: Foreign, name: str) -> None:
    there = {"id": build_user_id(foreign.connection_id, "1")}
    await same(foreign.graph, BY_USER[name], there, {"id": build_user_id(new_id("con"), "1")})


@pytest.mark.parametrize("name", BY_EMAIL)
async def test_a_foreign_user_is_not_found_by_address(foreign: Foreign, name: str) -> None:
    there = {"id": foreign.connection_id, "email": foreign.email}
    await same(foreign.graph, BY_EMAIL[name], there, {"id": new_id("con"), "email": foreign.email})


@pytest.mark.parametrize("name", BY_EVENT)
async def test_a_foreign_event_is_not_there(foreign: Foreign, name: str) -> None:
    await same(foreign.graph, BY_EVENT[name], {"id": foreign.event_id}, {"id": new_id("evt")})


async def test_a_foreign_webhook_endpoint_or_delivery_is_not_there(foreign: Foreign) -> None:
    for operation in BY_ENDPOINT.values():
        await same(foreign.graph, operation, {"id": foreign.endpoint_id}, {"id": new_id("whe")})
    for operation in BY_DELIVERY.values():
        await same(foreign.graph, operation, {"id": foreign.delivery_id}, {"id": new_id("whd")})
    listed = await foreign.graph.query("{ webhookEndpoints { totalCount nodes { id } } }")
    assert listed["webhookEndpoints"] == {"totalCount": 0, "nodes": []}


async def test_a_foreign_webhook_receiver_is_not_there(graph: Graph, foreign: Foreign) -> None:
    made = await graph.query(BY_CONNECTION["Mutation.createWebhookReceiver"], id=foreign.connection_id)
    receiver_id = made["createWebhookReceiver"]["url"].split("/")[-2]
    for operation in BY_RECEIVER.values():
        await same(foreign.graph, operation, {"id": receiver_id}, {"id": new_id("whr")})


@pytest.mark.parametrize("name", BY_KEY)
async def test_a_foreign_key_is_not_there(foreign: Foreign, name: str) -> None:
    await same(foreign.graph, BY_KEY[name], {"id": foreign.key_id}, {"id": new_id("key")})


async def test_lists_hold_what_is_the_callers_own(foreign: Foreign) -> None:
    data = await foreign.graph.query(
        "{ connections { totalCount nodes { id } } users(first: 1000) { nodes { connectionId } } "
        "events { nodes { connectionId } } }"
    )
    (own,) = [node["id"] for node in data["connections"]["nodes"]]
    assert own != foreign.connection_id
    assert data["connections"]["totalCount"] == 1
    for listed in ("users", "events"):
        assert {node["connectionId"] for node in data[listed]["nodes"]} == {own}


async def test_a_cursor_of_another_tenant_is_refused(graph: Graph) -> None:
    connection = await graph.link(BIG)
    text = "query ($after: String) { users(first: 1, after: $after) { pageInfo { endCursor } } }"
    cursor = (await graph.query(text))["users"]["pageInfo"]["endCursor"]
    other = await graph.as_tenant("Other")
    assert (await other.error(text, after=cursor))["code"] == "INVALID_CURSOR"
    text = """query ($id: ID!, $after: String) {
      proxy(connectionId: $id, path: "organizations/{organization}/members/", first: 1, after: $after) {
        pageInfo { endCursor }
      }
    }"""
    cursor = (await graph.query(text, id=connection.id))["proxy"]["pageInfo"]["endCursor"]
    assert (await other.error(text, id=connection.id, after=cursor))["code"] == "INVALID_CURSOR"


async def test_an_external_id_of_another_tenant_is_free(graph: Graph) -> None:
    mine = await graph.link(BIG, external_id="customer")
    other = await graph.as_tenant("Other")
    theirs = await other.link(MIDDLE, external_id="customer")
    assert theirs.id != mine.id
    assert (await graph.query("{ connections { nodes { name } } }"))["connections"]["nodes"] == [{"name": mine.name}]


async def test_a_narrowed_admin_cannot_widen_itself(graph: Graph) -> None:
    allowed = await graph.link(MIDDLE)
    narrowed = await graph.as_role(Role.ADMIN, connection_ids=[allowed.id])
    made = 'mutation { createApiKey(input: {name: "mine", role: ADMIN}) { key } }'
    assert (await narrowed.error(made))["code"] == "FORBIDDEN"
    for text in ("{ apiKeys { totalCount } }", "{ sealingKeys { id } }", "{ rewrapProgress { total } }"):
        assert (await narrowed.error(text))["code"] == "FORBIDDEN"
    assert (await narrowed.error("mutation { createLinkSession(input: {}) { url } }"))["code"] == "FORBIDDEN"
    link = "mutation ($t: String!, $o: String!) { linkConnection(input: {token: $t, origin: $o}) { id } }"
    assert (await narrowed.error(link, t="sntryu_" + "5a" * 32, o=graph.sandbox.url))["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("role", "operation"),
    [
        (Role.READ, BY_CONNECTION["Mutation.proxy"]),
        (Role.READ, BY_CONNECTION["Mutation.updateConnection"]),
        (Role.WRITE, BY_CONNECTION["Mutation.updateConnection"]),
        (Role.WRITE, BY_CONNECTION["Mutation.updateConnection projects"]),
        (Role.WRITE, BY_CONNECTION["Mutation.unlinkConnection"]),
        (Role.WRITE, BY_KEY["Mutation.revokeApiKey"]),
        (Role.WRITE, "{ apiKeys { totalCount } }"),
        (Role.WRITE, "{ auditLog { nodes { id } } }"),
        (Role.WRITE, "{ sealingKeys { id } }"),
        (Role.WRITE, "{ rewrapProgress { done } }"),
        (Role.WRITE, BY_SESSION["Query.linkSession"]),
        (Role.WRITE, BY_SESSION["Mutation.cancelLinkSession"]),
        (Role.WRITE, "mutation { createLinkSession(input: {}) { url } }"),
        (Role.WRITE, 'mutation { createApiKey(input: {name: "x"}) { key } }'),
        (Role.WRITE, 'mutation { linkConnection(input: {token: "sntryu_x"}) { id } }'),
    ],
)
async def test_a_role_does_not_reach_further(graph: Graph, role: Role, operation: str) -> None:
    connection = await graph.link(BIG)
    lesser = await graph.as_role(role)
    variables = {"id": connection.id} if "$id" in operation else {}
    assert (await lesser.error(operation, **variables))["code"] == "FORBIDDEN"
    assert graph.calls() == 0


async def test_webhook_endpoints_are_for_admins(graph: Graph) -> None:
    lesser = await graph.as_role(Role.WRITE)
    assert (await lesser.error("{ webhookEndpoints { totalCount } }"))["code"] == "FORBIDDEN"
    operations = [BY_CONNECTION["Mutation.createWebhookEndpoint"], *BY_ENDPOINT.values(), *BY_DELIVERY.values()]
    for operation in operations:
        assert (await lesser.error(operation, id="x"))["code"] == "FORBIDDEN"


async def test_webhook_receivers_are_for_admins(graph: Graph) -> None:
    lesser = await graph.as_role(Role.WRITE)
    operations = [BY_CONNECTION["Query.webhookReceivers"], BY_CONNECTION["Mutation.createWebhookReceiver"]]
    for operation in [*operations, *BY_RECEIVER.values()]:
        assert (await lesser.error(operation, id="x"))["code"] == "FORBIDDEN"
    assert (await lesser.error("{ webhookQuarantine { nodes { id } } }"))["code"] == "FORBIDDEN"


async def test_tenants_side_by_side_see_only_their_own(graph: Graph) -> None:
    """Two tenants ask at once, at random, for hundreds of things; each answer holds canaries of one of them only."""
    dice = random.Random(7)
    mine, theirs = graph, await graph.as_tenant("Other")
    own = {"lumen-labs": (mine, await mine.link(BIG)), "northwind-rail": (theirs, await theirs.link(MIDDLE))}
    people = [{member.email for member in each.members} for each in graph.sandbox.world.organizations[:2]]
    canaries = {"lumen-labs": people[0] - people[1], "northwind-rail": people[1] - people[0]}
    page = "nodes { id email groups { name } organizations { slug } }"
    operations = [
        "query ($id: ID!) { users(connectionIds: [$id], first: 30) { %s } }" % page,
        "query ($id: ID!) { connection(id: $id) { name organization { slug } users(first: 20) { %s } } }" % page,
        "query ($id: ID!) { users(connectionIds: [$id], orderBy: {field: EMAIL}, first: 50) { %s } }" % page,
        'query ($id: ID!) { proxy(connectionId: $id, path: "organizations/{organization}/members/") { result } }',
        "{ connections { nodes { organization { slug } } } users(first: 3) { nodes { remoteData remoteDetail } } }",
    ]

    async def ask(slug: str) -> None:
        caller, connection = own[slug]
        operation = dice.choice(operations)
        answer = await caller.send(operation, **({"id": connection.id} if "$id" in operation else {}))
        (other,) = set(own) - {slug}
        assert "errors" not in answer.json(), answer.text
        assert any(email in answer.text for email in canaries[slug])
        assert not any(email in answer.text for email in canaries[other])
        assert own[other][1].id not in answer.text

    for _ in range(scaled(test=15, soak=200)):
        await asyncio.gather(*(ask(dice.choice(list(own))) for _ in range(8)))


async def test_the_caller_is_not_the_tenant_it_claims(graph: Graph) -> None:
    await graph.link(BIG)
    anonymous = replace(graph, key="sg_aaaaaaaaaaaa_" + "a" * 52)
    response = await anonymous.send("{ connections { totalCount } }")
    assert response.status_code == 401
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
