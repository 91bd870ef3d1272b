"""The subgraph's schema among others, composed by every composer that is open to read."""

import functools
import json
import subprocess
from pathlib import Path
from typing import TypedDict

import pytest
from graphql import DocumentNode, ObjectTypeDefinitionNode, parse

from service.schema.build import print_full_sdl, print_sdl
from service.schema.graphiql.node import find_node
from tests.conformance.npm import install

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "docs" / "gateway"
COMPOSERS = ("@apollo/composition", "@theguild/federation-composition", "@wundergraph/composition")

every_composer = pytest.mark.parametrize("composer", COMPOSERS)


class Result(TypedDict):
    errors: list[str]
    supergraph: str | None


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


SDL = {
    "sentry": print_sdl(),
    "sentry with auth directives": print_sdl(auth_directives=True),
    "sentry with node": print_full_sdl(),
    "relay": read(HERE / "relay.graphql"),
    "customers": read(EXAMPLE / "customers.graphql"),
    "oncall": read(EXAMPLE / "oncall.graphql"),
}


@functools.cache
def compose_by_all(*names: str) -> dict[str, Result]:
    install(HERE)
    subgraphs = [{"name": name.partition(" ")[0], "sdl": SDL[name]} for name in names]
    done = subprocess.run(
        [find_node(), HERE / "compose.mjs"],
        input=json.dumps(subgraphs),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    results: dict[str, Result] = json.loads(done.stdout)
    return results


def compose(composer: str, *names: str) -> str:
    """The supergraph's SDL, of subgraphs that must compose."""
    result = compose_by_all(*names)[composer]
    assert result["errors"] == []
    assert result["supergraph"]
    return result["supergraph"]


@functools.cache
def read_sdl(sdl: str) -> DocumentNode:
    return parse(sdl)


def type_of(sdl: str, name: str) -> ObjectTypeDefinitionNode:
    (type_,) = [
        each
        for each in read_sdl(sdl).definitions
        if isinstance(each, ObjectTypeDefinitionNode) and each.name.value == name
    ]
    return type_


def fields_of(sdl: str, type_name: str) -> set[str]:
    return {field.name.value for field in type_of(sdl, type_name).fields or ()}


@every_composer
@pytest.mark.parametrize("sentry", ["sentry", "sentry with auth directives", "sentry with node"])
def test_the_subgraph_composes_alone(composer: str, sentry: str) -> None:
    supergraph = compose(composer, sentry)
    assert fields_of(supergraph, "Connection") == fields_of(SDL[sentry], "Connection")
    assert fields_of(supergraph, "User") == fields_of(SDL[sentry], "User")


@every_composer
@pytest.mark.parametrize("sentry", ["sentry", "sentry with auth directives"])
def test_another_relay_subgraph_keeps_its_own_node(composer: str, sentry: str) -> None:
    supergraph = compose(composer, sentry, "relay")
    roots = fields_of(supergraph, "Query")
    assert roots >= {"node", "nodes", "orders", "connections", "users"}
    assert not roots & {"_entities", "_service"}
    assert fields_of(supergraph, "PageInfo") == fields_of(SDL["sentry"], "PageInfo")


@every_composer
def test_with_node_two_relay_subgraphs_would_not_compose(composer: str) -> None:
    errors = compose_by_all("sentry with node", "relay")[composer]["errors"]
    assert any("node" in error for error in errors)


@every_composer
@pytest.mark.parametrize("sentry", ["sentry", "sentry with auth directives"])
def test_the_examples_subgraphs_extend_our_entities(composer: str, sentry: str) -> None:
    supergraph = compose(composer, sentry, "customers", "oncall")
    assert fields_of(supergraph, "Connection") >= {"users", "customer", "onCall"}
    assert fields_of(supergraph, "User") >= {"groups", "profileUrl", "onCallShift"}


# WunderGraph's router reads them from elsewhere than its supergraph.
@pytest.mark.parametrize("composer", COMPOSERS[:2])
@pytest.mark.parametrize(
    ("sentry", "type_name", "field", "directives"),
    [
        ("sentry", "Query", "users", {"cost", "listSize"}),
        ("sentry", "Connection", "users", {"cost", "listSize"}),
        ("sentry with auth directives", "Query", "users", {"cost", "listSize", "authenticated"}),
        ("sentry with auth directives", "Mutation", "proxy", {"cost", "requiresScopes"}),
    ],
)
def test_directives_for_gateways_reach_the_supergraph(
    composer: str, sentry: str, type_name: str, field: str, directives: set[str]
) -> None:
    (found,) = [each for each in type_of(compose(composer, sentry), type_name).fields or () if each.name.value == field]
    assert {each.name.value for each in found.directives or ()} >= directives
