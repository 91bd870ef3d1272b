"""Events in the graph: their types and fields, the list of them, who sees which, and how little is asked for them."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from service.connections.models import ConnectionRecord
from service.events.append import AddedEvent, NewEvent
from service.ids import new_id
from service.link.rules import LinkSessionRequest
from service.sandbox.faults import Fail
from service.sandbox.world import DEMO_TOKENS
from service.tenants.caller import Role
from tests.events.bodies import SENTRY, USER, error, hook, issue
from tests.events.factory import append
from tests.graph_fixture import BIG, MIDDLE, SMALL, Graph
from tests.statements import statements

LIST = """
query ($ids: [ID!], $types: [String!], $project: String, $environment: String, $level: String, $since: DateTime,
       $first: Int, $after: String, $last: Int, $before: String) {
  events(connectionIds: $ids, types: $types, project: $project, environment: $environment, level: $level,
         since: $since, first: $first, after: $after, last: $last, before: $before) {
    nodes { id type }
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
ONE = "query ($id: ID!) { node(id: $id) { __typename id ... on SentryEvent { %s } } }"
EVERYTHING = """
  type at sequence synthetic repeatOf connectionId issueId projectId projectSlug environment level url payload
  connection { id } actor { kind externalId name email user { id } group { slug } }
"""


async def listed(graph: Graph, **arguments: Any) -> Any:
    return (await graph.query(LIST, **arguments))["events"]


async def ids(graph: Graph, **arguments: Any) -> list[str]:
    return [node["id"] for node in (await listed(graph, **arguments))["nodes"]]


async def add(graph: Graph, *events: NewEvent) -> list[AddedEvent]:
    return await append(graph.runtime.database, *events)


async def add_hook(graph: Graph, connection: ConnectionRecord, type_: str, body: bytes, **fields: Any) -> AddedEvent:
    event = NewEvent(graph.tenant_id, type_, connection.id, body=body, **({"issue_id": "121"} | fields))
    (record,) = await add(graph, event)
    return record


async def show(graph: Graph, event: AddedEvent, selection: str) -> Any:
    return (await graph.query(ONE % selection, id=event.id))["node"]


def user_of(graph: Graph, index: int) -> Any:
    """A user of the largest organization, who has joined."""
    members = graph.sandbox.world.organizations[0].members
    return [member.user for member in members if member.user][index]


# --- what every event says ---


async def test_what_every_event_says(graph: Graph) -> None:
    connection = await graph.link(BIG)
    body = hook("resolved", issue=issue(), resolution_type="now")
    event = await add_hook(
        graph,
        connection,
        "issue.resolved",
        body,
        project_id="5",
        project_slug="web",
        environment="production",
        level="error",
    )
    again = await add_hook(graph, connection, "issue.resolved", body)
    assert await show(graph, event, EVERYTHING) == {
        "__typename": "IssueResolvedEvent",
        "id": event.id,
        "type": "issue.resolved",
        "at": event.created_at.isoformat(),
        "sequence": 2,  # after connection.linked
        "synthetic": False,
        "repeatOf": None,
        "connectionId": connection.id,
        "issueId": "121",
        "projectId": "5",
        "projectSlug": "web",
        "environment": "production",
        "level": "error",
        "url": f"{graph.sandbox.url}/organizations/{BIG}/issues/121/",
        "payload": json.loads(body),
        "connection": {"id": connection.id},
        "actor": {
            "kind": "application",
            "externalId": "sentry",
            "name": "Sentry",
            "email": None,
            "user": None,
            "group": None,
        },
    }
    shown = await show(graph, again, "sequence repeatOf")
    assert (shown["sequence"], shown["repeatOf"]) == (3, event.id)
    assert graph.calls() == 0


async def test_a_payload_comes_byte_by_byte(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    body = b'{ "b": 1.0, "a": 12345678901234567890123, "a": "\\u00e9",\n "action":"x" }'
    event = await add_hook(graph, connection, "new_thing.happened", body)
    answer = await graph.send(ONE % "payload", id=event.id)
    assert body in answer.content


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe", b'{"a":', b'{"a":"\\ud800"}', b"[" * 5000])
async def test_a_body_that_is_no_json_is_a_text(graph: Graph, body: bytes) -> None:
    connection = await graph.link(SMALL)
    event = await add_hook(graph, connection, "issue.created", body)
    shown = await show(graph, event, "payload actor { kind } ... on IssueEvent { issue { title } }")
    assert shown["payload"] == body.decode(errors="replace")
    assert (shown["actor"], shown["issue"]) == (None, None)


async def test_an_event_of_no_connection_or_one_that_is_gone(graph: Graph) -> None:
    gone = new_id("con")
    of_gone, of_none = await add(
        graph,
        NewEvent(graph.tenant_id, "issue.created", gone, body=hook("created", USER, issue=issue()), issue_id="121"),
        NewEvent(graph.tenant_id, "webhook_endpoint.test", data={"endpointId": "whe_1"}),
    )
    shown = await show(graph, of_gone, EVERYTHING + "... on IssueEvent { issue { title url } }")
    assert (shown["connectionId"], shown["connection"], shown["url"], shown["issue"]["url"]) == (gone, None, None, None)
    assert shown["issue"]["title"] == "RuntimeError: out of cheese"
    assert (shown["actor"]["kind"], shown["actor"]["user"]) == ("user", None)
    shown = await show(graph, of_none, EVERYTHING + "... on WebhookEndpointEvent { endpointId reason }")
    assert (shown["connectionId"], shown["sequence"], shown["actor"], shown["url"]) == (None, None, None, None)
    assert (shown["endpointId"], shown["reason"]) == ("whe_1", None)
    assert shown["payload"] == {"endpointId": "whe_1"}


# --- types ---

ALERT = {
    "id": "4",
    "identifier": "9",
    "title": "Many errors",
    "projects": ["web"],
    "alert_rule": {"id": "2", "name": "Many errors", "environment": None},
}
TYPED: dict[str, tuple[bytes, str, str, Mapping[str, Any]]] = {
    "issue.created": (
        hook("created", issue=issue()),
        "IssueCreatedEvent",
        """issue { externalId shortId title culprit level status substatus type category platform firstSeen lastSeen
        project { externalId slug name } assignee { kind } }""",
        {
            "issue": {
                "externalId": "121",
                "shortId": "WEB-3",
                "title": "RuntimeError: out of cheese",
                "culprit": "shop.till in pay",
                "level": "error",
                "status": "unresolved",
                "substatus": "new",
                "type": "error",
                "category": "error",
                "platform": "python",
                "firstSeen": "2026-11-20T10:00:00.250000+00:00",
                "lastSeen": "2026-11-23T04:27:35+00:00",
                "project": {"externalId": "5", "slug": "web", "name": "Web"},
                "assignee": None,
            }
        },
    ),
    "issue.resolved": (
        hook("resolved", issue=issue(status="resolved"), resolution_type="in_next_release"),
        "IssueResolvedEvent",
        "resolutionType issue { status }",
        {"resolutionType": "in_next_release", "issue": {"status": "resolved"}},
    ),
    "issue.assigned": (
        hook(
            "assigned",
            issue=issue(assignedTo={"type": "team", "id": "5", "name": "web-team"}),
            assignee={"type": "team", "id": 5, "name": "Web Team"},
        ),
        "IssueAssignedEvent",
        "assignee { kind externalId name email group { externalId slug name } } issue { assignee { name } }",
        {
            "assignee": {
                "kind": "team",
                "externalId": "5",
                "name": "Web Team",
                "email": None,
                "group": {"externalId": "5", "slug": "web-team", "name": "Web Team"},
            },
            "issue": {"assignee": {"name": "Web Team"}},
        },
    ),
    "issue.archived": (
        hook("ignored", issue=issue(status="ignored", substatus="archived_until_escalating")),
        "IssueArchivedEvent",
        "issue { status substatus }",
        {"issue": {"status": "ignored", "substatus": "archived_until_escalating"}},
    ),
    "issue.unresolved": (
        hook("unresolved", issue=issue(substatus="regressed")),
        "IssueUnresolvedEvent",
        "issue { substatus }",
        {"issue": {"substatus": "regressed"}},
    ),
    "error.created": (
        hook("created", error=error()),
        "ErrorCreatedEvent",
        "error { externalId title message culprit level platform environment release at tags { key value } }",
        {
            "error": {
                "externalId": "881c843374544da2a89b264b442b9f7b",
                "title": "RuntimeError",
                "message": "out of cheese",
                "culprit": "shop.till in pay",
                "level": "fatal",
                "platform": "python",
                "environment": "production",
                "release": "web@1.2",
                "at": "2026-11-23T04:27:35.472686+00:00",
                "tags": [{"key": "level", "value": "fatal"}, {"key": "feature", "value": "till-2"}],
            }
        },
    ),
    "comment.updated": (
        hook("updated", USER, comment_id=10, issue_id=121, project_slug="web", comment="Seen again"),
        "CommentEvent",
        "commentId text",
        {"commentId": "10", "text": "Seen again"},
    ),
    "event_alert.triggered": (
        hook("triggered", event=error(), triggered_rule="Page us", issue_alert={"title": "Till down", "settings": []}),
        "EventAlertEvent",
        "rule title error { externalId }",
        {"rule": "Page us", "title": "Till down", "error": {"externalId": "881c843374544da2a89b264b442b9f7b"}},
    ),
    "metric_alert.critical": (
        hook(
            "critical",
            metric_alert=ALERT,
            description_text="30 events in the last 10 minutes",
            description_title="Critical: Many errors",
            web_url="https://sentry.example/organizations/acme/alerts/rules/details/9/",
        ),
        "MetricAlertEvent",
        "status alertId rule title description",
        {
            "status": "critical",
            "alertId": "4",
            "rule": "Many errors",
            "title": "Critical: Many errors",
            "description": "30 events in the last 10 minutes",
        },
    ),
    "installation.created": (
        hook(
            "created",
            installation={
                "status": "pending",
                "organization": {"slug": "acme"},
                "app": {"uuid": "a", "slug": "linker"},
                "uuid": "9835f3cb-d609-48bc-835b-3aedafccff28",
            },
        ),
        "InstallationEvent",
        "installationId organization app",
        {"installationId": "9835f3cb-d609-48bc-835b-3aedafccff28", "organization": "acme", "app": "linker"},
    ),
    "installation.deleted": (
        hook("deleted"),
        "InstallationEvent",
        "installationId organization",
        {"installationId": "9835f3cb-d609-48bc-835b-3aedafccff28", "organization": None},
    ),
    "event.created": (
        json.dumps(
            {
                "project": {"slug": "web", "name": "Web"},
                "group": issue(url="https://sentry.example/organizations/acme/issues/121/"),
                "event": {
                    "eventID": "881c843374544da2a89b264b442b9f7b",
                    "tags": [{"key": "environment", "value": "production"}, {"key": "level", "value": "error"}],
                    "dateCreated": "2026-11-23T04:27:35Z",
                },
            }
        ).encode(),
        "ServiceHookEvent",
        "issue { shortId url } error { externalId environment level at }",
        {
            "issue": {"shortId": "WEB-3", "url": "https://sentry.example/organizations/acme/issues/121/"},
            "error": {
                "externalId": "881c843374544da2a89b264b442b9f7b",
                "environment": "production",
                "level": "error",
                "at": "2026-11-23T04:27:35+00:00",
            },
        },
    ),
    "event.alert": (
        json.dumps(
            {
                "id": "121",
                "project_slug": "web",
                "level": "error",
                "message": "out of cheese",
                "url": "https://sentry.example/organizations/acme/issues/121/?referrer=webhooks_plugin",
                "triggering_rules": ["Page us", "Tell all"],
                "event": {"id": "881c843374544da2a89b264b442b9f7b", "environment": "production"},
            }
        ).encode(),
        "LegacyAlertEvent",
        "rules message error { externalId environment }",
        {
            "rules": ["Page us", "Tell all"],
            "message": "out of cheese",
            "error": {"externalId": "881c843374544da2a89b264b442b9f7b", "environment": "production"},
        },
    ),
    "seer.pr_created": (hook("pr_created", run_id=1), "OtherEvent", "type", {"type": "seer.pr_created"}),
    "issue.split": (hook("split", issue=issue()), "OtherEvent", "type", {"type": "issue.split"}),
    "comment": (b"{}", "OtherEvent", "type", {"type": "comment"}),
}


async def test_types_are_chosen_by_resource_and_action(graph: Graph) -> None:
    connection = await graph.link(BIG)
    for type_, (body, name, selection, expected) in TYPED.items():
        event = await add_hook(graph, connection, type_, body)
        shown = await show(graph, event, f"... on {name} {{ {selection} }}")
        assert shown == {"__typename": name, "id": event.id, **expected}, type_
    bare = await add_hook(graph, connection, "issue.created", hook("created", issue={}))
    assert (await show(graph, bare, "... on IssueEvent { issue { title } }"))["issue"] is None
    assert graph.calls() == 0


async def test_own_events(graph: Graph) -> None:
    connection = await graph.link(BIG, external_id="big")
    lost, odd, silent, back, disabled = await add(
        graph,
        NewEvent(graph.tenant_id, "connection.needs_reauth", connection.id, {"problem": "token_revoked"}),
        NewEvent(graph.tenant_id, "connection.recovered", connection.id, {"problem": "no_such_problem"}),
        NewEvent(
            graph.tenant_id, "webhooks.silent", connection.id, {"lastReceivedAt": "2026-11-23T04:27:35.472686+00:00"}
        ),
        NewEvent(graph.tenant_id, "webhooks.resumed", connection.id, {"silentSince": "2026-11-23T05:00:00+00:00"}),
        NewEvent(graph.tenant_id, "webhook_endpoint.disabled", data={"endpointId": "whe_1", "reason": "gone"}),
    )
    selection = "... on ConnectionEvent { problem reason linkSession { id } }"
    shown = await show(graph, lost, selection)
    assert (shown["__typename"], shown["problem"], shown["linkSession"]) == ("ConnectionEvent", "TOKEN_REVOKED", None)
    assert shown["reason"]
    sessions = graph.runtime.services.link_sessions
    session = await sessions.create(graph.caller, LinkSessionRequest(external_id="big"))
    assert (await show(graph, lost, selection))["linkSession"] == {"id": session.id}
    assert (await show(await graph.as_role(Role.WRITE), lost, selection))["linkSession"] is None
    assert (await show(graph, odd, selection))["problem"] is None
    selection = "... on WebhooksEvent { lastReceivedAt silentSince }"
    shown = await show(graph, silent, selection)
    assert (shown["lastReceivedAt"], shown["silentSince"]) == ("2026-11-23T04:27:35.472686+00:00", None)
    assert (await show(graph, back, selection))["silentSince"] == "2026-11-23T05:00:00+00:00"
    shown = await show(graph, disabled, "... on WebhookEndpointEvent { endpointId reason }")
    assert (shown["endpointId"], shown["reason"]) == ("whe_1", "gone")
    (linked,) = (await listed(graph, types=["connection.linked"]))["nodes"]
    data = await graph.query(ONE % selection, id=linked["id"])
    assert data["node"]["__typename"] == "ConnectionEvent"


# --- addresses ---


async def test_a_page_that_the_webhook_names_is_taken_and_another_is_filled_in(graph: Graph) -> None:
    connection = await graph.link(BIG)
    built = f"{graph.sandbox.url}/organizations/{BIG}/issues/121/"
    web = "https://sentry.example/organizations/acme/issues/121/"
    api = "https://sentry.example/api/0/organizations/acme/issues/121/"
    for type_, body, expected in (
        ("issue.created", hook("created", issue=issue()), built),
        ("issue.created", hook("created", issue=issue(url=api)), built),
        ("issue.created", hook("created", issue=issue(url=api, web_url=web)), web),
        ("issue.created", hook("created", issue=issue(permalink=web)), web),
        ("issue.created", hook("created", issue=issue(permalink="javascript:alert(1)")), built),
        ("comment.created", hook("created", comment_id=1, issue_id=121, comment="x"), built),
        ("error.created", hook("created", error=error()), error()["web_url"]),
        ("error.created", hook("created", error=error(web_url=None)), f"{built}events/{error()['event_id']}/"),
        ("metric_alert.open", hook("open", web_url="https://sentry.example/a/"), "https://sentry.example/a/"),
        ("event.created", TYPED["event.created"][0], web),
        ("event.alert", TYPED["event.alert"][0], f"{web}?referrer=webhooks_plugin"),
    ):
        event = await add_hook(graph, connection, type_, body)
        shown = await show(graph, event, "url ... on IssueEvent { issue { url } }")
        assert shown["url"] == expected, type_
        assert shown.get("issue", {"url": expected})["url"] == expected
    nameless = await add_hook(graph, connection, "seer.pr_created", hook("pr_created"), issue_id=None)
    assert (await show(graph, nameless, "url"))["url"] is None


# --- actors ---

ACTORS = """
query ($types: [String!]) {
  events(types: $types, first: 100) { nodes {
    id actor { name user { externalId email } } ... on IssueAssignedEvent { assignee { name user { externalId } } }
  } }
}
"""


async def test_actors_and_assignees_are_users_by_one_call_a_connection(graph: Graph) -> None:
    one, other = await graph.link(BIG), await graph.link(MIDDLE)
    graph.sandbox.requests.clear()
    users = [user_of(graph, index) for index in range(6)]
    for user in users:
        body = hook(
            "assigned",
            USER | {"id": user.id, "name": user.name},
            issue=issue(),
            assignee={"type": "user", "id": users[0].id, "name": "Whoever", "email": "a@b.example"},
        )
        await add_hook(graph, one, "issue.assigned", body)
    nobody = USER | {"id": 99999999, "name": "Gone"}
    await add_hook(graph, other, "issue.assigned", hook("assigned", nobody, issue=issue()))
    nodes = (await graph.query(ACTORS, types=["issue.*"]))["events"]["nodes"]
    assert [node["actor"]["user"]["externalId"] for node in nodes[:6]] == [str(user.id) for user in users]
    assert [node["actor"]["user"]["email"] for node in nodes[:6]] == [user.email for user in users]
    assert {node["assignee"]["user"]["externalId"] for node in nodes[:6]} == {str(users[0].id)}
    assert nodes[6]["actor"] == {"name": "Gone", "user": None}
    assert nodes[6]["assignee"] is None
    assert graph.calls() == 2


async def test_an_actor_is_looked_up_only_where_it_is_asked_for(graph: Graph) -> None:
    connection = await graph.link(BIG)
    event = await add_hook(graph, connection, "issue.created", hook("created", USER, issue=issue()))
    shown = await show(graph, event, "actor { kind externalId name }")
    assert shown["actor"] == {"kind": "user", "externalId": "7", "name": None}
    assert graph.calls() == 0


async def test_an_actor_keeps_its_name_where_users_may_not_be_read(graph: Graph) -> None:
    connection = await graph.link(BIG, DEMO_TOKENS.limited)
    actor = USER | {"id": user_of(graph, 1).id, "name": "Somebody"}
    event = await add_hook(graph, connection, "issue.created", hook("created", actor, issue=issue()))
    shown = await show(graph, event, "actor { name user { id } }")
    assert shown["actor"] == {"name": "Somebody", "user": None}


async def test_an_actor_keeps_its_name_while_sentry_fails(graph: Graph) -> None:
    connection = await graph.link(BIG)
    actor = USER | {"id": user_of(graph, 1).id, "name": "Somebody"}
    event = await add_hook(graph, connection, "issue.created", hook("created", actor, issue=issue()))
    graph.sandbox.faults.add(Fail(path="/members/", status=503))
    answer = await graph.ask(ONE % "actor { name user { id } }", id=event.id)
    assert answer["data"]["node"]["actor"] == {"name": "Somebody", "user": None}
    (problem,) = answer["errors"]
    assert problem["path"] == ["node", "actor", "user"]
    assert problem["extensions"]["retryable"] is True


@pytest.mark.parametrize("number", ["x", -1, 2**70, "²", 1.5, None, True])
async def test_an_actor_without_a_users_id_is_nobody(graph: Graph, number: Any) -> None:
    connection = await graph.link(SMALL)
    event = await add_hook(graph, connection, "issue.created", hook("created", USER | {"id": number}, issue=issue()))
    assert (await show(graph, event, "actor { user { id } }"))["actor"] == {"user": None}


# --- the list ---


async def fill(graph: Graph, count: int, **fields: Any) -> list[str]:
    events = [NewEvent(graph.tenant_id, "issue.created", **fields) for _ in range(count)]
    return [event.id for event in await add(graph, *events)]


async def test_pages_both_ways_from_either_end(graph: Graph) -> None:
    stored = await fill(graph, 7)
    assert await ids(graph) == stored
    first = await listed(graph, first=3)
    assert [edge["node"]["id"] for edge in first["edges"]] == stored[:3]
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    rest = await listed(graph, first=9, after=first["pageInfo"]["endCursor"])
    assert [node["id"] for node in rest["nodes"]] == stored[3:]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)
    newest = await listed(graph, last=2)
    assert [node["id"] for node in newest["nodes"]] == stored[5:]
    assert (newest["pageInfo"]["hasNextPage"], newest["pageInfo"]["hasPreviousPage"]) == (False, True)
    back = await listed(graph, last=4, before=newest["pageInfo"]["startCursor"])
    assert [node["id"] for node in back["nodes"]] == stored[1:5]
    assert (back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (True, True)
    assert [node["id"] for node in (await listed(graph, last=9))["nodes"]] == stored
    assert await ids(graph, first=0) == []


async def test_whoever_goes_on_from_the_last_page_sees_what_came_since(graph: Graph) -> None:
    await fill(graph, 2)
    cursor = (await listed(graph, last=1))["pageInfo"]["endCursor"]
    assert await ids(graph, after=cursor) == []
    new = await fill(graph, 2)
    assert await ids(graph, after=cursor) == new


async def test_a_cursor_belongs_to_its_list(graph: Graph) -> None:
    await fill(graph, 3)
    cursor = (await listed(graph, first=1))["pageInfo"]["endCursor"]
    for other in ({"types": ["issue.*"]}, {"level": "error"}, {"since": "2026-01-01T00:00:00Z"}, {"project": "web"}):
        assert (await graph.error(LIST, after=cursor, **other))["code"] == "INVALID_CURSOR"
    stranger = await graph.as_tenant("Other")
    assert (await stranger.error(LIST, after=cursor))["code"] == "INVALID_CURSOR"
    same = (await listed(graph, first=1, types=["issue.*", "a.b"]))["pageInfo"]["endCursor"]
    assert len(await ids(graph, after=same, types=["a.b", "issue.*", "a.b"])) == 2, (
        "the order of types is no other list"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": 101},
        {"last": 101},
        {"first": -1},
        {"first": 1, "last": 1},
        {"before": "x"},
        {"types": ["issue"]},
        {"types": ["*.created"]},
        {"types": [""]},
        {"types": ["a.b"] * 101},
        {"ids": ["x"] * 101},
    ],
)
async def test_what_makes_no_sense_is_refused(graph: Graph, arguments: dict[str, Any]) -> None:
    assert (await graph.error(LIST, **arguments))["code"] == "BAD_USER_INPUT"


async def test_filters_hold_together(graph: Graph) -> None:
    one, other = await graph.link(BIG), await graph.link(MIDDLE)
    tenant = graph.tenant_id
    a, b, c, d = await add(
        graph,
        NewEvent(tenant, "issue.created", one.id, project_id="5", project_slug="web", level="error"),
        NewEvent(tenant, "issue.resolved", other.id, project_id="5", project_slug="api", level="error"),
        NewEvent(tenant, "error.created", one.id, project_id="6", environment="production", level="fatal"),
        NewEvent(tenant, "webhook_endpoint.test"),
    )
    for wanted, expected in (
        ({"types": ["issue.*"]}, [a, b]),
        ({"types": ["issue.created", "error.created"]}, [a, c]),
        ({"types": ["*"], "level": "error"}, [a, b]),
        ({"types": []}, []),
        ({"project": "web"}, [a]),
        ({"project": "5"}, [a, b]),
        ({"environment": "production"}, [c]),
        ({"level": "fatal", "types": ["issue.*"]}, []),
        ({"ids": [one.id], "types": ["issue.*", "error.*"]}, [a, c]),
        ({"ids": [one.id, other.id, one.id], "level": "error"}, [a, b]),
        ({"ids": []}, []),
        ({"types": ["webhook_endpoint.test"]}, [d]),
        ({"project": "\0"}, []),
        ({"level": "x" * 300}, []),
    ):
        assert await ids(graph, **wanted) == [event.id for event in expected], wanted


async def test_since_is_the_first_moment(graph: Graph) -> None:
    await fill(graph, 1)
    (record,) = await add(graph, NewEvent(graph.tenant_id, "issue.resolved"))
    later = record.created_at + timedelta(microseconds=1)
    assert record.id in await ids(graph, since=record.created_at.isoformat())
    assert await ids(graph, since=later.isoformat()) == []
    assert await ids(graph, since=later.replace(tzinfo=None).isoformat()) == [], "UTC unless it says otherwise"


async def test_a_foreign_connection_is_as_one_that_is_missing(graph: Graph) -> None:
    connection = await graph.link(BIG)
    stranger = await graph.as_tenant("Other")
    for asked in ([connection.id], [new_id("con")], ["\0"]):
        assert (await stranger.error(LIST, ids=asked))["code"] == "NOT_FOUND"
    (event,) = await graph.runtime.services.events.page(graph.tenant_id, limit=1)
    assert (await stranger.query(ONE % "type", id=event.id))["node"] is None


@pytest.mark.parametrize("by", ["connection_ids", "external_ids"])
async def test_a_narrowed_caller_sees_the_events_of_its_connections(graph: Graph, by: str) -> None:
    own, foreign = await graph.link(BIG, external_id="own"), await graph.link(MIDDLE, external_id="foreign")
    mine, theirs, nobodys = await add(
        graph,
        NewEvent(graph.tenant_id, "issue.created", own.id),
        NewEvent(graph.tenant_id, "issue.created", foreign.id),
        NewEvent(graph.tenant_id, "issue.created"),
    )
    narrowed = await graph.as_role(Role.READ, **{by: [own.id if by == "connection_ids" else "own"]})
    assert await ids(narrowed, types=["issue.*"]) == [mine.id]
    assert await ids(narrowed, types=["issue.*"], last=5) == [mine.id]
    assert (await narrowed.error(LIST, ids=[foreign.id]))["code"] == "NOT_FOUND"
    for event, is_seen in ((mine, True), (theirs, False), (nobodys, False)):
        assert ((await narrowed.query(ONE % "type", id=event.id))["node"] is not None) is is_seen
    nothing = await graph.as_role(Role.READ, connection_ids=[])
    assert await ids(nothing) == []


@pytest.mark.parametrize("count", [3, 40])
async def test_a_page_costs_the_same_however_long_it_is(graph: Graph, count: int) -> None:
    connections = [await graph.link(each) for each in (BIG, MIDDLE, SMALL)]
    for number in range(count):
        body = hook("assigned", SENTRY, number=number, issue=issue(), assignee={"type": "team", "id": 1, "name": "T"})
        await add_hook(graph, connections[number % 3], "issue.assigned", body)
    text = (
        """{ events(first: 100, types: ["issue.*"]) { nodes {
      %s ... on IssueEvent { issue { title url } } ... on IssueAssignedEvent { assignee { name } }
    } } }"""
        % EVERYTHING
    )
    await graph.query(text)  # the key's last use is noted, connections are in the cache
    for connection in connections:
        graph.runtime.services.connections._cache.forget(connection)
    with statements() as sent:
        nodes = (await graph.query(text))["events"]["nodes"]
    assert len(nodes) == count
    assert sum("FROM events" in each for each in sent) == 1
    assert sum("FROM connections" in each for each in sent) == 1
    with statements() as sent:
        many = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on SentryEvent { type connection { id } } } }"
        await graph.query(many, ids=[node["connection"]["id"] for node in nodes[:1]] + await ids(graph, first=50))
    assert sum("FROM events" in each for each in sent) == 2, "the list, and all nodes at once"


async def test_an_answer_is_one_json_text(graph: Graph) -> None:
    connection = await graph.link(SMALL)
    for type_, (body, *_) in TYPED.items():
        await add_hook(graph, connection, type_, body)
    answer = await graph.send("{ events(first: 100) { nodes { id payload } } }")
    decoded = msgspec.json.decode(answer.content)
    assert len(decoded["data"]["events"]["nodes"]) == len(TYPED) + 1
