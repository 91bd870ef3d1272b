from pathlib import Path

import pytest
from graphql import (
    DocumentNode,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    SchemaDefinitionNode,
    parse,
    print_ast,
)
from typer.testing import CliRunner

from service.cli import app
from service.sandbox.app import Sandbox
from service.schema.build import print_full_sdl, print_sdl
from service.schema.event_types import EVENT_TYPES
from tests.graph_fixture import Graph, serve_graph

COMMITTED = Path(__file__).parents[2] / "schema.graphql"
RELAY_LISTS = {
    "Query.apiKeys",
    "Query.auditLog",
    "Query.connections",
    "Query.events",
    "Query.users",
    "Query.webhookEndpoints",
    "Query.webhookQuarantine",
    "Connection.users",
    "WebhookEndpoint.deliveries",
}
CALLS_SENTRY = {
    "Connection.diagnosis",
    "Connection.proxy",
    "Connection.user",
    "Connection.users",
    "EventActor.user",
    "Mutation.linkConnection",
    "Mutation.proxy",
    "Mutation.updateConnection",
    "Query.proxy",
    "Query.user",
    "Query.users",
    "User.groupRoles",
    "User.groups",
    "User.remoteDetail",
}


def types_of(document: DocumentNode) -> dict[str, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode]:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode)
    }


def fields_with(directive: str, document: DocumentNode) -> set[str]:
    """``Type.field`` of each field that carries a directive."""
    return {
        f"{name}.{field.name.value}"
        for name, type_ in types_of(document).items()
        for field in type_.fields or ()
        if any(each.name.value == directive for each in field.directives or ())
    }


def directives_of(document: DocumentNode, type_name: str) -> list[str]:
    return [print_ast(each) for each in types_of(document)[type_name].directives or ()]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["schema", *arguments])
    assert done.exit_code == 0
    return done.stdout


async def _serve_sdl(graph: Graph) -> str:
    sdl: str = (await graph.query("{ _service { sdl } }"))["_service"]["sdl"]
    return sdl


def test_the_committed_schema_is_what_the_code_prints() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == print_sdl(), (
        "stale: run `python -m service schema > schema.graphql`"
    )


def test_the_command_prints_the_committed_schema() -> None:
    assert run() == COMMITTED.read_text(encoding="utf-8")
    assert run("--full") == print_full_sdl()
    assert run("--auth-directives") == print_sdl(auth_directives=True)


async def test_the_committed_schema_is_what_a_gateway_is_given(graph: Graph) -> None:
    assert await _serve_sdl(graph) == COMMITTED.read_text(encoding="utf-8")


async def test_auth_directives_are_given_where_a_setting_says_so(tmp_path: Path, sandbox: Sandbox) -> None:
    async with serve_graph(tmp_path, sandbox, auth_directives=True) as graph:
        assert await _serve_sdl(graph) == print_sdl(auth_directives=True)


def test_every_root_field_has_an_auth_directive_but_the_gateways_own() -> None:
    document = parse(print_sdl(auth_directives=True))
    roots = {
        f"{root}.{field.name.value}"
        for root in ("Query", "Mutation", "Subscription")
        for field in types_of(document)[root].fields or ()
    }
    marked = fields_with("authenticated", document) | fields_with("requiresScopes", document)
    assert roots - marked == {"Query._entities", "Query._service"}
    assert marked <= roots


def test_without_the_setting_there_are_none() -> None:
    assert "@authenticated" not in print_sdl()
    assert "@requiresScopes" not in print_sdl()


def test_federation_is_of_a_version_that_all_composers_know() -> None:
    (schema,) = [each for each in parse(print_sdl()).definitions if isinstance(each, SchemaDefinitionNode)]
    (link,) = schema.directives or ()
    assert "https://specs.apollo.dev/federation/v2.9" in print_ast(link)


def test_entities_have_their_keys() -> None:
    document = parse(print_sdl())
    assert directives_of(document, "Connection") == ['@key(fields: "id")', '@key(fields: "externalId")']
    assert directives_of(document, "User") == ['@key(fields: "id")', '@key(fields: "connectionId email")']
    assert directives_of(document, "PageInfo") == ["@shareable"]


def test_only_the_full_schema_has_node() -> None:
    subgraph, full = (types_of(parse(text))["Query"].fields or () for text in (print_sdl(), print_full_sdl()))
    assert {field.name.value for field in full} - {field.name.value for field in subgraph} == {"node", "nodes"}


def test_lists_and_calls_declare_what_they_cost() -> None:
    document = parse(print_sdl())
    takes_first = {
        f"{name}.{field.name.value}"
        for name, type_ in types_of(document).items()
        for field in type_.fields or ()
        if {"first", "last"} <= {argument.name.value for argument in field.arguments or ()}
    }
    assert takes_first == RELAY_LISTS
    assert fields_with("listSize", document) == RELAY_LISTS
    assert fields_with("cost", document) == CALLS_SENTRY


@pytest.mark.parametrize("sdl", [print_sdl(), print_full_sdl()], ids=["subgraph", "full"])
def test_everything_is_described(sdl: str) -> None:
    for name, type_ in types_of(parse(sdl)).items():
        if name.startswith("_"):
            continue
        assert type_.description, name
        for field in type_.fields or ():
            if not field.name.value.startswith("_"):
                assert field.description, f"{name}.{field.name.value}"


def test_only_global_ids_are_called_id() -> None:
    """Clients keep objects by a field of this name: one that repeats would mix up what belongs to others."""
    with_id = {
        name
        for name, type_ in types_of(parse(print_sdl())).items()
        for field in type_.fields or ()
        if field.name.value == "id"
    }
    ours = {"ApiKey", "AuditEntry", "Connection", "LinkSession", "Node", "SealingKey", "User"}
    ours |= {"WebhookDelivery", "WebhookEndpoint", "WebhookReceiver", "QuarantinedWebhook"}
    events = {each.__name__ for each in EVENT_TYPES} | {"IssueEvent", "SentryEvent"}
    assert with_id == ours | events | {"SentryOrganization", "UserGroup", "UserRole"}
