"""Link sessions in the graph: made, shown, found at their connection, cancelled."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.columns import now
from service.connections.link_models import LinkSessionRecord
from service.sandbox.app import Sandbox
from service.tenants.caller import Role
from tests.graph_fixture import BIG, MIDDLE, Graph, serve_graph
from tests.statements import statements

FIELDS = """
  id status url externalId customerId name redirectUri allowedOrigins methods profile origin organization projects
  problem connection { id } createdAt expiresAt completedAt
"""
CREATE = (
    "mutation ($input: CreateLinkSessionInput!) { createLinkSession(input: $input) { url linkSession { %s } } }"
    % FIELDS
)
GET = "query ($id: ID!) { linkSession(id: $id) { %s } }" % FIELDS
CANCEL = "mutation ($id: ID!) { cancelLinkSession(id: $id) { status url } }"
OF_CONNECTION = "query ($id: ID!) { connection(id: $id) { linkSession { id url status } } }"


async def create(graph: Graph, **input_: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await graph.query(CREATE, input=input_))["createLinkSession"]
    return made


async def change(graph: Graph, session_id: str, **columns: Any) -> None:
    """As the page and the clock would change it."""

    async def work(session: Any) -> None:
        row = await session.get(LinkSessionRecord, session_id)
        for name, value in columns.items():
            setattr(row, name, value)

    await graph.runtime.database.run_transaction(work)


async def test_a_session_is_made_with_all_that_was_asked_for(graph: Graph) -> None:
    asked = {
        "externalId": "cust",
        "customerId": "customer",
        "name": "Acme Ltd",
        "redirectUri": "https://app.example/done?x=1",
        "allowedOrigins": ["https://app.example"],
        "methods": ["TOKEN"],
        "profile": "TRIAGE",
        "origin": graph.sandbox.url,
        "organization": BIG,
        "projects": ["checkout"],
    }
    made = await create(graph, **asked, expiresIn=3600)
    session = made["linkSession"]
    assert session["id"].startswith("lks_")
    assert {name: session[name] for name in asked} == asked
    assert (session["status"], session["problem"], session["connection"]) == ("CREATED", None, None)
    assert made["url"] == session["url"]
    assert made["url"].startswith("http://service.test/link/start/")
    lasts = datetime.fromisoformat(session["expiresAt"]) - datetime.fromisoformat(session["createdAt"])
    assert lasts == timedelta(hours=1)
    assert (await graph.query(GET, id=session["id"]))["linkSession"] == session
    assert graph.calls() == 0


async def test_a_session_of_nothing_but_defaults(graph: Graph) -> None:
    session = (await create(graph))["linkSession"]
    assert (session["externalId"], session["profile"], session["allowedOrigins"]) == (None, "READ", [])
    assert session["methods"] == ["TOKEN"]  # no application is configured
    lasts = datetime.fromisoformat(session["expiresAt"]) - datetime.fromisoformat(session["createdAt"])
    assert lasts == timedelta(days=7)


@pytest.mark.parametrize(
    "input_",
    [
        {"expiresIn": 59},
        {"expiresIn": 30 * 86400 + 1},
        {"redirectUri": "http://app.example/"},
        {"redirectUri": "javascript:alert(1)"},
        {"allowedOrigins": ["https://app.example/path"]},
        {"methods": ["OAUTH"]},
        {"methods": []},
        {"origin": "nonsense"},
        {"externalId": "x" * 201},
    ],
)
async def test_what_cannot_be_is_refused_with_its_cure(graph: Graph, input_: dict[str, Any]) -> None:
    assert (await graph.error(CREATE, input=input_))["code"] == "BAD_USER_INPUT"


async def test_where_there_is_no_page_there_are_no_sessions(tmp_path: Path, sandbox: Sandbox, sqlite_url: str) -> None:
    async with serve_graph(tmp_path, sandbox, database_url=sqlite_url, public_url=None) as graph:
        error = await graph.error(CREATE, input={})
        assert error["code"] == "LINK_PAGE_UNAVAILABLE"
        assert "SENTRY_GRAPH_PUBLIC_URL" in error["cure"]


async def test_a_session_ends_by_being_cancelled(graph: Graph) -> None:
    session = (await create(graph))["linkSession"]
    for _ in range(2):
        assert (await graph.query(CANCEL, id=session["id"]))["cancelLinkSession"] == {"status": "CANCELED", "url": None}
    assert (await graph.query(GET, id=session["id"]))["linkSession"]["status"] == "CANCELED"
    await change(graph, session["id"], expires_at=now() - timedelta(seconds=1))
    assert (await graph.query(GET, id=session["id"]))["linkSession"]["status"] == "CANCELED"


async def test_a_session_ends_by_its_time(graph: Graph) -> None:
    session = (await create(graph))["linkSession"]
    await change(graph, session["id"], expires_at=now() - timedelta(seconds=1))
    found = (await graph.query(GET, id=session["id"]))["linkSession"]
    assert (found["status"], found["url"]) == ("EXPIRED", None)


async def test_a_completed_session_leads_to_its_connection(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="cust")
    session = (await create(graph, externalId="cust"))["linkSession"]
    await change(graph, session["id"], status="completed", connection_id=connection.id, completed_at=now())
    found = (await graph.query(GET, id=session["id"]))["linkSession"]
    assert (found["status"], found["connection"], found["url"]) == ("COMPLETED", {"id": connection.id}, None)
    assert (await graph.error(CANCEL, id=session["id"]))["code"] == "CONFLICT"


async def test_a_connection_has_the_latest_session_that_is_open(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="cust")

    async def of_connection(asker: Graph) -> Any:
        return (await asker.query(OF_CONNECTION, id=connection.id))["connection"]["linkSession"]

    assert await of_connection(graph) is None
    await create(graph, externalId="another")
    first, second = [await create(graph, externalId="cust") for _ in range(2)]
    expected = {"id": second["linkSession"]["id"], "url": second["url"], "status": "CREATED"}
    assert await of_connection(graph) == expected
    await graph.query(CANCEL, id=second["linkSession"]["id"])
    assert (await of_connection(graph))["id"] == first["linkSession"]["id"]
    await graph.query(CANCEL, id=first["linkSession"]["id"])
    assert await of_connection(graph) is None


async def test_the_address_is_for_admins_alone(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="cust")
    url = (await create(graph, externalId="cust"))["url"]
    for role in (Role.READ, Role.WRITE):
        answer = await (await graph.as_role(role)).send(OF_CONNECTION, id=connection.id)
        assert answer.json() == {"data": {"connection": {"linkSession": None}}}
        assert url.rpartition("/")[2] not in answer.text


async def test_a_narrowed_admin_has_the_address_of_no_session_that_could_do_more(graph: Graph) -> None:
    """By that of a whole tenant's session another organization can be linked where the old one was unlinked."""
    connection = await graph.link(BIG, external_id="cust")
    narrowed = await graph.as_role(Role.ADMIN, external_ids=["cust"])
    made = await create(graph, externalId="cust")
    for text, id_ in ((GET, made["linkSession"]["id"]), (OF_CONNECTION, connection.id)):
        answer = await narrowed.send(text, id=id_)
        assert made["linkSession"]["id"] in answer.text
        assert made["url"].rpartition("/")[2] not in answer.text
    own = await create(narrowed, externalId="cust")
    found = (await narrowed.query(OF_CONNECTION, id=connection.id))["connection"]["linkSession"]
    assert found["url"] == own["url"]
    assert (await graph.query(GET, id=own["linkSession"]["id"]))["linkSession"]["url"] == own["url"]


async def test_a_narrowed_admin_makes_sessions_for_its_own_connections(graph: Graph) -> None:
    own, other = await graph.link(BIG, external_id="own"), await graph.link(MIDDLE, external_id="other")
    narrowed = await graph.as_role(Role.ADMIN, connection_ids=[own.id])
    made = (await create(narrowed, externalId="own"))["linkSession"]
    assert (await narrowed.query(GET, id=made["id"]))["linkSession"]["id"] == made["id"]
    assert (await narrowed.error(CREATE, input={"externalId": "other"}))["code"] == "NOT_FOUND"
    theirs = (await create(graph, externalId=other.external_id))["linkSession"]
    assert (await narrowed.query(GET, id=theirs["id"]))["linkSession"] is None


@pytest.mark.parametrize("id_", ["", "nonsense", "lks_" + "0" * 26, "x" * 300, "\u0000"])
async def test_what_is_no_session_is_none(graph: Graph, id_: str) -> None:
    assert (await graph.query(GET, id=id_))["linkSession"] is None
    assert (await graph.error(CANCEL, id=id_))["code"] == "NOT_FOUND"


async def test_many_connections_find_their_sessions_in_one_look(graph: Graph) -> None:
    expected: dict[str, dict[str, Any] | None] = {}
    for number in range(6):
        await graph.link(BIG, external_id=f"c-{number}")
        expected[f"c-{number}"] = None
        if number % 2:
            await create(graph, externalId=f"c-{number}")
            expected[f"c-{number}"] = {"id": (await create(graph, externalId=f"c-{number}"))["linkSession"]["id"]}
    text = "{ connections { nodes { externalId linkSession { id } } } }"
    with statements() as sent:
        nodes = (await graph.query(text))["connections"]["nodes"]
    assert {node["externalId"]: node["linkSession"] for node in nodes} == expected
    assert sum("FROM link_sessions" in statement for statement in sent) == 1
