"""No proxy call mints or reveals a credential, against a stand-in Sentry that really would, over GraphQL and REST."""

from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.sandbox.world import DEMO_TOKENS
from tests.graph_fixture import BIG, Graph
from tests.scale import scaled
from tests.serving import NO_TLS

CALL = """mutation ($id: ID!, $method: String!, $path: String!, $body: JSON) {
  proxy(connectionId: $id, method: $method, path: $path, body: $body) { statusCode result headers { value } }
}"""
READ = "query ($id: ID!, $path: String!) { proxy(connectionId: $id, path: $path) { statusCode result } }"
METHODS = ("GET", "POST", "PUT", "DELETE")

# Paths below /api/0/ at which the stand-in issues or shows credentials, as real servers do.
MINTS = (
    "organizations/{o}/org-auth-tokens/",
    "organizations/{o}/org-auth-tokens/1/",
    "organizations/{o}/sentry-apps/",
    "organizations/{o}/sentry-app-installations/",
    "sentry-apps/{app}/",
    "sentry-apps/{app}/api-tokens/",
    "sentry-app-installations/{installation}/",
    "sentry-app-installations/{installation}/authorizations/",
    "api-tokens/",
    "users/me/",
    "organizations/",
)


def secrets_of(graph: Graph) -> set[str]:
    """What the stand-in would show."""
    world = graph.sandbox.world
    tokens = {value for token in world.tokens.values() for value in (token.value, token.refresh) if value}
    codes = {installation.code for app in world.apps for installation in app.installations if installation.code}
    return tokens | codes | {app.client_secret for app in world.apps}


def fill(graph: Graph, template: str, organization: str) -> str:
    app = next(app for app in graph.sandbox.world.apps if app.organization.slug == BIG)
    return template.format(o=organization, app=app.slug, installation=app.installations[0].uuid)


async def test_the_stand_in_mints_and_reveals_for_whoever_asks_it_directly(graph: Graph) -> None:
    """Or else the tests below would prove nothing."""
    headers = {"authorization": f"Bearer {DEMO_TOKENS.admin}"}
    async with httpx.AsyncClient(base_url=f"{graph.sandbox.url}/api/0/", headers=headers, verify=NO_TLS) as sentry:
        minted = await sentry.post(f"organizations/{BIG}/org-auth-tokens/", json={"name": "x"})
        apps = await sentry.get(f"organizations/{BIG}/sentry-apps/")
        tokens = await sentry.get(fill(graph, "sentry-apps/{app}/api-tokens/", BIG))
    assert minted.status_code == 201
    assert minted.json()["token"].startswith("sntrys_")
    assert any(secret in apps.text for secret in secrets_of(graph))
    assert any(secret in tokens.text for secret in secrets_of(graph))


EVASIONS: dict[str, Callable[[str], str]] = {
    "plain": lambda path: path,
    "upper case": str.upper,
    "title case": str.title,
    "underscores": lambda path: path.replace("-", "_"),
    "without hyphens": lambda path: path.replace("-", ""),
    "every letter encoded": lambda path: "/".join(
        "".join(f"%{byte:02x}" for byte in s.encode()) for s in path.split("/")
    ),
    "hyphens encoded": lambda path: path.replace("-", "%2D"),
    "encoded twice": lambda path: path.replace("-", "%252D"),
    "slashes encoded": lambda path: path.rstrip("/").replace("/", "%2F"),
    "a dot segment": lambda path: path.replace("/", "/./", 1),
    "from a sibling": lambda path: f"organizations/{BIG}/members/../../../{path}",
    "from a sibling, encoded": lambda path: f"organizations/{BIG}/members/%2e%2e/%2e%2e/%2e%2e/{path}",
    "after a parameter": lambda path: path.rstrip("/") + ";x=1/",
    "a query": lambda path: path + "?x=1",
    "a fragment": lambda path: path + "#",
    "without the last slash": lambda path: path.rstrip("/"),
    "with the prefix": lambda path: "/api/0/" + path,
    "with the prefix twice": lambda path: "api/0/api/0/" + path,
    "fullwidth letters": lambda path: path.translate({ord("a"): "\uff41", ord("t"): "\uff54"}),
    "a soft hyphen": lambda path: path.replace("token", "to\u00adken").replace("app", "a\u00adpp"),
    "a space": lambda path: path.replace("-", "%20"),
    "a backslash": lambda path: path.replace("/", "\\"),
}


@pytest.mark.parametrize("evasion", EVASIONS)
async def test_no_path_mints_or_reveals(graph: Graph, evasion: str) -> None:
    connection = await graph.link(BIG)
    before = secrets_of(graph)
    organization_id = connection.organization_id or ""
    organizations = (BIG, "{organization}", organization_id, BIG.upper())[: scaled(test=2, soak=4)]
    paths = {fill(graph, template, organization) for template in MINTS for organization in organizations}
    for path in map(EVASIONS[evasion], sorted(paths)):
        for method in METHODS:
            body = {"name": "x", "grant_type": "authorization_code"}
            over_graphql = await graph.send(CALL, id=connection.id, method=method, path=path, body=body)
            assert_reveals_nothing(before, over_graphql.text, path)
        over_graphql = await graph.send(READ, id=connection.id, path=path)
        assert_reveals_nothing(before, over_graphql.text, path)
        for method in ("GET", "POST"):
            over_rest = await graph.http.request(
                method,
                f"/proxy/{connection.id}/api/0/{quote(path, safe='/%{};?#')}",
                json={"name": "x"},
                headers={"authorization": f"Bearer {graph.key}"},
            )
            assert_reveals_nothing(before, over_rest.text, path)
    assert secrets_of(graph) == before, "a credential was minted"


def assert_reveals_nothing(secrets: set[str], text: str, path: str) -> None:
    assert not any(secret in text for secret in secrets), path


WORDS = ["org-auth-tokens", "sentry-apps", "sentry-app-installations", "api-tokens", "authorizations", "1", "members"]
SEGMENTS = st.sampled_from(
    [*WORDS, BIG, "{organization}", "organizations", "projects", "teams", "..", "%2e%2e", "api", "0", ""]
) | st.text(alphabet="-_.%2eEfFaAtT/;\\", max_size=6)


@settings(
    max_examples=scaled(test=150, soak=5000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(segments=st.lists(SEGMENTS, min_size=2, max_size=6), method=st.sampled_from(METHODS))
async def test_no_made_up_path_mints_or_reveals(linked: tuple[Graph, str], segments: list[str], method: str) -> None:
    graph, connection_id = linked
    before = secrets_of(graph)
    path = "/".join(segments)
    answer = await graph.send(CALL, id=connection_id, method=method, path=path, body={"name": "x"})
    assert_reveals_nothing(before, answer.text, path)
    assert secrets_of(graph) == before, path


@pytest.fixture
async def linked(graph: Graph) -> tuple[Graph, str]:
    return graph, (await graph.link(BIG)).id
