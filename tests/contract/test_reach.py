"""Tokens reach more than their connection: whatever a caller of ours asks, no other organization is shown.

Seen on a real server: the token of one installation reads every organization where the app is installed, even the other
installations with their unspent codes. A person's tokens reach all organizations of that person.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.ids import build_inner_id, build_user_id
from tests.contract.linking import Bench
from tests.contract.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

READ = """query ($id: ID!, $path: String!, $query: [ProxyParameter!]) {
  connection(id: $id) { proxy(path: $path, query: $query) { statusCode result } }
}"""
CALL = """mutation ($id: ID!, $method: String!, $path: String!, $body: JSON) {
  proxy(connectionId: $id, method: $method, path: $path, body: $body) { statusCode result }
}"""
PEOPLE = """query ($id: ID!, $filter: UserFilterInput) {
  connection(id: $id) { users(first: 100, filter: $filter) { nodes { email groups { id } } } }
}"""
PERSON = """query ($id: ID!, $externalId: ID) { connection(id: $id) { user(externalId: $externalId) { email } } }"""
BY_ID = "query ($id: ID!) { user(id: $id) { email } }"
LIMIT = """mutation ($input: UpdateConnectionInput!) { updateConnection(input: $input) { projects { slug } } }"""

# {o}, {p}, {t}, {m}, {u}, {i}: another organization's slug, project, team, member, installation, issue; {…_id} by id.
FOREIGN = """
organizations/{o}/
organizations/{o_id}/
organizations/{o}/members/
organizations/{o}/members/{m}/
organizations/{o}/users/
organizations/{o}/teams/
organizations/{o}/projects/
organizations/{o}/issues/
organizations/{o}/audit-logs/
organizations/{o}/sentry-app-installations/
projects/{o}/{p}/
projects/{o_id}/{p_id}/
projects/{o}/{p}/members/
projects/{o}/{p}/keys/
projects/{o}/{p}/issues/
teams/{o}/{t}/
teams/{o_id}/{t_id}/
teams/{o}/{t}/members/
teams/{o}/{t}/projects/
issues/{i}/
issues/{i}/events/
groups/{i}/
sentry-app-installations/{u}/
sentry-app-installations/{u}/external-issues/
sentry-app-installations/{u}/authorizations/
organizations/
projects/
users/me/
api-tokens/
api-authorizations/
sentry-apps/
sentry-apps/{app}/
organizations/{home}/../{o}/members/
organizations/{home}/%2e%2e/{o}/members/
organizations/{home}%2f..%2f{o}/members/
organizations/{home}/;/../../{o}/members/
organizations//{o}/members/
projects/{home}/../{o}/{p}/
issues/../organizations/{o}/members/
""".split()  # noqa: SIM905 - one a line

# Paths of one's own organization that name what is another's: Sentry is to keep them apart.
MIXED = """
projects/{home}/{p}/
projects/{home}/{p_id}/
projects/{home}/{p}/members/
teams/{home}/{t}/
teams/{home}/{t_id}/
teams/{home}/{t}/members/
organizations/{home}/issues/{i}/
organizations/{home}/issues/{i}/events/
organizations/{home}/members/{m}/
organizations/{home}/members/{m}/teams/{t}/
""".split()  # noqa: SIM905 - one a line

# Lists of one's own organization, asked for what is another's.
NARROWED = (
    ("organizations/{home}/users/", "project", "{p_id}"),
    ("organizations/{home}/users/", "organization", "{o}"),
    ("organizations/{home}/members/", "query", "id:{m}"),
    ("organizations/{home}/members/", "organization_slug", "{o}"),
    ("organizations/{home}/members/", "organization", "{o_id}"),
    ("organizations/{home}/teams/", "query", "id:{t_id}"),
    ("organizations/{home}/projects/", "query", "id:{p_id}"),
    ("organizations/{home}/issues/", "project", "{p_id}"),
    ("organizations/{home}/", "slug", "{o}"),
)

READABLE = ("organizations/{o}/", "organizations/{o}/members/", "projects/{o}/{p}/", "teams/{o}/{t}/")
"""Those of them that each of the tokens below can really read, or this would prove nothing."""


@dataclass(frozen=True)
class Reach:
    """A connection to one organization, by a token that reaches another one as well."""

    service: Service
    connection_id: str
    token: str
    names: dict[str, str]
    secrets: frozenset[str]
    """What only the other organization's answers hold: addresses, names, the code of its installation."""

    def fill(self, template: str) -> str:
        return template.format(**self.names)

    async def raw(self, template: str) -> httpx.Response:
        """What Sentry itself answers to the token."""
        return await asyncio.to_thread(self.service.bench.ask, self.fill(template), self.token)

    async def read(self, template: str, **query: str) -> list[tuple[int, str]]:
        """The status and body of each way to read it through us; what was not even sent has status 0."""
        path = self.fill(template)
        pairs = [{"name": name, "value": self.fill(value)} for name, value in query.items()]
        variables = {"id": self.connection_id, "path": path}
        rest = await self.service.http.get(
            f"/proxy/{self.connection_id}/api/0/{path}",
            params={name: self.fill(value) for name, value in query.items()},
        )
        return [
            _outcome(await self.service.ask(READ, **variables, query=pairs), "connection"),
            (rest.status_code, rest.text),
        ]

    async def call(self, method: str, template: str, body: Any = None) -> tuple[int, str]:
        """The same of a call by the mutation."""
        variables = {"id": self.connection_id, "path": self.fill(template), "method": method, "body": body}
        return _outcome(await self.service.ask(CALL, **variables))

    def reveals(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]


def _outcome(answer: dict[str, Any], *names: str) -> tuple[int, str]:
    found: Any = answer["data"]
    for name in (*names, "proxy"):
        found = found and found[name]
    return (found["statusCode"], str(found["result"])) if found else (0, str(answer))


Connect = Callable[[Service, str, dict[str, Any]], Awaitable[str]]


async def by_app(service: Service, _: str, installation: dict[str, Any]) -> str:
    return await service.link_installation(installation)


async def by_oauth(service: Service, home: str, _: dict[str, Any]) -> str:
    return await service.link_oauth("org:read member:read team:read project:read event:read", home)


async def by_token(service: Service, home: str, _: dict[str, Any]) -> str:
    return await service.link(service.bench.server.token("admin"), organization=home)


@pytest_asyncio.fixture(loop_scope="session", params=[by_app, by_oauth, by_token])
async def reach(request: pytest.FixtureRequest, service: Service, bench: Bench) -> AsyncIterator[Reach]:
    connect: Connect = request.param
    server = bench.server
    own = [row["slug"] for row in server.rows("organizations/") if row["slug"] != server.organization]
    if not own:
        pytest.skip("this person belongs to one organization only")
    home = own[0]
    there = await asyncio.to_thread(bench.install)
    here = await asyncio.to_thread(bench.install, home)
    try:
        connection_id = await connect(service, home, here)
        token = (await service.tokens(connection_id)).access
        names, secrets = await asyncio.to_thread(survey, bench, home, there)
        yield Reach(service, connection_id, token, names, secrets)
    finally:
        await asyncio.to_thread(bench.uninstall, here["uuid"])


def survey(bench: Bench, home: str, there: dict[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """The other organization's things by name, and what only its answers hold."""
    server = bench.server
    organization = server.ask(server.organization_path("?detailed=0")).json()
    known = {member["email"] for member in server.rows(f"organizations/{home}/members/")}
    strangers = [row for row in server.rows(server.organization_path("members/")) if row["email"] not in known]
    project = server.rows(server.organization_path("projects/"))[0]
    team = max(server.rows(server.organization_path("teams/"), detailed="0"), key=lambda row: row["memberCount"])
    issues = server.ask(server.organization_path("issues/"), params={"query": "", "project": "-1", "limit": 1})
    names = {
        "home": home,
        "o": server.organization,
        "o_id": organization["id"],
        "p": project["slug"],
        "p_id": project["id"],
        "t": team["slug"],
        "t_id": team["id"],
        "m": strangers[0]["id"],
        "user": next(row["user"]["id"] for row in strangers if row["user"]),
        # Some servers are set up without a store of events: then it is nobody's.
        "i": issues.json()[0]["id"] if issues.status_code == 200 and issues.json() else "1",
        "u": there["uuid"],
        "app": bench.app.slug,
    }
    # Names that are also in a path would tell nothing.
    return names, frozenset({there["code"], bench.app.client_secret, *(row["email"] for row in strangers)})


async def test_a_connection_shows_its_own_organization_only(reach: Reach) -> None:
    for template in READABLE:
        assert (await reach.raw(template)).status_code == 200, "the token itself reaches it"
    assert reach.reveals((await reach.raw("organizations/{o}/members/")).text)
    for template in (*FOREIGN, *MIXED):
        for status, text in await reach.read(template):
            assert not 200 <= status < 300, (template, status, text)
            assert not reach.reveals(text), template
    for template, parameter, value in NARROWED:
        for _, text in await reach.read(template, **{parameter: value}):
            assert not reach.reveals(text), (template, parameter)
    await check_calls(reach)
    await check_fields(reach)


async def check_calls(reach: Reach) -> None:
    """The mutation reads no more; nor is the other installation confirmed, or its code taken."""
    path = "sentry-app-installations/{u}/"
    shown = await reach.raw(path)
    assert (shown.status_code, shown.json()["status"]) == (200, "pending")
    if (await reach.service.connection(reach.connection_id))["authentication"] == "APP_TOKEN":
        assert reach.reveals(shown.text), "the app's token itself is shown the code"
    for method, template, body in (
        ("GET", path, None),
        ("PUT", path, {"status": "installed"}),
        ("POST", path + "authorizations/", {"grant_type": "authorization_code", "code": "no-such-code"}),
        ("POST", path + "external-issues/", {"issueId": "0"}),
        ("GET", "organizations/{o}/members/", None),
        ("PUT", "organizations/{o}/", {}),
        ("PUT", "projects/{home}/{p}/", {}),
        ("PUT", "teams/{home}/{t}/", {}),
        ("PUT", "issues/{i}/", {}),
    ):
        status, text = await reach.call(method, template, body)
        assert not 200 <= status < 300, (method, template, status, text)
        assert not reach.reveals(text), template
    assert (await reach.raw(path)).json()["status"] == "pending"


async def check_fields(reach: Reach) -> None:
    """The graph's own fields, asked for what is another organization's."""
    service, names, connection = reach.service, reach.names, {"id": reach.connection_id}
    assert (await service.query(PERSON, **connection, externalId=names["user"]))["connection"]["user"] is None
    assert (await service.query(BY_ID, id=build_user_id(reach.connection_id, names["m"])))["user"] is None
    group = build_inner_id("grp", reach.connection_id, names["t_id"])
    for wanted in (None, {"groupIds": [group]}):
        answer = await service.ask(PEOPLE, **connection, filter=wanted)
        assert not reach.reveals(str(answer))
    for project in (names["p"], names["p_id"]):
        answer = await service.ask(LIMIT, input={**connection, "projects": [project]})
        assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT", answer
